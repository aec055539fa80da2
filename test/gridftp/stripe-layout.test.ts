import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { assignStripes, shareRanges, stripeBytesOf } from '../../src/gridftp/stripe-layout.ts'
import type { Range } from '../../src/lib/range-set.ts'

const layouts = fc.record({
  movers: fc.integer({ min: 1, max: 7 }),
  targets: fc.integer({ min: 1, max: 7 }),
  stripeBytes: fc.integer({ min: 1, max: 40 }),
  base: fc.integer({ min: 0, max: 50 }),
  lengths: fc.array(fc.tuple(fc.nat(30), fc.nat(90)), { maxLength: 4 })
})

/** Ranges from the base on, out of gaps and lengths. */
function rangesOf(base: number, lengths: readonly (readonly [number, number])[]): Range[] {
  let at = base
  return lengths.map(([gap, length]) => {
    const start = at + gap
    at = start + length
    return { start, end: at }
  })
}

describe('stripes', () => {
  test('carry every byte that is asked for once, each stripe block to its own target', () => {
    fc.assert(
      fc.property(layouts, ({ movers, targets, stripeBytes, base, lengths }) => {
        const ranges = rangesOf(base, lengths)
        const carried: number[] = []

        for (const share of assignStripes(movers, targets).flat()) {
          for (const { start, end } of shareRanges(share, { ranges, base, stripeBytes })) {
            const block = Math.floor((start - base) / stripeBytes)
            expect(start).toBeLessThan(end)
            expect(block % targets).toBe(share.target)
            expect(Math.floor((end - 1 - base) / stripeBytes)).toBe(block)
            for (let byte = start; byte < end; byte++) carried.push(byte)
          }
        }

        const wanted = ranges.flatMap(({ start, end }) =>
          Array.from({ length: end - start }, (_, at) => start + at)
        )
        expect(carried.toSorted((left, right) => left - right)).toEqual(wanted)
      }),
      { numRuns: 150 }
    )
  })

  test('are served by somebody each, and every mover serves one', () => {
    for (let movers = 1; movers <= 6; movers++) {
      for (let targets = 1; targets <= 6; targets++) {
        const shares = assignStripes(movers, targets)

        expect(new Set(shares.flat().map(({ target }) => target)).size).toBe(targets)
        expect(shares.every((own) => own.length > 0)).toBe(true)
      }
    }
  })

  test('have one sender of the EOF for each target', () => {
    const firsts = assignStripes(5, 2)
      .flat()
      .filter(({ share }) => share === 0)

    expect(firsts.map(({ target }) => target)).toEqual([0, 1])
  })

  test('are contiguous parts where the layout is partitioned', () => {
    const stripeBytes = stripeBytesOf({ kind: 'partitioned' }, 1_000_001, 3)
    const whole = { ranges: [{ start: 0, end: 1_000_001 }], base: 0, stripeBytes }

    const parts = assignStripes(3, 3).map((own) =>
      own.flatMap((one) => [...shareRanges(one, whole)])
    )

    expect(parts).toEqual([
      [{ start: 0, end: 333_334 }],
      [{ start: 333_334, end: 666_668 }],
      [{ start: 666_668, end: 1_000_001 }]
    ])
  })
})
