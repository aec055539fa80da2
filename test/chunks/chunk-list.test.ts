import { expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'

const id = (seed: number): Uint8Array => chunkId(Uint8Array.of(seed))

test('starts with zero ids and keeps what is set', () => {
  const list = new ChunkList(3)

  list.set(1, id(1))

  expect(Array.from(list)).toEqual([ZERO_CHUNK_ID, id(1), ZERO_CHUNK_ID])
  expect([list.isZero(0), list.isZero(1)]).toEqual([true, false])
  expect([list.holds(1, id(1)), list.holds(1, id(2))]).toEqual([true, false])
})

test('shares its memory with a part of it', () => {
  const list = ChunkList.from([id(1), id(2), id(3)])

  list.subarray(1, 3).set(0, id(9))

  expect(list.get(1)).toEqual(id(9))
  expect(list.subarray(1).count).toBe(2)
})

test('equals a list of the same ids in the same order only', () => {
  const list = ChunkList.from([id(1), id(2)])

  expect(list.equals(ChunkList.from([id(1), id(2)]))).toBe(true)
  expect(list.equals(ChunkList.from([id(2), id(1)]))).toBe(false)
  expect(list.equals(ChunkList.from([id(1)]))).toBe(false)
})

test('refuses places that it does not have, short ids and torn arrays', () => {
  const list = new ChunkList(2)

  expect(() => list.get(2)).toThrow(RangeError)
  expect(() => list.set(-1, id(1))).toThrow(RangeError)
  expect(() => list.set(0, new Uint8Array(31))).toThrow(RangeError)
  expect(() => new ChunkList(new Uint8Array(33))).toThrow(RangeError)
})
