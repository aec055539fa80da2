import type { Budget } from '../lib/budget.ts'
import { LimitExceededError } from '../lib/errors.ts'
import { RangeSet } from '../lib/range-set.ts'
import type { StagingFile } from './staging-file.ts'

/** A run of bytes inside a chunk. */
export interface Fragment {
  /** Offset in the chunk. */
  readonly at: number
  readonly bytes: Uint8Array
}

/** Where a part-filled chunk is. */
type Place =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'staged'; readonly slot: number }

interface Part {
  readonly filled: RangeSet
  place: Place
}

/**
 * Chunks of which some bytes are there: in memory as long as the budget allows, the longest
 * untouched ones in a staging file beyond that. Calls come one after the other, each awaited.
 */
export class PartialChunks {
  readonly #chunkBytes: number
  readonly #memory: Budget
  readonly #staging: StagingFile
  readonly #maxRanges: number
  /** By index; those in memory in order of their last touch. */
  readonly #parts = new Map<number, Part>()
  readonly #inMemory = new Set<number>()
  #rangeCount = 0

  constructor(chunkBytes: number, memory: Budget, staging: StagingFile, maxRanges: number) {
    this.#chunkBytes = chunkBytes
    this.#memory = memory
    this.#staging = staging
    this.#maxRanges = maxRanges
  }

  /** Indexes in ascending order. */
  indexes(): number[] {
    return Array.from(this.#parts.keys()).toSorted((left, right) => left - right)
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
      part.place.bytes.set(bytes, at)
      this.#inMemory.delete(index)
      this.#inMemory.add(index)
    } else {
      await this.#staging.write(part.place.slot, at, bytes)
    }
    const before = part.filled.rangeCount
    part.filled.add(at, at + bytes.byteLength)
    this.#rangeCount += part.filled.rangeCount - before
    if (this.#rangeCount > this.#maxRanges) {
      throw new LimitExceededError('separate runs of bytes in an upload', this.#maxRanges)
    }
    return part.filled.size === this.#chunkBytes
  }

  /** Bytes that `fragments` will give. */
  filledBytes(index: number): number {
    return this.#parts.get(index)?.filled.size ?? 0
  }

  /**
   * The filled runs of a chunk, in order; arrays that belong to the taker, who then calls `drop`.
   */
  async fragments(index: number): Promise<Fragment[]> {
    const part = this.#parts.get(index)
    const fragments: Fragment[] = []
    for (const { start, end } of part?.filled ?? []) {
      const bytes =
        part?.place.kind === 'staged'
          ? await this.#staging.read(part.place.slot, start, end - start)
          : part?.place.bytes.subarray(start, end)
      if (bytes !== undefined) fragments.push({ at: start, bytes })
    }
    return fragments
  }

  /** Forgets a chunk; harmless if there is none. */
  drop(index: number): void {
    const part = this.#parts.get(index)
    if (part === undefined) return
    this.#parts.delete(index)
    this.#rangeCount -= part.filled.rangeCount
    if (part.place.kind === 'staged') this.#staging.release(part.place.slot)
    else this.#memory.release(this.#chunkBytes)
    this.#inMemory.delete(index)
  }

  /** Forgets all chunks. */
  clear(): void {
    for (const index of this.#parts.keys()) this.drop(index)
  }

  async #begin(index: number): Promise<Part> {
    if (!this.#memory.tryAcquire(this.#chunkBytes)) {
      const oldest = this.#inMemory.values().next()
      // Without one of its own to push out, the memory is somebody else's: straight to the file.
      if (oldest.done === true || !(await this.#stage(oldest.value))) {
        return this.#add(index, { kind: 'staged', slot: this.#staging.take() })
      }
    }
    this.#inMemory.add(index)
    return this.#add(index, { kind: 'memory', bytes: new Uint8Array(this.#chunkBytes) })
  }

  #add(index: number, place: Place): Part {
    const part = { filled: new RangeSet(), place }
    this.#parts.set(index, part)
    return part
  }

  /** Moves a chunk to the file. @returns true if its memory is now held for the next chunk. */
  async #stage(index: number): Promise<boolean> {
    const part = this.#parts.get(index)
    if (part?.place.kind !== 'memory') return false
    const ranges = Array.from(part.filled)
    const [from, to] = [ranges.at(0)?.start ?? 0, ranges.at(-1)?.end ?? 0]
    const slot = this.#staging.take()
    try {
      // In one go: what lies between the ranges is zeros and is never read.
      await this.#staging.write(slot, from, part.place.bytes.subarray(from, to))
    } catch (error) {
      this.#staging.release(slot)
      throw error
    }
    part.place = { kind: 'staged', slot }
    this.#inMemory.delete(index)
    return true
  }
}
