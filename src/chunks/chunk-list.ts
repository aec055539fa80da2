import { asBuffer, equalBytes } from '../lib/bytes.ts'
import { CHUNK_ID_BYTES, checkChunkId, isZeroChunk } from './chunk-id.ts'
import type { ChunkId } from './types.ts'

/**
 * A fixed number of chunk ids packed one after the other in a single array, the zero id at first.
 */
export class ChunkList {
  /** Number of ids. */
  readonly count: number
  /** The packed ids, 32 bytes each; the list's own memory, not a copy. */
  readonly bytes: Uint8Array

  /** `packed` is a count, or an array of packed ids that becomes the list's memory. */
  constructor(packed: number | Uint8Array) {
    this.bytes = typeof packed === 'number' ? new Uint8Array(packed * CHUNK_ID_BYTES) : packed
    if (this.bytes.byteLength % CHUNK_ID_BYTES !== 0) {
      throw new RangeError(`${this.bytes.byteLength} bytes are not a whole number of chunk ids`)
    }
    this.count = this.bytes.byteLength / CHUNK_ID_BYTES
  }

  /** Packs ids into a new list. */
  static from(ids: Iterable<ChunkId>): ChunkList {
    const all = Array.from(ids)
    const list = new ChunkList(all.length)
    for (const [index, id] of all.entries()) list.set(index, id)
    return list
  }

  /** The id at `index`, a view of the list's memory. @throws {RangeError} if there is none. */
  get(index: number): ChunkId {
    const at = this.#offsetOf(index)
    return this.bytes.subarray(at, at + CHUNK_ID_BYTES)
  }

  /** Copies an id into the list. @throws {RangeError} if there is no such place. */
  set(index: number, id: ChunkId): void {
    checkChunkId(id)
    this.bytes.set(id, this.#offsetOf(index))
  }

  /** Tells whether the id at `index` is `id`, without making a view. */
  holds(index: number, id: ChunkId): boolean {
    const at = this.#offsetOf(index)
    checkChunkId(id)
    return asBuffer(this.bytes).compare(id, 0, CHUNK_ID_BYTES, at, at + CHUNK_ID_BYTES) === 0
  }

  /** Tells whether the id at `index` is the one of zeros. */
  isZero(index: number): boolean {
    return isZeroChunk(this.get(index))
  }

  /** The ids from `start` to before `end` as a list over the same memory. */
  subarray(start: number, end: number = this.count): ChunkList {
    return new ChunkList(this.bytes.subarray(start * CHUNK_ID_BYTES, end * CHUNK_ID_BYTES))
  }

  /** Tells whether both lists hold the same ids in the same order. */
  equals(other: ChunkList): boolean {
    return equalBytes(this.bytes, other.bytes)
  }

  /** @yields the ids in order, as views. */
  *[Symbol.iterator](): Generator<ChunkId, void> {
    for (let index = 0; index < this.count; index++) yield this.get(index)
  }

  #offsetOf(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.count) {
      throw new RangeError(`id ${index} of ${this.count}`)
    }
    return index * CHUNK_ID_BYTES
  }
}
