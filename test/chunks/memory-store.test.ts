import { expect, test } from '@jest/globals'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { sampleChunk, testChunkStore } from '../contract/chunk-store.ts'

testChunkStore('memory store', async (options) => {
  const store = new MemoryStore(options)
  return { store, close: () => store.stop() }
})

test('a memory store keeps the space that it has promised', async () => {
  const store = new MemoryStore({ quotaBytes: 2500 })
  await store.start()
  const [first, second, third] = [sampleChunk(1), sampleChunk(2), sampleChunk(3)]
  const full = { code: 'ERR_STORE_FULL' }

  const reservation = await store.reserve(1000)
  await store.put(first.id, first.bytes)
  await expect(store.put(second.id, second.bytes)).rejects.toMatchObject(full)
  await expect(store.reserve(1000)).rejects.toMatchObject(full)
  await store.put(second.id, second.bytes, { reservation })
  reservation.release()

  expect(store.storedBytes).toBe(2000)
  await expect(store.put(third.id, third.bytes)).rejects.toMatchObject(full)
})

test('a memory store gives back what was promised and not used, once', async () => {
  const store = new MemoryStore({ quotaBytes: 1500 })
  await store.start()
  const reservation = await store.reserve(1000)

  reservation.release()
  reservation.release()
  await store.reserve(1500)

  await expect(store.reserve(1)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
})
