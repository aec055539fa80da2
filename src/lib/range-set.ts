/** A half-open range of numbers. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** A set of whole numbers kept as ranges that neither overlap nor touch. */
export class RangeSet {
  /** start, end, start, end, … in ascending order. */
  readonly #bounds: number[] = []
  #size = 0

  /** How many numbers are in the set. */
  get size(): number {
    return this.#size
  }

  /** How many ranges those are. */
  get rangeCount(): number {
    return this.#bounds.length / 2
  }

  /**
   * Adds the numbers from `start` to before `end`; costs a binary search and a shift of an array.
   */
  add(start: number, end: number): void {
    if (start >= end) return
    // All ranges that overlap or touch the new one become one with it.
    const first = this.#firstEndingAt(start)
    let last = first
    let [from, to] = [start, end]
    while (last < this.rangeCount && (this.#bounds[2 * last] ?? 0) <= end) {
      from = Math.min(from, this.#bounds[2 * last] ?? from)
      to = Math.max(to, this.#bounds[2 * last + 1] ?? to)
      this.#size -= (this.#bounds[2 * last + 1] ?? 0) - (this.#bounds[2 * last] ?? 0)
      last++
    }
    this.#size += to - from
    this.#bounds.splice(2 * first, 2 * (last - first), from, to)
  }

  /** Tells whether all numbers from `start` to before `end` are in the set. */
  covers(start: number, end: number): boolean {
    if (start >= end) return true
    const at = 2 * this.#firstEndingAt(start)
    return (this.#bounds[at] ?? Infinity) <= start && (this.#bounds[at + 1] ?? 0) >= end
  }

  /** @yields the ranges in ascending order. */
  *[Symbol.iterator](): Generator<Range, void> {
    for (let at = 0; at < this.#bounds.length; at += 2) {
      yield { start: this.#bounds[at] ?? 0, end: this.#bounds[at + 1] ?? 0 }
    }
  }

  /** Number of the first range whose end is not below `position`. */
  #firstEndingAt(position: number): number {
    let [low, high] = [0, this.rangeCount]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#bounds[2 * middle + 1] ?? 0) < position) low = middle + 1
      else high = middle
    }
    return low
  }
}
