import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  areTicketRanges,
  chunkLengthAt,
  chunkRangeOf,
  coveredChunks,
  isDyadic,
  joinRanges,
  MAX_CHUNKS,
  meetsRanges,
  ownership,
  spanFor
} from '../../src/metadata/geometry.ts'
import type { AssignedVersion } from '../../src/metadata/ticket-types.ts'
import type { ChunkRange } from '../../src/metadata/types.ts'

const someRanges = fc
  .array(fc.record({ start: fc.nat(200), length: fc.nat(20) }), { maxLength: 30 })
  .map((ranges) => ranges.map(({ start, length }) => ({ start, end: start + length })))

function chunksIn(ranges: readonly ChunkRange[]): Set<number> {
  const chunks = new Set<number>()
  for (const { start, end } of ranges) for (let at = start; at < end; at++) chunks.add(at)
  return chunks
}

function gapsOf(ranges: readonly ChunkRange[]): number[] {
  return ranges.slice(1).map(({ start }, at) => start - (ranges[at]?.end ?? 0))
}

function version(fields: Partial<AssignedVersion>): AssignedVersion {
  const { ranges = [], bytes = 0, span = 8, previousSpan = 8, truncates = false } = fields
  return { version: 5, ranges, bytes, span, previousSpan, truncates }
}

describe('ranges', () => {
  test('joined ones cover the same chunks and have the form of a ticket', () => {
    fc.assert(
      fc.property(someRanges, (ranges) => {
        const joined = joinRanges(ranges)

        expect(chunksIn(joined)).toEqual(chunksIn(ranges))
        expect(areTicketRanges(joined, 300)).toBe(true)
      })
    )
  })

  test('beyond the limit, gaps are closed, the narrowest first', () => {
    fc.assert(
      fc.property(someRanges, fc.integer({ min: 1, max: 10 }), (ranges, limit) => {
        const all = joinRanges(ranges)
        const joined = joinRanges(ranges, limit)

        expect(joined).toHaveLength(Math.min(all.length, limit))
        const widest = gapsOf(all).toSorted((a, b) => b - a)
        const kept = gapsOf(joined).toSorted((a, b) => b - a)
        expect(kept).toEqual(widest.slice(0, Math.max(0, limit - 1)))
      })
    )
  })

  test('are found by binary search as if each were looked at', () => {
    fc.assert(
      fc.property(
        someRanges,
        fc.nat(230),
        fc.integer({ min: 1, max: 40 }),
        (some, start, length) => {
          const ranges = joinRanges(some)
          const end = start + length
          const chunks = chunksIn(ranges)
          let covered = 0
          for (let at = start; at < end; at++) if (chunks.has(at)) covered++

          expect(meetsRanges(ranges, start, end)).toBe(covered > 0)
          expect(coveredChunks(ranges, start, end)).toBe(covered)
        }
      )
    )
  })

  test('a million of them are joined quickly', () => {
    const ranges = Array.from({ length: 1_000_000 }, (_, at) => ({
      start: at * 3,
      end: at * 3 + 1
    }))

    const joined = joinRanges(ranges)

    expect(joined).toHaveLength(4096)
  })

  test('in a ticket they are sorted, apart from each other, not empty, not past the end', () => {
    const wrong: ChunkRange[][] = [
      [{ start: 2, end: 2 }],
      [{ start: -1, end: 2 }],
      [{ start: 0.5, end: 2 }],
      [{ start: 0, end: 11 }],
      [
        { start: 0, end: 2 },
        { start: 2, end: 4 }
      ],
      [
        { start: 4, end: 6 },
        { start: 0, end: 2 }
      ]
    ]

    for (const ranges of wrong) expect(areTicketRanges(ranges, 10)).toBe(false)
  })
})

describe('sizes', () => {
  test('bytes touch the chunks that they lie in', () => {
    const cases = [
      [
        { offset: 0, length: 0 },
        { start: 0, end: 0 }
      ],
      [
        { offset: 3, length: 1 },
        { start: 0, end: 1 }
      ],
      [
        { offset: 3, length: 2 },
        { start: 0, end: 2 }
      ],
      [
        { offset: 4, length: 4 },
        { start: 1, end: 2 }
      ],
      [
        { offset: 9, length: 0 },
        { start: 2, end: 2 }
      ]
    ] as const

    for (const [bytes, chunks] of cases) expect(chunkRangeOf(bytes, 4)).toEqual(chunks)
  })

  test('a span is the smallest power of two that holds the chunks', () => {
    expect([0, 1, 2, 3, 4, 5, 4096, 4097].map(spanFor)).toEqual([1, 1, 2, 4, 4, 8, 4096, 8192])
    expect(spanFor(MAX_CHUNKS)).toBe(MAX_CHUNKS)
    expect(() => spanFor(MAX_CHUNKS + 1)).toThrow('number of chunks')
  })

  test('the last chunk has what is left, those behind it nothing', () => {
    expect([0, 1, 2, 3].map((index) => chunkLengthAt(9, 4, index))).toEqual([4, 4, 1, 0])
  })

  test('places of nodes are multiples of their span, which is a power of two', () => {
    expect(isDyadic(12, 4)).toBe(true)
    for (const [offset, span] of [
      [2, 4],
      [0, 3],
      [-4, 4],
      [0, 0.5],
      [MAX_CHUNKS, 1]
    ] as const) {
      expect(isDyadic(offset, span)).toBe(false)
    }
  })
})

describe('a version', () => {
  test('owns its root though it writes nothing', () => {
    expect(ownership(version({}), 4, 0, 8)).toBe('owned')
    expect(ownership(version({}), 4, 0, 4)).toBe('older')
  })

  test('owns what meets its ranges and nothing else', () => {
    const u = version({ ranges: [{ start: 3, end: 4 }], bytes: 16 })

    expect(ownership(u, 4, 3, 1)).toBe('owned')
    expect(ownership(u, 4, 2, 2)).toBe('owned')
    expect(ownership(u, 4, 2, 1)).toBe('older')
    expect(ownership(u, 4, 4, 4)).toBe('older')
  })

  test('owns the spine between the old root and its own when the tree has grown', () => {
    const u = version({ ranges: [{ start: 15, end: 16 }], bytes: 64, span: 16, previousSpan: 2 })

    const owned = [16, 8, 4, 2].map((span) => ownership(u, 4, 0, span))
    expect(owned).toEqual(['owned', 'owned', 'owned', 'older'])
    expect(ownership({ ...u, previousSpan: 0 }, 4, 0, 8)).toBe('older')
  })

  test('has holes past its end if it truncates, and only there', () => {
    const u = version({ ranges: [{ start: 0, end: 3 }], bytes: 9, truncates: true })

    expect(ownership(u, 4, 2, 1)).toBe('owned')
    expect(ownership(u, 4, 2, 2)).toBe('owned')
    expect(ownership(u, 4, 3, 1)).toBe('hole')
    expect(ownership(u, 4, 4, 4)).toBe('hole')
    expect(ownership(u, 4, 8, 8)).toBe('hole')
  })

  test('of no bytes that truncates is a root over holes', () => {
    const u = version({ truncates: true })

    expect(ownership(u, 4, 0, 8)).toBe('owned')
    expect([0, 4].map((offset) => ownership(u, 4, offset, 4))).toEqual(['hole', 'hole'])
  })

  test('has nothing where its tree does not reach', () => {
    const u = version({ ranges: [{ start: 0, end: 8 }], bytes: 32 })

    expect(ownership(u, 4, 8, 1)).toBe('older')
    expect(ownership(u, 4, 0, 16)).toBe('older')
  })
})
