import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { intersectRanges, subtractRanges } from '../../src/lib/range-arithmetic.ts'
import { type Range, RangeSet } from '../../src/lib/range-set.ts'

const LIMIT = 40

/** Ranges in order that may touch, but do not overlap. */
const ranges = fc
  .uniqueArray(fc.nat(LIMIT), { maxLength: 12 })
  .map((bounds) => bounds.toSorted((left, right) => left - right))
  .chain((bounds) =>
    fc.array(fc.boolean(), { minLength: bounds.length, maxLength: bounds.length }).map((taken) =>
      bounds.slice(1).flatMap((end, at): Range[] => {
        const start = bounds[at] ?? 0
        return taken[at] === true ? [{ start, end }] : []
      })
    )
  )

const numbersIn = (some: Iterable<Range>): Set<number> =>
  new Set(
    Array.from(some).flatMap(({ start, end }) =>
      Array.from({ length: end - start }, (_, at) => start + at)
    )
  )

function expectInOrder(some: readonly Range[]): void {
  for (const [at, { start, end }] of some.entries()) {
    expect(start).toBeLessThan(end)
    expect(start).toBeGreaterThanOrEqual(some[at - 1]?.end ?? 0)
  }
}

describe('ranges', () => {
  test('without others are what only they have', () => {
    fc.assert(
      fc.property(ranges, ranges, (left, right) => {
        const result = Array.from(subtractRanges(left, right))

        expectInOrder(result)
        expect(numbersIn(result)).toEqual(numbersIn(left).difference(numbersIn(right)))
      })
    )
  })

  test('common to two are what both have', () => {
    fc.assert(
      fc.property(ranges, ranges, (left, right) => {
        const result = Array.from(intersectRanges(left, right))

        expectInOrder(result)
        expect(numbersIn(result)).toEqual(numbersIn(left).intersection(numbersIn(right)))
      })
    )
  })

  test('of a set can be taken from it while it is read', () => {
    const set = new RangeSet()
    set.add(0, 10)
    set.add(20, 30)

    expect(Array.from(subtractRanges(set, [{ start: 5, end: 25 }]))).toEqual([
      { start: 0, end: 5 },
      { start: 25, end: 30 }
    ])
  })
})
