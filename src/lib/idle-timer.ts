import type { Cancel, Clock } from './clock.ts'

/**
 * Calls `onIdle` once when nothing has called `touch` for `idleMs`. A touch costs one reading of the
 * clock, so that it may be made for every piece of data.
 */
export class IdleTimer {
  readonly #clock: Clock
  readonly #idleMs: number
  readonly #onIdle: () => void
  #touchedMs: number
  #cancel: Cancel

  constructor(clock: Clock, idleMs: number, onIdle: () => void) {
    if (!(idleMs > 0)) throw new RangeError(`idle time must be above 0, not ${idleMs}`)
    this.#clock = clock
    this.#idleMs = idleMs
    this.#onIdle = onIdle
    this.#touchedMs = clock.monotonic()
    this.#cancel = clock.schedule(this.#check, idleMs)
  }

  /** Starts the wait anew. */
  touch(): void {
    this.#touchedMs = this.#clock.monotonic()
  }

  /** Never calls `onIdle` from now on. */
  stop(): void {
    this.#cancel()
  }

  readonly #check = (): void => {
    const leftMs = this.#touchedMs + this.#idleMs - this.#clock.monotonic()
    if (leftMs <= 0) this.#onIdle()
    else this.#cancel = this.#clock.schedule(this.#check, leftMs)
  }
}
