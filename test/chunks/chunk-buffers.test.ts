import { expect, test } from '@jest/globals'
import { ChunkBuffers } from '../../src/chunks/chunk-buffers.ts'

test('gives the buffer that came back last', () => {
  const buffers = new ChunkBuffers(100)
  const [first, second] = [buffers.take(8), buffers.take(8)]
  buffers.give(first)
  buffers.give(second)

  const again = buffers.take(8)

  expect(again).toBe(second)
  expect(again).toHaveLength(8)
  expect(buffers.idleBytes).toBe(8)
})

test('lets buffers go that are more than it may keep', () => {
  const buffers = new ChunkBuffers(20)

  for (const buffer of [buffers.take(8), buffers.take(8), buffers.take(8)]) buffers.give(buffer)

  expect(buffers.idleBytes).toBe(16)
})

test('lets buffers of another length go for a new one', () => {
  const buffers = new ChunkBuffers(40)
  for (const buffer of [buffers.take(8), buffers.take(8), buffers.take(8)]) buffers.give(buffer)

  const longer = buffers.take(16)

  expect([longer.byteLength, buffers.idleBytes]).toEqual([16, 8])
})

test('refuses an impossible limit', () => {
  expect(() => new ChunkBuffers(-1)).toThrow(RangeError)
})
