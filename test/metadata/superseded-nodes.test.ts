import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  chunksOf,
  type Interval,
  joinRanges,
  ownership,
  spanFor
} from '../../src/metadata/geometry.ts'
import { SupersededNodes } from '../../src/metadata/superseded-nodes.ts'
import type { AssignedVersion } from '../../src/metadata/ticket-types.ts'
import type { ChunkRange } from '../../src/metadata/types.ts'

const CHUNK_BYTES = 4

interface Write {
  readonly pieces: readonly { readonly at: number; readonly length: number }[]
  readonly truncates: boolean
  readonly extendTo: number
}

const someWrite: fc.Arbitrary<Write> = fc.record({
  pieces: fc.array(fc.record({ at: fc.nat(40), length: fc.integer({ min: 1, max: 8 }) }), {
    maxLength: 3
  }),
  truncates: fc.boolean(),
  extendTo: fc.oneof(fc.constant(0), fc.nat(200))
})

const someHistory = fc
  .record({ hint: fc.nat(20), writes: fc.array(someWrite, { minLength: 1, maxLength: 10 }) })
  .map(({ hint, writes }) => historyOf(hint, writes))

/** Versions as the version manager assigns them: version v stands at v − 1. */
function historyOf(hint: number, writes: readonly Write[]): AssignedVersion[] {
  const history: AssignedVersion[] = []
  for (const { pieces, truncates, extendTo } of writes) {
    const before = history.at(-1)
    const ranges = joinRanges(pieces.map(({ at, length }) => ({ start: at, end: at + length })))
    const endBytes = Math.max(extendTo, (ranges.at(-1)?.end ?? 0) * CHUNK_BYTES)
    const bytes = truncates ? endBytes : Math.max(before?.bytes ?? 0, endBytes)
    const end = chunksOf(bytes, CHUNK_BYTES)
    const previousSpan = before?.span ?? 0
    history.push({
      version: history.length + 1,
      ranges: truncates ? wholeUpTo(end) : ranges,
      bytes,
      previousSpan,
      span: Math.max(previousSpan, spanFor(hint), spanFor(Math.max(1, end))),
      truncates
    })
  }
  return history
}

function wholeUpTo(end: number): ChunkRange[] {
  return end === 0 ? [] : [{ start: 0, end }]
}

function* intervalsOf(span: number): Generator<Interval> {
  for (let width = 1; width <= span; width *= 2) {
    for (let offset = 0; offset < span; offset += width) yield { offset, span: width }
  }
}

function ownedBy(version: AssignedVersion): Interval[] {
  return Array.from(intervalsOf(version.span)).filter(
    ({ offset, span }) => ownership(version, CHUNK_BYTES, offset, span) === 'owned'
  )
}

function nameOf(version: number, { offset, span }: Interval): string {
  return `${version}/${offset}/${span}`
}

/** Nodes that a reader of a tree comes by, leaves behind leaves left out. */
function walk(history: readonly AssignedVersion[], root: AssignedVersion): Set<string> {
  const reached = new Set<string>()
  const visit = ({ offset, span }: Interval): void => {
    const newest = history
      .slice(0, root.version)
      .toReversed()
      .find((version) => ownership(version, CHUNK_BYTES, offset, span) !== 'older')
    if (newest === undefined) return
    if (ownership(newest, CHUNK_BYTES, offset, span) === 'hole') return
    reached.add(nameOf(newest.version, { offset, span }))
    if (span === 1) return
    visit({ offset, span: span / 2 })
    visit({ offset: offset + span / 2, span: span / 2 })
  }
  visit({ offset: 0, span: root.span })
  return reached
}

function supersededBelow(history: readonly AssignedVersion[], from: number, to: number) {
  const superseded = new SupersededNodes(CHUNK_BYTES)
  for (const version of history.slice(from, to).toReversed()) superseded.add(version)
  return superseded
}

test('a node is superseded when a version above it, up to the tree, has one or a hole there', () => {
  fc.assert(
    fc.property(someHistory, (history) => {
      const wrong = history.flatMap((version, at) =>
        history.slice(at).flatMap((tree) => {
          const superseded = supersededBelow(history, at + 1, tree.version)
          const isHidden = ({ offset, span }: Interval): boolean =>
            history
              .slice(at + 1, tree.version)
              .some((above) => ownership(above, CHUNK_BYTES, offset, span) !== 'older')
          return ownedBy(version)
            .filter((place) => superseded.has(place) !== isHidden(place))
            .map((place) => nameOf(version.version, place))
        })
      )

      expect(wrong).toEqual([])
    })
  )
})

test('whatever trees stay, what is not superseded is exactly what their readers come by', () => {
  fc.assert(
    fc.property(
      someHistory,
      fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
      (history, stays) => {
        const trees = history.filter((_version, at) => stays[at] || at === history.length - 1)
        const reached = new Set(trees.flatMap((tree) => Array.from(walk(history, tree))))

        const kept = history.flatMap((version) => {
          const tree = trees.find((above) => above.version >= version.version)
          const superseded = supersededBelow(history, version.version, tree?.version ?? 0)
          return ownedBy(version)
            .filter((place) => !superseded.has(place))
            .map((place) => nameOf(version.version, place))
        })

        expect(new Set(kept)).toEqual(reached)
      }
    )
  )
})

test('nothing above means that nothing is superseded', () => {
  const superseded = new SupersededNodes(CHUNK_BYTES)

  expect(superseded.has({ offset: 0, span: 8 })).toBe(false)
  expect(superseded.has({ offset: 4, span: 1 })).toBe(false)
})
