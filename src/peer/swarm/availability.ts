import type { Random } from '../../lib/random.ts'

/** Levels that a search looks at: those from `from` to `to`, both included. */
export interface LevelRange {
  readonly from?: number
  readonly to?: number
}

const CLOSED = 0xffff_ffff
const MAX_LEVEL = 0xffff

/**
 * Keeps the chunks that may be chosen ("open" ones) in buckets by how many copies are known. Every
 * change costs O(1); a search looks at the rarest bucket first and begins anywhere inside it, so that
 * agents with the same view choose differently.
 */
export class Availability {
  /** Number of chunks, open or not. */
  readonly count: number
  readonly #random: Random
  readonly #levels: Uint16Array
  /** Place of an open chunk in its bucket. */
  readonly #places: Uint32Array
  readonly #buckets: number[][] = []
  #openCount = 0

  constructor(count: number, random: Random) {
    this.count = count
    this.#random = random
    this.#levels = new Uint16Array(count)
    this.#places = new Uint32Array(count).fill(CLOSED)
  }

  /** Number of open chunks. */
  get openCount(): number {
    return this.#openCount
  }

  isOpen(chunk: number): boolean {
    return this.#placeOf(chunk) !== CLOSED
  }

  /** Lets a chunk be chosen; harmless if it is open. */
  open(chunk: number): void {
    if (this.isOpen(chunk)) return
    this.#insert(chunk)
    this.#openCount++
  }

  /** Keeps a chunk from being chosen; harmless if it is closed. */
  close(chunk: number): void {
    if (!this.isOpen(chunk)) return
    this.#extract(chunk)
    this.#openCount--
  }

  /** Copies known of a chunk. */
  level(chunk: number): number {
    return this.#levels[chunk] ?? 0
  }

  /** Counts one more copy. */
  increment(chunk: number): void {
    this.#move(chunk, 1)
  }

  /** Counts one copy less. @throws {RangeError} if there is none. */
  decrement(chunk: number): void {
    if (this.level(chunk) === 0) throw new RangeError(`chunk ${chunk} has no copy to take away`)
    this.#move(chunk, -1)
  }

  /** Number of open chunks of which `level` copies are known. */
  openAt(level: number): number {
    return this.#buckets[level]?.length ?? 0
  }

  /** The rarest open chunk that `accepts` takes, any among equally rare ones. */
  rarest(accepts: (chunk: number) => boolean, range: LevelRange = {}): number | undefined {
    const { from = 0, to = MAX_LEVEL } = range
    const end = Math.min(to + 1, this.#buckets.length)
    for (let level = from; level < end; level++) {
      const chunk = searchFrom(this.#buckets[level] ?? [], this.#random(), accepts)
      if (chunk !== undefined) return chunk
    }
    return undefined
  }

  #placeOf(chunk: number): number {
    const place = this.#places[chunk]
    if (place === undefined) throw new RangeError(`chunk ${chunk} of ${this.count}`)
    return place
  }

  #move(chunk: number, by: 1 | -1): void {
    const isOpen = this.isOpen(chunk)
    if (isOpen) this.#extract(chunk)
    this.#levels[chunk] = this.level(chunk) + by
    if (isOpen) this.#insert(chunk)
  }

  #insert(chunk: number): void {
    const level = this.level(chunk)
    while (this.#buckets.length <= level) this.#buckets.push([])
    const bucket = this.#buckets[level] ?? []
    this.#places[chunk] = bucket.length
    bucket.push(chunk)
  }

  #extract(chunk: number): void {
    const bucket = this.#buckets[this.level(chunk)] ?? []
    const place = this.#placeOf(chunk)
    const last = bucket.pop()
    if (last !== undefined && last !== chunk) {
      bucket[place] = last
      this.#places[last] = place
    }
    this.#places[chunk] = CLOSED
  }
}

function searchFrom(
  bucket: readonly number[],
  where: number,
  accepts: (chunk: number) => boolean
): number | undefined {
  const start = Math.floor(where * bucket.length)
  for (let step = 0; step < bucket.length; step++) {
    const at = start + step
    const chunk = bucket[at < bucket.length ? at : at - bucket.length]
    if (chunk !== undefined && accepts(chunk)) return chunk
  }
  return undefined
}
