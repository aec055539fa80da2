import { asBuffer } from '../lib/bytes.ts'
import type { ChunkStore } from './store-types.ts'
import type { ChunkId } from './types.ts'

/**
 * The ids of a store in order. It reads and sorts those of one first byte at a time, a 256th of
 * all, so that neither memory nor a long stop of the process is needed; it remembers the last ones,
 * so chunks that come later may be missing.
 */
export class SortedIds {
  readonly #store: Pick<ChunkStore, 'ids'>
  #firstByte = -1
  #ids: readonly ChunkId[] = []

  constructor(store: Pick<ChunkStore, 'ids'>) {
    this.#store = store
  }

  /**
   * Ids that begin with a byte.
   *
   * @param after only those above this one. @default all
   */
  startingWith(firstByte: number, after?: ChunkId): readonly ChunkId[] {
    if (firstByte !== this.#firstByte) {
      this.#ids = Array.from(this.#store.ids(firstByte)).toSorted(compareIds)
      this.#firstByte = firstByte
    }
    if (after === undefined || after[0] !== firstByte) return this.#ids
    return this.#ids.slice(countUpTo(this.#ids, after))
  }
}

function compareIds(left: ChunkId, right: ChunkId): number {
  return asBuffer(left).compare(right)
}

/** How many of the sorted ids are not above `last`. */
function countUpTo(ids: readonly ChunkId[], last: ChunkId): number {
  let [low, high] = [0, ids.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareIds(ids[middle] ?? last, last) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
