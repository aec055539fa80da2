import type { Budget } from '../lib/budget.ts'
import { LimitExceededError } from '../lib/errors.ts'
import { RangeSet } from '../lib/range-set.ts'
import type { ChunkBuffers } from './chunk-buffers.ts'
import type { StagingFile } from './staging-file.ts'

/** A run of bytes inside a chunk. */
export interface Fragment {
  /** Offset in the chunk. */
  readonly at: number
  readonly bytes: Uint8Array
}

/** What was filled of a chunk, in a buffer that belongs to the taker. */
export interface TakenChunk {
  /** As long as a chunk; only what the fragments show of it means anything. */
  readonly buffer: Uint8Array
  /** Views of the buffer, in order, without overlaps. */
  readonly fragments: readonly Fragment[]
}

/** Where a part-filled chunk is. */
type Place =
  | { readonly kind: 'memory'; readonly buffer: Uint8Array }
  | { readonly kind: 'staged'; readonly slot: number }

interface Part {
  readonly filled: RangeSet
  place: Place
}

export interface PartialChunksComponents {
  /** Memory for part-filled chunks. */
  readonly memory: Budget
  readonly buffers: ChunkBuffers
  /** Takes what the memory cannot. */
  readonly staging: StagingFile
}

/**
 * Chunks of which some bytes are there: in memory as long as the budget allows, the longest
 * untouched ones in a staging file beyond that. Calls come one after the other, each awaited.
 */
export class PartialChunks {
  readonly #chunkBytes: number
  readonly #memory: Budget
  readonly #buffers: ChunkBuffers
  readonly #staging: StagingFile
  readonly #maxRanges: number
  /** By index. */
  readonly #parts = new Map<number, Part>()
  /** Indexes of those in memory, in order of their last touch. */
  readonly #inMemory = new Set<number>()
  #rangeCount = 0

  constructor(components: PartialChunksComponents, chunkBytes: number, maxRanges: number) {
    this.#memory = components.memory
    this.#buffers = components.buffers
    this.#staging = components.staging
    this.#chunkBytes = chunkBytes
    this.#maxRanges = maxRanges
  }

  /** Half of the memory is taken, by this and by others who share it. */
  get isHalfFull(): boolean {
    return this.#memory.used > this.#memory.total / 2
  }

