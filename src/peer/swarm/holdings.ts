import { Bitfield } from '../../chunks/bitfield.ts'
import type { ChunkStore } from '../../chunks/store-types.ts'
import { nextTurn } from '../../lib/turn.ts'
import type { ChunkTable } from './chunk-table.ts'

const CHUNKS_PER_TURN = 8192

/** Which chunks of an image this agent's store has, and how much of the image that is. */
export class Holdings {
  readonly #table: ChunkTable
  readonly #held: Bitfield
  readonly #listeners = new Set<(chunk: number) => void>()
  #chunks: number
  #bytes: number

  constructor(table: ChunkTable) {
    this.#table = table
    this.#held = new Bitfield(table.count)
    this.#chunks = table.zeroCount
    this.#bytes = table.zeroBytes
  }

  /** Chunks of the image that are there, counted as often as they occur, zeros included. */
  get chunks(): number {
    return this.#chunks
  }

  /** Their bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** Different chunks that are there. */
  get distinctCount(): number {
    return this.#held.onesCount
  }

  get hasAll(): boolean {
    return this.distinctCount === this.#table.distinctCount
  }

  /** The different chunks that are there; not to be changed. */
  get field(): Bitfield {
    return this.#held
  }

  has(chunk: number): boolean {
    return this.#held.get(chunk)
  }

  /** Notes that a chunk is there. @returns true if that is news. */
  add(chunk: number): boolean {
    if (!this.#held.set(chunk)) return false
    this.#count(chunk, 1)
    for (const listener of this.#listeners) listener(chunk)
    return true
  }

  /** Notes that a chunk is not there. @returns true if that is news. */
  remove(chunk: number): boolean {
    if (!this.#held.clear(chunk)) return false
    this.#count(chunk, -1)
    return true
  }

  /** Tells of every chunk that is there, and of each that comes. @returns how to stop that. */
  listen(listener: (chunk: number) => void): () => void {
    for (const chunk of this.#held.ones()) listener(chunk)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Asks the store about every chunk that is not known to be there. @returns what is new. */
  async refresh(store: ChunkStore): Promise<number[]> {
    const found: number[] = []
    let asked = 0
    for (const chunk of this.#table.distinct()) {
      if (this.#held.get(chunk)) continue
      if (store.has(this.#table.id(chunk)) && this.add(chunk)) found.push(chunk)
      if (++asked % CHUNKS_PER_TURN === 0) await nextTurn()
    }
    return found
  }

  /** The bitfield as it is now, in an array of its own. */
  encode(): Uint8Array {
    return this.#held.encode()
  }

  /** Chunks that are there now and not in an earlier `encode()`. */
  since(encoded: Uint8Array): number[] {
    const before = Bitfield.decode(encoded, this.#table.count)
    if (before.onesCount === this.distinctCount) return []
    return Array.from(this.#held.ones()).filter((chunk) => !before.get(chunk))
  }

  #count(chunk: number, sign: 1 | -1): void {
    const occurrences = this.#table.occurrences(chunk)
    this.#chunks += sign * occurrences
    this.#bytes += sign * occurrences * this.#table.byteLength(chunk)
  }
}
