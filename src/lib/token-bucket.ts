import type { AbortOptions } from './abort-options.ts'
import type { Cancel, Clock } from './clock.ts'

interface Taker {
  readonly amount: number
  readonly priority: number
  readonly grant: () => void
}

export interface TokenBucketOptions {
  /** Tokens a second; undefined for no limit. @default undefined */
  readonly perSecond?: number | undefined
  /** How much may be taken at once after a pause, as time at the full rate. @default 100 ms */
  readonly burstMs?: number
}

/**
 * Limits a rate. The rate can be changed at any time and then holds for those who wait, too. A claim
 * larger than the burst is granted when the bucket is full and leaves a debt that others wait for.
 */
export class TokenBucket {
  readonly #clock: Clock
  readonly #burstMs: number
  readonly #takers: Taker[] = []
  #perSecond: number | undefined
  #tokens = 0
  #filledMs: number
  #cancel: Cancel | undefined

  constructor(clock: Clock, options: TokenBucketOptions = {}) {
    const { perSecond, burstMs = 100 } = options
    checkRate(perSecond)
    this.#clock = clock
    this.#burstMs = burstMs
    this.#perSecond = perSecond
    this.#filledMs = clock.monotonic()
    this.#tokens = this.#burst()
  }

  get perSecond(): number | undefined {
    return this.#perSecond
  }

  /** Changes the rate. @throws {RangeError} if it is not above 0. */
  setRate(perSecond: number | undefined): void {
    checkRate(perSecond)
    this.#fill()
    this.#perSecond = perSecond
    this.#tokens = Math.min(this.#tokens, this.#burst())
    this.#grantTakers()
  }

  /** Takes `amount` if that needs no wait. */
  tryTake(amount: number): boolean {
    if (this.#takers.length > 0 || this.delayMs(amount) > 0) return false
    this.#tokens -= amount
    return true
  }

  /** Milliseconds until `amount` could be taken if nobody else waited. */
  delayMs(amount: number): number {
    if (this.#perSecond === undefined) return 0
    this.#fill()
    const missing = Math.min(amount, this.#burst()) - this.#tokens
    return missing <= 0 ? 0 : (missing / this.#perSecond) * 1000
  }

  /**
   * Takes `amount`, waiting for it; lower priorities first, first come first served among equals.
   *
   * @throws {unknown} `signal.reason` if aborted first; nothing is taken then.
   */
  async take(
    amount: number,
    options: AbortOptions & { readonly priority?: number } = {}
  ): Promise<void> {
    const { signal, priority = 0 } = options
    signal?.throwIfAborted()
    if (this.tryTake(amount)) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const taker: Taker = { amount, priority, grant: resolve }
    const at = this.#takers.findIndex((other) => other.priority > priority)
    this.#takers.splice(at === -1 ? this.#takers.length : at, 0, taker)
    const onAbort = (): void => {
      const place = this.#takers.indexOf(taker)
      if (place === -1) return
      this.#takers.splice(place, 1)
      reject(signal?.reason)
      this.#grantTakers()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#grantTakers()
    try {
      await promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  #grantTakers(): void {
    this.#cancel?.()
    this.#cancel = undefined
    for (let taker = this.#takers[0]; taker !== undefined; taker = this.#takers[0]) {
      const waitMs = this.delayMs(taker.amount)
      if (waitMs > 0) {
        this.#cancel = this.#clock.schedule(() => this.#grantTakers(), Math.ceil(waitMs))
        return
      }
      this.#takers.shift()
      this.#tokens -= taker.amount
      taker.grant()
    }
  }

  #burst(): number {
    return this.#perSecond === undefined ? Infinity : (this.#perSecond * this.#burstMs) / 1000
  }

  #fill(): void {
    const nowMs = this.#clock.monotonic()
    const gained = ((this.#perSecond ?? 0) * (nowMs - this.#filledMs)) / 1000
    this.#filledMs = nowMs
    this.#tokens =
      this.#perSecond === undefined ? Infinity : Math.min(this.#tokens + gained, this.#burst())
  }
}

function checkRate(perSecond: number | undefined): void {
  if (perSecond !== undefined && !(perSecond > 0)) {
    throw new RangeError(`a rate must be above 0, not ${perSecond}`)
  }
}
