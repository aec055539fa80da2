interface Entry<V> {
  readonly value: V
  readonly bytes: number
}

/** Remembers values up to a number of bytes; the longest unused go first. */
export class LruCache<V> {
  readonly #maxBytes: number
  // In order of use, the longest unused first.
  readonly #entries = new Map<string, Entry<V>>()
  // Goes on where it was: a new one would step over every entry deleted at the front, one by one.
  #oldest = this.#entries.keys()
  #usedBytes = 0

  /** `maxBytes` of 0 remembers nothing. */
  constructor(maxBytes: number) {
    if (!(maxBytes >= 0)) throw new RangeError(`a cache of ${maxBytes} bytes`)
    this.#maxBytes = maxBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry.value
  }

  /** Remembers a value that takes about `bytes`; one that is larger than the cache is not kept. */
  set(key: string, value: V, bytes: number): void {
    this.delete(key)
    if (bytes > this.#maxBytes) return
    this.#entries.set(key, { value, bytes })
    this.#usedBytes += bytes
    while (this.#usedBytes > this.#maxBytes) {
      const oldest = this.#oldest.next()
      if (oldest.done === true) this.#oldest = this.#entries.keys()
      else this.delete(oldest.value)
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#entries.delete(key)
    this.#usedBytes -= entry.bytes
  }
}
