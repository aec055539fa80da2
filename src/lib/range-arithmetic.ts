import type { Range } from './range-set.ts'

/**
 * Walks what is in `ranges` and not in `without`; both in ascending order, without overlaps.
 *
 * @yields ranges in ascending order, none empty.
 */
export function* subtractRanges(
  ranges: Iterable<Range>,
  without: Iterable<Range>
): Generator<Range, void> {
  const taken = without[Symbol.iterator]()
  let next = taken.next()
  for (const { start, end } of ranges) {
    let at = start
    while (next.done !== true && next.value.start < end) {
      if (next.value.start > at) yield { start: at, end: next.value.start }
      at = Math.max(at, next.value.end)
      if (next.value.end > end) break // it reaches into the next range
      next = taken.next()
    }
    if (at < end) yield { start: at, end }
  }
}

/**
 * Walks what is in both; each in ascending order, without overlaps.
 *
 * @yields ranges in ascending order, none empty.
 */
export function* intersectRanges(
  ranges: Iterable<Range>,
  others: Iterable<Range>
): Generator<Range, void> {
  const held = others[Symbol.iterator]()
  let next = held.next()
  for (const { start, end } of ranges) {
    while (next.done !== true && next.value.start < end) {
      const [from, to] = [Math.max(start, next.value.start), Math.min(end, next.value.end)]
      if (from < to) yield { start: from, end: to }
      if (next.value.end > end) break
      next = held.next()
    }
  }
}
