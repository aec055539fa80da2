import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, chunkKey } from '../../src/chunks/chunk-id.ts'
import { ChunkIndex, type IndexEntry } from '../../src/chunks/chunk-index.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'

const PLACE = { segment: 1, offset: 16 }
const id = (seed: number): ChunkId => chunkId(Uint8Array.of(seed, seed >> 8))
/** Ids that all belong to the same place of the same table. */
const crowdedId = (seed: number): ChunkId => {
  const crowded = new Uint8Array(32)
  crowded[31] = seed
  crowded[30] = 1
  return crowded
}

test.each([
  ['spread ids', id],
  ['ids that crowd one place', crowdedId]
])('is a map from ids to entries, for %s', (_, idOf) => {
  const operation = fc.record({
    seed: fc.nat(60),
    verb: fc.constantFrom('set', 'set', 'delete'),
    entry: fc.record({
      bytes: fc.nat(2 ** 24),
      isVerified: fc.boolean(),
      segment: fc.nat(2 ** 32 - 1),
      offset: fc.nat(2 ** 32 - 1)
    })
  })
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), fc.nat(), (operations, secret) => {
      const index = new ChunkIndex(secret)
      const model = new Map<string, IndexEntry>()
      for (const { seed, verb, entry } of operations) {
        const key = chunkKey(idOf(seed))
        if (verb === 'delete') {
          expect(index.delete(idOf(seed))).toEqual(model.get(key))
          model.delete(key)
        } else {
          index.set(idOf(seed), entry)
          model.set(key, entry)
        }
      }

      for (let seed = 0; seed <= 60; seed++) {
        expect(index.get(idOf(seed))).toEqual(model.get(chunkKey(idOf(seed))))
        expect(index.has(idOf(seed))).toBe(model.has(chunkKey(idOf(seed))))
      }
      const entries = Array.from(model.values())
      expect(index.count).toBe(model.size)
      expect(index.bytes).toBe(entries.reduce((sum, { bytes }) => sum + bytes, 0))
      expect(Array.from(index.ids(), chunkKey).toSorted()).toEqual(
        Array.from(model.keys()).toSorted()
      )
    })
  )
})

test('grows to many chunks', () => {
  const index = new ChunkIndex()
  const ids = Array.from({ length: 20_000 }, (_, seed) => id(seed))

  for (const each of ids) index.set(each, { bytes: 100, isVerified: false, ...PLACE })

  expect([index.count, index.bytes]).toEqual([20_000, 2_000_000])
  expect(ids.every((each) => index.has(each))).toBe(true)
  expect(index.has(id(20_001))).toBe(false)
})

test('lists every chunk that stays while others come and go', () => {
  const index = new ChunkIndex()
  for (let seed = 0; seed < 500; seed++)
    index.set(id(seed), { bytes: 1, isVerified: true, ...PLACE })
  const listed = new Set<string>()

  let turn = 0
  for (const each of index.ids()) {
    listed.add(toHex(each))
    index.delete(id(400 + (turn % 100)))
    index.set(id(1000 + turn), { bytes: 1, isVerified: true, ...PLACE })
    turn++
  }

  for (let seed = 0; seed < 400; seed++) expect(listed.has(toHex(id(seed)))).toBe(true)
})
