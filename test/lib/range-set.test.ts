import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { RangeSet } from '../../src/lib/range-set.ts'

test('is a set of numbers, whatever ranges are added', () => {
  const range = fc.tuple(fc.nat(40), fc.nat(12))
  fc.assert(
    fc.property(fc.array(range, { maxLength: 20 }), range, (ranges, [from, length]) => {
      const set = new RangeSet()
      const model = new Set<number>()
      for (const [start, count] of ranges) {
        set.add(start, start + count)
        for (let each = start; each < start + count; each++) model.add(each)
      }

      const listed = Array.from(set).flatMap(({ start, end }) =>
        Array.from({ length: end - start }, (_, at) => start + at)
      )
      expect(listed).toEqual(Array.from(model).toSorted((left, right) => left - right))
      expect(set.size).toBe(model.size)
      const wanted = Array.from({ length }, (_, at) => from + at)
      expect(set.covers(from, from + length)).toBe(wanted.every((each) => model.has(each)))
    })
  )
})

test('joins ranges that touch', () => {
  const set = new RangeSet()

  for (const [start, end] of [
    [0, 2],
    [4, 6],
    [2, 4]
  ] as const)
    set.add(start, end)

  expect(Array.from(set)).toEqual([{ start: 0, end: 6 }])
  expect(set.rangeCount).toBe(1)
})
