import { expect, test } from '@jest/globals'
import { ReadBuffers } from '../../src/chunks/read-buffers.ts'
import { KIB } from '../../src/lib/bytes.ts'

test('takes a buffer back by any view of it, and gives it again', () => {
  const buffers = new ReadBuffers(KIB * KIB)
  const buffer = buffers.take(64 * KIB)

  buffers.giveBack(buffer.subarray(10, 20))
  const again = buffers.take(64 * KIB)

  expect(again).toBe(buffer)
})

test('takes a buffer back only once', () => {
  const buffers = new ReadBuffers(KIB * KIB)
  const buffer = buffers.take(64 * KIB)

  buffers.giveBack(buffer)
  buffers.giveBack(buffer)

  expect(buffers.idleBytes).toBe(64 * KIB)
})

test('takes no array that came from elsewhere', () => {
  const buffers = new ReadBuffers(KIB * KIB)

  buffers.giveBack(new Uint8Array(64 * KIB))

  expect(buffers.idleBytes).toBe(0)
})

test('keeps no more than it may, and no short ones', () => {
  const buffers = new ReadBuffers(64 * KIB)
  const taken = [buffers.take(64 * KIB), buffers.take(64 * KIB), buffers.take(100)]

  for (const buffer of taken) buffers.giveBack(buffer)

  expect(buffers.idleBytes).toBe(64 * KIB)
})