  /** Indexes in ascending order. */
  indexes(): number[] {
    return Array.from(this.#parts.keys()).toSorted((left, right) => left - right)
  }

  /**
   * Makes sure that `putNow` can be called once for each of the chunks `first` to `last`.
   *
   * @returns false if that cannot be said without waiting; nothing has changed then.
   */
  tryBegin(first: number, last: number): boolean {
    const missing: number[] = []
    for (let index = first; index <= last; index++) {
      const place = this.#parts.get(index)?.place
      if (place?.kind === 'staged') return false
      if (place === undefined) missing.push(index)
    }
    if (this.#rangeCount + last - first + 1 > this.#maxRanges) return false
    if (missing.length > 0 && !this.#memory.tryAcquire(missing.length * this.#chunkBytes)) {
      return false
    }
    for (const index of missing) this.#addInMemory(index)
    return true
  }

  /**
   * Puts bytes into a chunk for which `tryBegin` has said yes, over what was there.
   *
   * @returns true if the chunk is whole now.
   */
  putNow(index: number, at: number, bytes: Uint8Array): boolean {
    const part = this.#parts.get(index)
    if (part?.place.kind !== 'memory') throw new RangeError(`chunk ${index} was not begun`)
    part.place.buffer.set(bytes, at)
    this.#touch(index)
    return this.#note(part, at, bytes.byteLength)
  }

  /**
   * Puts bytes into a chunk, over what was there.
   *
   * @returns true if the chunk is whole now.
   * @throws {StoreFullError | StoreFailedError} if the staging file fails.
   * @throws {LimitExceededError} if all chunks together would have too many separate runs of bytes.
   */
  async put(index: number, at: number, bytes: Uint8Array): Promise<boolean> {
    const part = this.#parts.get(index) ?? (await this.#begin(index))
    if (part.place.kind === 'memory') {
      part.place.buffer.set(bytes, at)
      this.#touch(index)
    } else {
      await this.#staging.write(part.place.slot, at, bytes)
    }
    const isWhole = this.#note(part, at, bytes.byteLength)
    if (this.#rangeCount > this.#maxRanges) {
      throw new LimitExceededError('separate runs of bytes in an upload', this.#maxRanges)
    }
    return isWhole
  }

  /** Bytes of a chunk that are filled. */
  filledBytes(index: number): number {
    return this.#parts.get(index)?.filled.size ?? 0
  }

  /**
   * Takes a chunk out.
   *
   * @returns undefined if there is none.
   * @throws {StoreFailedError} if the staging file fails; the chunk is still there then.
   */
  async take(index: number): Promise<TakenChunk | undefined> {
    const part = this.#parts.get(index)
    if (part?.place.kind !== 'staged') return this.takeNow(index)
    const buffer = this.#buffers.take(this.#chunkBytes)
    for (const { start, end } of part.filled) {
      await this.#staging.read(part.place.slot, start, buffer.subarray(start, end))
    }
    this.drop(index)
    return { buffer, fragments: fragmentsOf(part, buffer) }
  }

  /** Takes a chunk out that is in memory. @returns undefined if there is none. */
  takeNow(index: number): TakenChunk | undefined {
    const part = this.#parts.get(index)
    if (part?.place.kind !== 'memory') return undefined
    this.#forget(index, part)
    this.#memory.release(this.#chunkBytes)
    const { buffer } = part.place
    return { buffer, fragments: fragmentsOf(part, buffer) }
  }

  /** Forgets a chunk; harmless if there is none. */
  drop(index: number): void {
    const part = this.#parts.get(index)
    if (part === undefined) return
    this.#forget(index, part)
    if (part.place.kind === 'staged') {
      this.#staging.release(part.place.slot)
      return
    }
    this.#buffers.give(part.place.buffer)
    this.#memory.release(this.#chunkBytes)
  }

  /** Forgets all chunks. */
  clear(): void {
    for (const index of this.#parts.keys()) this.drop(index)
  }

  async #begin(index: number): Promise<Part> {
    if (!this.#memory.tryAcquire(this.#chunkBytes)) {
      const oldest = this.#inMemory.values().next()
      const isFreed = oldest.done === false && (await this.#stage(oldest.value))
      // Others have all the memory: straight into the file.
      if (!isFreed) return this.#add(index, { kind: 'staged', slot: this.#staging.take() })
    }
    return this.#addInMemory(index)
  }

  /** The memory has been acquired. */
  #addInMemory(index: number): Part {
    this.#inMemory.add(index)
    return this.#add(index, { kind: 'memory', buffer: this.#buffers.take(this.#chunkBytes) })
  }

  #add(index: number, place: Place): Part {
    const part = { filled: new RangeSet(), place }
    this.#parts.set(index, part)
    return part
  }

  #touch(index: number): void {
    this.#inMemory.delete(index)
    this.#inMemory.add(index)
  }

  /** @returns true if the chunk is whole now. */
  #note({ filled }: Part, at: number, length: number): boolean {
    const before = filled.rangeCount
    filled.add(at, at + length)
    this.#rangeCount += filled.rangeCount - before
    return filled.size === this.#chunkBytes
  }

  #forget(index: number, { filled }: Part): void {
    this.#parts.delete(index)
    this.#inMemory.delete(index)
    this.#rangeCount -= filled.rangeCount
  }

  /** Moves a chunk to the file. @returns true if its memory is now held for the next chunk. */
  async #stage(index: number): Promise<boolean> {
    const part = this.#parts.get(index)
    if (part?.place.kind !== 'memory') return false
    const { buffer } = part.place
    const ranges = Array.from(part.filled)
    const [from, to] = [ranges.at(0)?.start ?? 0, ranges.at(-1)?.end ?? 0]
    const slot = this.#staging.take()
    try {
      // In one go: what lies between the ranges is left over from earlier and is never read.
      await this.#staging.write(slot, from, buffer.subarray(from, to))
    } catch (error) {
      this.#staging.release(slot)
      throw error
    }
    part.place = { kind: 'staged', slot }
    this.#inMemory.delete(index)
    this.#buffers.give(buffer)
    return true
  }
}

function fragmentsOf({ filled }: Part, buffer: Uint8Array): Fragment[] {
  return Array.from(filled, ({ start, end }) => ({
    at: start,
    bytes: buffer.subarray(start, end)
  }))
}
