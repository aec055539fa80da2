import type { AbortOptions } from './abort-options.ts'
import { LimitExceededError } from './errors.ts'

interface Waiter {
  readonly amount: number
  readonly grant: () => void
}

/**
 * A number of bytes or slots that several tasks share. Whoever wants more than is free waits, first
 * come first served, so that a large claim is never starved by small ones.
 */
export class Budget {
  readonly #total: number
  readonly #what: string
  readonly #waiters: Waiter[] = []
  #used = 0

  constructor(total: number, what = 'budget') {
    if (!(total > 0)) throw new RangeError(`${what} must be above 0, not ${total}`)
    this.#total = total
    this.#what = what
  }

  get total(): number {
    return this.#total
  }

  get used(): number {
    return this.#used
  }

  get waiting(): number {
    return this.#waiters.length
  }

  /** Takes `amount` at once if it is free and nobody waits. */
  tryAcquire(amount: number): boolean {
    if (this.#waiters.length > 0 || this.#used + amount > this.#total) return false
    this.#used += amount
    return true
  }

  /**
   * Takes `amount`, waiting until it is free.
   *
   * @throws {LimitExceededError} if it can never be free.
   * @throws {unknown} `signal.reason` if aborted while waiting; nothing is taken then.
   */
  async acquire(amount: number, options: AbortOptions = {}): Promise<void> {
    if (amount > this.#total) throw new LimitExceededError(this.#what, this.#total)
    const { signal } = options
    signal?.throwIfAborted()
    if (this.tryAcquire(amount)) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter: Waiter = { amount, grant: resolve }
    this.#waiters.push(waiter)
    const onAbort = (): void => {
      const at = this.#waiters.indexOf(waiter)
      if (at === -1) return
      this.#waiters.splice(at, 1)
      reject(signal?.reason)
      this.#grantWaiters()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await promise
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Gives back what was taken. @throws {RangeError} if that is more than is out. */
  release(amount: number): void {
    if (amount > this.#used)
      throw new RangeError(`${this.#what}: ${amount} released, ${this.#used} out`)
    this.#used -= amount
    this.#grantWaiters()
  }

  #grantWaiters(): void {
    for (;;) {
      const next = this.#waiters[0]
      if (next === undefined || this.#used + next.amount > this.#total) return
      this.#waiters.shift()
      this.#used += next.amount
      next.grant()
    }
  }
}
