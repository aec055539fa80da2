import { expect, test } from '@jest/globals'
import { MovingAverage } from '../../src/lib/moving-average.ts'

test('begins with the first value and forgets it in time', () => {
  const average = new MovingAverage(4)
  const seen = [average.value]

  for (const value of [100, 100, 20, ...Array.from({ length: 40 }, () => 10)]) {
    average.add(value)
    seen.push(Math.round(average.value))
  }

  expect(seen.slice(0, 4)).toEqual([0, 100, 100, 80])
  expect(seen.at(-1)).toBe(10)
})

test('refuses to be an average of nothing', () => {
  expect(() => new MovingAverage(0)).toThrow(RangeError)
})
