import { equalBytes } from '../lib/bytes.ts'

interface Numbered {
  readonly number: number
}

/** The newest that was seen of a list that the authority signs and counts. */
export class NewestList<T extends Numbered> {
  readonly #listeners = new Set<(list: T) => void>()
  #known: { readonly list: T; readonly encoded: Uint8Array } | undefined

  /** undefined until one was seen. */
  get list(): T | undefined {
    return this.#known?.list
  }

  /** As it travels. */
  get encoded(): Uint8Array | undefined {
    return this.#known?.encoded
  }

  /** 0 until one was seen. */
  get number(): number {
    return this.#known?.list.number ?? 0
  }

  /**
   * Takes over a list if it is newer than the one known.
   *
   * @param verify reads it and throws if the authority has not signed it.
   * @returns its number.
   */
  offer(encoded: Uint8Array, verify: (encoded: Uint8Array) => T): number {
    const known = this.#known
    if (known !== undefined && equalBytes(encoded, known.encoded)) return known.list.number
    const list = verify(encoded)
    if (list.number > this.number) {
      this.#known = { list, encoded }
      for (const listener of this.#listeners) listener(list)
    }
    return list.number
  }

  /** Calls back with each newer list. @returns how to stop listening. */
  onChanged(listener: (list: T) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
