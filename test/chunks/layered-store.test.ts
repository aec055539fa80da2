import { beforeEach, describe, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { LayeredStore } from '../../src/chunks/layered-store.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const bytes = sampleBytes(1000, 1)
const id = chunkId(bytes)

let kept: MemoryStore
let cache: MemoryStore
let store: LayeredStore
beforeEach(async () => {
  kept = new MemoryStore()
  cache = new MemoryStore()
  await kept.start()
  await cache.start()
  store = new LayeredStore(kept, cache)
})

describe('a chunk that is kept for others', () => {
  beforeEach(async () => void (await kept.put(id, bytes)))

  test('is held and read', async () => {
    expect(store.has(id)).toBe(true)
    expect(store.lengthOf(id)).toBe(1000)
    expect(await store.get(id)).toEqual(bytes)
    expect(await store.check(id)).toBe('intact')
  })

  test('is not put into the cache too', async () => {
    expect(await store.put(id, bytes)).toBe(false)
    expect(cache.chunkCount).toBe(0)
  })

  test('is not deleted', async () => {
    expect(await store.delete(id)).toBe(false)
    expect(kept.has(id)).toBe(true)
  })

  test('is listed once though the cache has it too', async () => {
    await cache.put(id, bytes)

    expect(Array.from(store.ids())).toHaveLength(1)
    expect(store.storedBytes).toBe(2000)
  })
})

describe('a chunk that is put', () => {
  beforeEach(async () => void (await store.put(id, bytes)))

  test('is in the cache alone', async () => {
    expect(kept.chunkCount).toBe(0)
    expect(store.has(id)).toBe(true)
    expect(await store.get(id)).toEqual(bytes)
  })

  test('is deleted from there', async () => {
    expect(await store.delete(id)).toBe(true)
    expect(store.has(id)).toBe(false)
    expect(await store.check(id)).toBeUndefined()
  })
})

test('a chunk that is wrong in one of both is found wrong', async () => {
  await kept.put(id, bytes)
  await cache.put(id, bytes.toReversed())

  expect(await store.check(id)).toBe('corrupt')
})
