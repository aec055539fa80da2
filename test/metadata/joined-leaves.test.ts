import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { joinLeafLists } from '../../src/metadata/joined-leaves.ts'
import { type LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'

const CHUNK_BYTES = 8

/** A list of pieces of one chunk each, whose first byte is `name` everywhere. */
function listOf(name: number, pieces: readonly { start: number; length: number }[]): LeafList {
  const builder = new LeafListBuilder()
  for (const { start, length } of pieces) {
    const index = Math.floor(start / CHUNK_BYTES)
    const at = start % CHUNK_BYTES
    const cut = Math.min(length, CHUNK_BYTES - at)
    const chunk = new Uint8Array(32).fill(name)
    builder.add(index, { at, length: cut, chunk, chunkOffset: 0, replicas: [`p${name}`] })
  }
  return builder.build()
}

/** Which list each byte is of; 0 for none. */
function picture(list: LeafList): number[] {
  const bytes = Array.from({ length: 64 }, () => 0)
  for (const { index, fragments } of list) {
    for (const { at, length, chunk } of fragments) {
      bytes.fill(chunk[0] ?? 0, index * CHUNK_BYTES + at, index * CHUNK_BYTES + at + length)
    }
  }
  return bytes
}

const pieces = fc.array(
  fc.record({ start: fc.nat(55), length: fc.integer({ min: 1, max: CHUNK_BYTES }) }),
  { maxLength: 6 }
)

describe('joined leaf lists', () => {
  test('show what any of them has, where they overlap the later one', () => {
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 1, maxLength: 3 }), (all) => {
        const lists = all.map((each, at) => listOf(at + 1, each))

        const joined = picture(joinLeafLists(lists))

        const drawn = lists.map(picture)
        const expected = Array.from({ length: 64 }, (_, byte) =>
          drawn.reduce((below, one) => one[byte] || below, 0)
        )
        expect(joined).toEqual(expected)
      }),
      { numRuns: 60 }
    )
  })

  test('have a leaf of two fragments where a border lies inside of a chunk', () => {
    const joined = joinLeafLists([
      listOf(1, [{ start: 8, length: 3 }]),
      listOf(2, [{ start: 11, length: 5 }])
    ])

    expect(joined.leafCount).toBe(1)
    expect(joined.fragmentCount).toBe(2)
    expect(joined.endBytes(CHUNK_BYTES)).toBe(16)
  })
})
