import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'

/** A chunk of which copies are to be made. */
export interface WantedCopies {
  readonly id: ChunkId
  /** Copies to make. */
  readonly count: number
  /** Copies that can be read, the less the more urgent. */
  readonly copies: number
  /** Who can give it, the best first. */
  readonly sources: readonly ProviderId[]
  /** Who holds it, or may. */
  readonly beside: readonly ProviderId[]
  /** Pages that list it, by their map keys; grows as more are found. */
  readonly pages: Set<string>
  /** Whether there was no place for other copies that it needs. */
  readonly isShort: boolean
  /** Whether no provider has it, so that it counts as unreachable until it is copied. */
  readonly isLost: boolean
  /** Times that it could not be copied. */
  readonly tries: number
}

type Bucket = Map<string, WantedCopies[]>

/**
 * Chunks that wait to be copied, last copies first; what is to be copied from the same sources
 * comes out together. When it is full, the less urgent go.
 */
export class CopyQueue {
  readonly #max: number
  readonly #buckets = new Map<number, Bucket>()
  #size = 0

  constructor(max: number) {
    if (!(max >= 1)) throw new RangeError(`a queue of ${max} chunks`)
    this.#max = max
  }

  /** Chunks that wait. */
  get size(): number {
    return this.#size
  }

  /** Puts a chunk in. @returns the chunk that had to go, perhaps this one. */
  add(wanted: WantedCopies): WantedCopies | undefined {
    const dropped = this.#size < this.#max ? undefined : this.#takeLeastUrgent(wanted.copies)
    if (this.#size >= this.#max) return wanted
    const bucket: Bucket = this.#buckets.get(wanted.copies) ?? new Map<string, WantedCopies[]>()
    this.#buckets.set(wanted.copies, bucket)
    const key = groupKey(wanted)
    const group = bucket.get(key) ?? []
    bucket.set(key, group)
    group.push(wanted)
    this.#size++
    return dropped
  }

  /** Takes the most urgent chunks out, such as can be copied from the same sources. */
  take(limit: number): WantedCopies[] {
    const rank = Math.min(...this.#buckets.keys())
    return this.#takeFrom(rank, limit)
  }

  /** Takes everything out. */
  clear(): WantedCopies[] {
    const all = Array.from(this.#buckets.values()).flatMap((bucket) => [...bucket.values()].flat())
    this.#buckets.clear()
    this.#size = 0
    return all
  }

  /** Takes one chunk that is less urgent than this. */
  #takeLeastUrgent(copies: number): WantedCopies | undefined {
    const rank = Math.max(...this.#buckets.keys())
    return rank > copies ? this.#takeFrom(rank, 1)[0] : undefined
  }

  #takeFrom(rank: number, limit: number): WantedCopies[] {
    const bucket = this.#buckets.get(rank)
    const [key, group = []] = bucket?.entries().next().value ?? []
    if (bucket === undefined || key === undefined) return []
    const taken = group.splice(Math.max(0, group.length - limit))
    this.#size -= taken.length
    if (group.length === 0) bucket.delete(key)
    if (bucket.size === 0) this.#buckets.delete(rank)
    return taken
  }
}

/** Equal for chunks that can be placed and copied together. */
function groupKey({ count, tries, sources, beside }: WantedCopies): string {
  return [count, tries, sources.join(' '), beside.join(' ')].join('\n')
}

/** Chunks by their map keys, the oldest forgotten beyond a number of them. */
export class RecentCopies {
  readonly #max: number
  readonly #made = new Map<string, readonly ProviderId[]>()

  constructor(max: number) {
    this.#max = max
  }

  /** Remembers who has got a copy of a chunk. */
  note(id: ChunkId, made: readonly ProviderId[]): void {
    if (made.length === 0) return
    const key = chunkKey(id)
    this.#made.set(key, [...this.of(key), ...made])
    const [oldest] = this.#made.keys()
    if (this.#made.size > this.#max && oldest !== undefined) this.#made.delete(oldest)
  }

  /** Who has got a copy of a chunk, by its map key. */
  of(key: string): readonly ProviderId[] {
    return this.#made.get(key) ?? []
  }
}
