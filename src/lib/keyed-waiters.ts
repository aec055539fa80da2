import type { AbortOptions } from './abort-options.ts'
import { settledOrAborted } from './signals.ts'

/** Lets tasks wait for things that have a name, each until it happens. */
export class KeyedWaiters<K> {
  readonly #waiters = new Map<K, Set<() => void>>()

  /** Resolves when `resolve` is called for the key. @throws {unknown} `signal.reason` if aborted first. */
  async wait(key: K, options: AbortOptions = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiters = this.#waiters.get(key) ?? new Set()
    this.#waiters.set(key, waiters.add(resolve))
    await settledOrAborted(promise, [signal])
    waiters.delete(resolve)
    if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key)
    signal?.throwIfAborted()
  }

  /** Lets everybody go who waits for the key. */
  resolve(key: K): void {
    const waiters = this.#waiters.get(key)
    if (waiters === undefined) return
    this.#waiters.delete(key)
    for (const resolve of waiters) resolve()
  }
}
