import { expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { RecentChunks } from '../../../src/peer/swarm/recent-chunks.ts'

const chunk = (fill: number): Uint8Array => new Uint8Array(1000).fill(fill)

test('lends a chunk that came, and frees its array when newer ones have taken its place', () => {
  const recent = new RecentChunks({ maxBytes: 2000 })
  const freed: number[] = []
  const [first, second, third] = [chunk(1), chunk(2), chunk(3)]
  for (const bytes of [first, second]) {
    recent.add(chunkId(bytes), bytes, (array) => freed.push(array[0] ?? 0))
  }

  const borrowed = recent.borrow(chunkId(first))
  recent.add(chunkId(third), third, (array) => freed.push(array[0] ?? 0))

  expect(borrowed?.bytes).toBe(first)
  expect(recent.borrow(chunkId(first))).toBeUndefined()
  expect(recent.bytes).toBe(2000)
})

test('frees an array only when its last borrower has released it', () => {
  const recent = new RecentChunks({ maxBytes: 1000 })
  const freed: Uint8Array[] = []
  const [first, second] = [chunk(1), chunk(2)]
  recent.add(chunkId(first), first, (array) => freed.push(array))
  const [one, other] = [recent.borrow(chunkId(first)), recent.borrow(chunkId(first))]

  recent.add(chunkId(second), second, (array) => freed.push(array))
  one?.release()
  const before = freed.length
  other?.release()

  expect(before).toBe(0)
  expect(freed).toEqual([first])
})

test('does not remember a chunk twice, nor one that has no room', () => {
  const recent = new RecentChunks({ maxBytes: 1000 })
  const freed: Uint8Array[] = []
  const [bytes, copy, large] = [chunk(1), chunk(1), new Uint8Array(1001)]

  recent.add(chunkId(bytes), bytes, (array) => freed.push(array))
  recent.add(chunkId(copy), copy, (array) => freed.push(array))
  recent.add(chunkId(large), large, (array) => freed.push(array))

  expect(freed).toEqual([copy, large])
  expect(recent.borrow(chunkId(bytes))?.bytes).toBe(bytes)
})

test('frees everything when it is told to forget', () => {
  const recent = new RecentChunks()
  const freed: Uint8Array[] = []
  const bytes = chunk(7)
  recent.add(chunkId(bytes), bytes, (array) => freed.push(array))

  recent.clear()

  expect(freed).toEqual([bytes])
  expect(recent.bytes).toBe(0)
})
