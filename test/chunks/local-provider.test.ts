import { expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { TestProvider } from '../support/provider-pool.ts'

const open = async (): Promise<TestProvider> => {
  const provider = new TestProvider('self', 5000)
  await provider.store.start()
  return provider
}

test('stores what is put and says what it has', async () => {
  const provider = await open()
  const [first, second] = [sampleChunk(1), sampleChunk(2)]

  await provider.put(first.id, first.bytes)
  await provider.put(first.id, first.bytes)

  expect(await provider.has([second.id, first.id, ZERO_CHUNK_ID])).toEqual([false, true, true])
  expect(await provider.get(first.id)).toEqual(first.bytes)
  expect(await provider.get(second.id)).toBeUndefined()
})

test('refuses bytes that are not the chunk, and stores nothing', async () => {
  const provider = await open()
  const [first, second] = [sampleChunk(1), sampleChunk(2)]

  await expect(provider.put(first.id, second.bytes)).rejects.toMatchObject({
    code: 'ERR_CHUNK_MISMATCH'
  })

  expect(provider.store.chunkCount).toBe(0)
})

test('takes the word of who has verified the bytes', async () => {
  const store = new MemoryStore()
  await store.start()
  const provider = new LocalProvider('self', { store, freeBytes: async () => 0 })
  const [first, second] = [sampleChunk(1), sampleChunk(2)]

  await provider.put(first.id, second.bytes, { isVerified: true })

  expect(store.has(first.id)).toBe(true)
})

test('reports no room while its disk takes no writes, and what it has lost', async () => {
  const store = new (class extends MemoryStore {
    override get isWritable(): boolean {
      return false
    }
    override get lostCount(): number {
      return 3
    }
  })()
  await store.start()
  const provider = new LocalProvider('self', { store, freeBytes: async () => 4000 })

  const report = await provider.report('rack 7', { isDraining: true, version: '1.2.3' })

  expect(report).toMatchObject({ freeBytes: 0, lostCount: 3, isDraining: true, version: '1.2.3' })
})

test('reports how long puts take until they are durable', async () => {
  const store = new MemoryStore()
  await store.start()
  let nowMs = 0
  const clock = { monotonic: () => nowMs }
  const provider = new LocalProvider('self', { store, freeBytes: async () => 4000, clock })
  const put = store.put.bind(store)
  store.put = async (id, bytes) => {
    nowMs += 40
    return put(id, bytes)
  }
  const before = await provider.report('rack 7')

  for (const seed of [1, 2, 2]) await provider.put(sampleChunk(seed).id, sampleChunk(seed).bytes)

  expect([before.latencyMs, (await provider.report('rack 7')).latencyMs]).toEqual([0, 40])
})

test('reports its space and the calls in progress', async () => {
  const store = new MemoryStore()
  await store.start()
  const provider = new LocalProvider('self', { store, freeBytes: async () => 4000 })
  const { id, bytes } = sampleChunk(1)
  await provider.put(id, bytes)

  const [, , during] = await Promise.all([
    provider.get(id),
    provider.get(id),
    provider.report('rack 7')
  ])

  expect(during).toEqual({
    id: 'self',
    zone: 'rack 7',
    freeBytes: 4000,
    storedBytes: 1000,
    chunkCount: 1,
    load: 2,
    isDraining: false,
    version: '',
    latencyMs: expect.any(Number),
    lostCount: 0
  })
  expect((await provider.report('rack 7')).load).toBe(0)
})
