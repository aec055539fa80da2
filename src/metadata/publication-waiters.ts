import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { BlobId, Version } from './types.ts'

interface Waiter {
  count: number
  readonly published: PromiseWithResolvers<void>
}

/** Versions that may be waited for at once. */
const MAX_WAITED_VERSIONS = 100_000

/** Lets callers wait until versions are published. */
export class PublicationWaiters {
  readonly #waiters = new Map<string, Waiter>()
  #failure: Error | undefined

  /**
   * Resolves when the version was announced.
   *
   * @throws {unknown} `signal.reason`, or why waiting is over.
   */
  async wait(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const key = `${blob}/${version}`
    const waiter = this.#waiters.get(key) ?? { count: 0, published: Promise.withResolvers<void>() }
    if (this.#waiters.size >= MAX_WAITED_VERSIONS) {
      throw new LimitExceededError('number of awaited versions', MAX_WAITED_VERSIONS)
    }
    this.#waiters.set(key, waiter)
    waiter.count++
    try {
      await abortable(waiter.published.promise, options.signal)
    } finally {
      waiter.count--
      if (waiter.count === 0 && this.#waiters.get(key) === waiter) this.#waiters.delete(key)
    }
  }

  /** Wakes who waits for a version. */
  announce(blob: BlobId, version: Version): void {
    const key = `${blob}/${version}`
    this.#waiters.get(key)?.published.resolve()
    this.#waiters.delete(key)
  }

  /** Ends all waiting, now and later. */
  fail(error: Error): void {
    this.#failure ??= error
    for (const { published } of this.#waiters.values()) published.reject(error)
    this.#waiters.clear()
  }
}
