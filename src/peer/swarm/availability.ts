import type { Random } from '../../lib/random.ts'

/** Levels that a search looks at: those from `from` to `to`, both included. */
export interface LevelRange {
  readonly from?: number
  readonly to?: number
}

const CLOSED = 0xffff_ffff
const MAX_LEVEL = 0xffff

/**
 * Keeps the chunks that may be chosen ("open" ones) in buckets by how many copies are known. Counting a
 * copy costs O(1), opening and closing a chunk as much as there are levels above it; a search looks at
 * the rarest bucket first and begins anywhere inside it, so that agents with the same view choose
 * differently.
 */
export class Availability {
  /** Number of chunks, open or not. */
  readonly count: number
  readonly #random: Random
  readonly #levels: Uint16Array
  /** Open chunks, the rarest first: bucket after bucket. */
  readonly #order: Uint32Array
  /** Where an open chunk is in that order. */
  readonly #places: Uint32Array
  /** Where each bucket begins; behind the last one there is another that is always empty. */
  readonly #starts: number[] = [0, 0]
  #openCount = 0

  /** `levels`, if given, tells the copies known already, and is this object's from then on. */
  constructor(count: number, random: Random, levels = new Uint16Array(count)) {
    this.count = count
    this.#random = random
    this.#levels = levels
    this.#order = new Uint32Array(count)
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
    const level = this.level(chunk)
    const starts = this.#starts
    this.#reach(level)
    // Each bucket above makes room by moving its first chunk behind its last.
    let room = this.#openCount++
    for (let above = starts.length - 1; above > level; above--) {
      const first = starts[above] ?? 0
      if (first !== room) this.#put(this.#order[first] ?? 0, room)
      starts[above] = first + 1
      room = first
    }
    this.#put(chunk, room)
  }

  /** Keeps a chunk from being chosen; harmless if it is closed. */
  close(chunk: number): void {
    let room = this.#placeOf(chunk)
    if (room === CLOSED) return
    const starts = this.#starts
    for (let above = this.level(chunk) + 1; above < starts.length; above++) {
      const last = (starts[above] ?? 0) - 1
      if (last !== room) this.#put(this.#order[last] ?? 0, room)
      starts[above] = last
      room = last
    }
    this.#places[chunk] = CLOSED
    this.#openCount--
  }

  /** Copies known of a chunk. */
  level(chunk: number): number {
    return this.#levels[chunk] ?? 0
  }

  /** Counts one more copy. */
  increment(chunk: number): void {
    const place = this.#placeOf(chunk)
    const level = this.level(chunk)
    this.#levels[chunk] = level + 1
    if (place === CLOSED) return
    this.#reach(level + 1)
    const last = (this.#starts[level + 1] ?? 0) - 1
    this.#starts[level + 1] = last
    this.#swap(chunk, place, last)
  }

  /** Counts one copy less. @throws {RangeError} if there is none. */
  decrement(chunk: number): void {
    const place = this.#placeOf(chunk)
    const level = this.level(chunk)
    if (level === 0) throw new RangeError(`chunk ${chunk} has no copy to take away`)
    this.#levels[chunk] = level - 1
    if (place === CLOSED) return
    const first = this.#starts[level] ?? 0
    this.#starts[level] = first + 1
    this.#swap(chunk, place, first)
  }

  /** Number of open chunks of which `level` copies are known. */
  openAt(level: number): number {
    return (this.#starts[level + 1] ?? this.#openCount) - (this.#starts[level] ?? this.#openCount)
  }

  /** The rarest open chunk that `accepts` takes, any among equally rare ones. */
  rarest(accepts: (chunk: number) => boolean, range: LevelRange = {}): number | undefined {
    const { from = 0, to = MAX_LEVEL } = range
    const end = Math.min(to + 1, this.#starts.length - 1)
    for (let level = from; level < end; level++) {
      const chunk = this.#search(level, accepts)
      if (chunk !== undefined) return chunk
    }
    return undefined
  }

  #search(level: number, accepts: (chunk: number) => boolean): number | undefined {
    const first = this.#starts[level] ?? 0
    const end = this.#starts[level + 1] ?? 0
    if (first === end) return undefined
    const begin = first + Math.floor(this.#random() * (end - first))
    for (let at = begin; at < end; at++) {
      const chunk = this.#order[at] ?? 0
      if (accepts(chunk)) return chunk
    }
    for (let at = first; at < begin; at++) {
      const chunk = this.#order[at] ?? 0
      if (accepts(chunk)) return chunk
    }
    return undefined
  }

  #placeOf(chunk: number): number {
    const place = this.#places[chunk]
    if (place === undefined) throw new RangeError(`chunk ${chunk} of ${this.count}`)
    return place
  }

  /** Lets there be a bucket for a level. */
  #reach(level: number): void {
    while (this.#starts.length < level + 2) this.#starts.push(this.#openCount)
  }

  #swap(chunk: number, place: number, other: number): void {
    if (place === other) return
    this.#put(this.#order[other] ?? 0, place)
    this.#put(chunk, other)
  }

  #put(chunk: number, place: number): void {
    this.#order[place] = chunk
    this.#places[chunk] = place
  }
}
