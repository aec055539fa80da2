import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { BlockSource, OutgoingBlock } from '../../src/gridftp/block-sender.ts'
import {
  ChainedBlocks,
  formatRanges,
  gapsBetween,
  parseRestartPoint
} from '../../src/gridftp/restart-ranges.ts'
import type { Range } from '../../src/lib/range-set.ts'

describe('the argument of REST', () => {
  test.each([
    ['0', { kind: 'offset', offset: 0 }],
    [' 262144 ', { kind: 'offset', offset: 262_144 }],
    ['0-5', { kind: 'ranges', ranges: [{ start: 0, end: 5 }] }],
    [
      '7-9,0-5',
      {
        kind: 'ranges',
        ranges: [
          { start: 0, end: 5 },
          { start: 7, end: 9 }
        ]
      }
    ],
    ['5-5', { kind: 'ranges', ranges: [] }]
  ])('%j is understood', (argument, expected) => {
    expect(parseRestartPoint(argument)).toEqual(expected)
  })

  test.each([
    '',
    '-',
    'abc',
    '-5',
    '5-',
    '5-3',
    '0-5,',
    '0-5, 7-9',
    '0-5,4-9',
    '0-5,0-5',
    '9007199254740993',
    '0-9007199254740993',
    '1e3',
    '0x10-0x20'
  ])('%j is not', (argument) => {
    expect(parseRestartPoint(argument)).toBeUndefined()
  })

  test('is what a marker said, in any order', () => {
    const bounds = fc.uniqueArray(fc.nat(1e9), { minLength: 2, maxLength: 40 })
    fc.assert(
      fc.property(bounds, fc.nat(100), (numbers, turn) => {
        const sorted = numbers.toSorted((left, right) => left - right)
        const ranges: Range[] = []
        for (let at = 0; at + 1 < sorted.length; at += 2) {
          ranges.push({ start: sorted[at] ?? 0, end: sorted[at + 1] ?? 0 })
        }
        const turned = [
          ...ranges.slice(turn % ranges.length),
          ...ranges.slice(0, turn % ranges.length)
        ]

        expect(parseRestartPoint(formatRanges(turned))).toEqual({ kind: 'ranges', ranges })
      })
    )
  })

  test('never hangs or throws, whatever it is', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9,\- ]{0,40}$/), (argument) => {
        parseRestartPoint(argument)
      })
    )
  })
})

test('gaps are what has not arrived of a range', () => {
  const arrived = [
    { start: 0, end: 10 },
    { start: 20, end: 30 },
    { start: 90, end: 200 }
  ]

  expect(gapsBetween(arrived, { start: 5, end: 100 })).toEqual([
    { start: 10, end: 20 },
    { start: 30, end: 90 }
  ])
})

class ListedBlocks implements BlockSource {
  isClosed = false
  readonly #left: number[]

  constructor(...offsets: readonly number[]) {
    this.#left = [...offsets]
  }

  async next(): Promise<OutgoingBlock | undefined> {
    const offset = this.#left.shift()
    return offset === undefined ? undefined : { offset, parts: [] }
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

describe('chained blocks', () => {
  test('give every block once, however many ask at the same time', async () => {
    const sources = [new ListedBlocks(1, 2), new ListedBlocks(), new ListedBlocks(3)]
    const chained = new ChainedBlocks(sources)

    const drain = async (): Promise<number[]> => {
      const block = await chained.next()
      return block === undefined ? [] : [block.offset, ...(await drain())]
    }
    const drained = await Promise.all([drain(), drain(), drain()])

    expect(drained.flat().toSorted((left, right) => left - right)).toEqual([1, 2, 3])
    expect(sources.every(({ isClosed }) => isClosed)).toBe(true)
  })

  test('close what is open, and make nothing more', async () => {
    const first = new ListedBlocks(1, 2)
    const chained = new ChainedBlocks(
      (function* sources() {
        yield first
        throw new Error('it was made too early')
      })()
    )

    await chained.next()
    await chained.close()

    expect(first.isClosed).toBe(true)
    expect(await chained.next()).toBeUndefined()
  })
})
