/**
 * Measures a rate as an average over the recent past that fades exponentially. Amounts may come in any
 * rhythm; the first seconds are not underrated.
 */
export class RateMeter {
  readonly #windowMs: number
  #startMs: number | undefined
  #updatedMs = 0
  #sum = 0

  /** `windowMs` is the time after which an amount counts for 1/e. */
  constructor(windowMs = 2000) {
    if (!(windowMs > 0)) throw new RangeError(`windowMs must be above 0, not ${windowMs}`)
    this.#windowMs = windowMs
  }

  /** Counts `amount` at a monotonic time. */
  add(amount: number, nowMs: number): void {
    this.#startMs ??= nowMs
    this.#sum = this.#fadedSum(nowMs) + amount
    this.#updatedMs = nowMs
  }

  /** Amount per second, 0 before the first one. */
  perSecond(nowMs: number): number {
    if (this.#startMs === undefined) return 0
    // At least a tenth of the window, so that one early burst is not taken for a rate.
    const elapsedMs = Math.max(nowMs - this.#startMs, this.#windowMs / 10)
    const weightMs = this.#windowMs * (1 - Math.exp(-elapsedMs / this.#windowMs))
    return (this.#fadedSum(nowMs) / weightMs) * 1000
  }

  #fadedSum(nowMs: number): number {
    return this.#sum * Math.exp(-(nowMs - this.#updatedMs) / this.#windowMs)
  }
}
