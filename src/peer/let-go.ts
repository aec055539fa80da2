// A connection that lasted this long was not let go for want of room.
const LASTED_MS = 60_000
const FIRST_WAIT_MS = 3000
// Somebody who restarts now and then is not to be waited for.
const FREE_LOSSES = 2

/**
 * How long to leave a peer alone that takes connections and soon lets them go: it has more to do than room
 * for, and everybody who comes back at once makes it worse.
 */
export class LetGo {
  readonly #maxWaitMs: number
  #losses = 0

  constructor(maxWaitMs = 300_000) {
    this.#maxWaitMs = maxWaitMs
  }

  /** Takes note that a connection was lost that had lasted for a while. */
  lost(lastedMs: number): void {
    this.#losses = lastedMs >= LASTED_MS ? 0 : this.#losses + 1
  }

  /** Milliseconds to wait before connecting again. */
  get waitMs(): number {
    const excess = this.#losses - FREE_LOSSES
    if (excess <= 0) return 0
    return Math.min(this.#maxWaitMs, FIRST_WAIT_MS * 2 ** Math.min(excess - 1, 16))
  }
}
