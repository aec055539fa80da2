import type { AbortOptions } from './abort-options.ts'
import { settledOrAborted } from './signals.ts'

interface Load<V> {
  readonly promise: Promise<V>
  readonly controller: AbortController
  waiting: number
}

/**
 * Remembers the last few values that were loaded. Who asks for a value that is being loaded joins
 * the load; it is aborted when nobody waits for it any more. Failures are not remembered, nor is
 * undefined.
 */
export class SharedCache<V> {
  readonly #maxEntries: number
  /** In order of last use. */
  readonly #values = new Map<string, V>()
  // Goes on where it was: a new one would step over every entry deleted at the front, one by one.
  #oldest = this.#values.keys()
  readonly #loads = new Map<string, Load<V>>()

  constructor(maxEntries: number) {
    if (!(maxEntries >= 1)) throw new RangeError(`a cache of ${maxEntries} entries`)
    this.#maxEntries = maxEntries
  }

  /** Number of values remembered. */
  get size(): number {
    return this.#values.size
  }

  /**
   * Gives the value of `key`, loading it if it is not remembered.
   *
   * @throws {unknown} what `load` threw, or `signal.reason`.
   */
  async get(
    key: string,
    load: (signal: AbortSignal) => Promise<V>,
    options: AbortOptions = {}
  ): Promise<V> {
    const { signal } = options
    signal?.throwIfAborted()
    const known = this.#values.get(key)
    if (known !== undefined) {
      this.#remember(key, known)
      return known
    }
    const shared = this.#loads.get(key) ?? this.#start(key, load)
    shared.waiting++
    try {
      const value = await settledOrAborted(shared.promise, [signal])
      signal?.throwIfAborted()
      return value as V
    } finally {
      shared.waiting--
      if (shared.waiting === 0) this.#abandon(key, shared)
    }
  }

  /** Forgets everything; loads in progress go on for those who wait. */
  clear(): void {
    this.#values.clear()
  }

  #start(key: string, load: (signal: AbortSignal) => Promise<V>): Load<V> {
    const controller = new AbortController()
    const run = async (): Promise<V> => {
      try {
        const value = await load(controller.signal)
        this.#remember(key, value)
        return value
      } finally {
        if (this.#loads.get(key)?.controller === controller) this.#loads.delete(key)
      }
    }
    // `load` starts only after the load is registered, so that it cannot finish before.
    const shared = { promise: Promise.resolve().then(run), controller, waiting: 0 }
    this.#loads.set(key, shared)
    return shared
  }

  #abandon(key: string, shared: Load<V>): void {
    if (this.#loads.get(key) !== shared) return
    this.#loads.delete(key)
    shared.controller.abort()
  }

  #remember(key: string, value: V): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    while (this.#values.size > this.#maxEntries) {
      const oldest = this.#oldest.next()
      if (oldest.done === true) this.#oldest = this.#values.keys()
      else this.#values.delete(oldest.value)
    }
  }
}
