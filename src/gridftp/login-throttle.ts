import type { Clock } from '../lib/clock.ts'

/** How much guessing is slowed down. */
export interface LoginThrottleOptions {
  /**
   * Wait after the first failure, in milliseconds; it doubles with every further one.
   *
   * @default 500
   */
  readonly baseDelayMs?: number
  /** Longest wait, in milliseconds. @default 8000 */
  readonly maxDelayMs?: number
  /** A failure counts for this long, in milliseconds. @default 600000 */
  readonly forgetAfterMs?: number
  /** Addresses remembered; the one that failed longest ago is forgotten first. @default 4096 */
  readonly maxAddresses?: number
}

interface Failures {
  count: number
  lastMs: number
}

/** Slows down who guesses passwords, by address, over all sessions. */
export class LoginThrottle {
  readonly #clock: Clock
  readonly #options: Required<LoginThrottleOptions>
  readonly #failures = new Map<string, Failures>()

  constructor(clock: Clock, options: LoginThrottleOptions = {}) {
    const { baseDelayMs = 500, maxDelayMs = 8000 } = options
    const { forgetAfterMs = 600_000, maxAddresses = 4096 } = options
    this.#clock = clock
    this.#options = { baseDelayMs, maxDelayMs, forgetAfterMs, maxAddresses }
  }

  /** Notes a failure. @returns milliseconds to wait before it is answered. */
  noteFailure(address: string): number {
    const { baseDelayMs, maxDelayMs, maxAddresses } = this.#options
    const count = this.failures(address) + 1
    this.#failures.delete(address) // the map stays in order of the last failure
    this.#failures.set(address, { count, lastMs: this.#clock.monotonic() })
    if (this.#failures.size > maxAddresses) {
      const oldest = this.#failures.keys().next()
      if (oldest.done !== true) this.#failures.delete(oldest.value)
    }
    return Math.min(maxDelayMs, baseDelayMs * 2 ** Math.min(count - 1, 30))
  }

  /** Failures of an address that still count. */
  failures(address: string): number {
    const known = this.#failures.get(address)
    if (known === undefined) return 0
    const isOld = this.#clock.monotonic() - known.lastMs > this.#options.forgetAfterMs
    return isOld ? 0 : known.count
  }

  /** Forgets the failures of an address after a login. */
  noteSuccess(address: string): void {
    this.#failures.delete(address)
  }
}
