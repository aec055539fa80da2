import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { bytesToFree, evictionOrder } from '../../src/chunks/quota.ts'

describe('what a cache has to give up', () => {
  test.each([
    ['nothing while all fits', { usedBytes: 60, neededBytes: 40, limitBytes: 100 }, 0],
    [
      'a tenth of the limit beyond what comes',
      { usedBytes: 60, neededBytes: 41, limitBytes: 100 },
      11
    ],
    [
      'all of it for what needs nearly all',
      { usedBytes: 60, neededBytes: 95, limitBytes: 100 },
      60
    ],
    ['nothing without a limit', { usedBytes: 60, neededBytes: 41, limitBytes: Infinity }, 0],
    ['what is too much when nothing comes', { usedBytes: 60, neededBytes: 0, limitBytes: 50 }, 15]
  ])('is %s', (_name, fill, expected) => {
    expect(bytesToFree(fill)).toBeCloseTo(expected)
  })

  test('is enough for what comes if that can be at all', () => {
    const sizes = fc.integer({ min: 0, max: 1e12 })
    fc.assert(
      fc.property(sizes, sizes, sizes, (usedBytes, neededBytes, limitBytes) => {
        const freed = bytesToFree({ usedBytes, neededBytes, limitBytes })

        expect(freed).toBeGreaterThanOrEqual(0)
        expect(freed).toBeLessThanOrEqual(usedBytes)
        const fits = usedBytes - freed + neededBytes <= limitBytes + 1e-3
        expect(fits).toBe(neededBytes <= limitBytes)
      })
    )
  })
})

test('evicts what was not used for longest first, and nothing that is in use', () => {
  const items = [
    { key: 'new', usedMs: 3 },
    { key: 'old', usedMs: 1 },
    { key: 'busy', usedMs: 0 },
    { key: 'middle', usedMs: 2 }
  ]

  const order = evictionOrder(items, ({ key }) => key === 'busy')

  expect(order.map(({ key }) => key)).toEqual(['old', 'middle', 'new'])
})
