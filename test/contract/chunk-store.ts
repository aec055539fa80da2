import { afterEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'

export interface ContractStoreOptions {
  readonly quotaBytes?: number
}

/** Makes a store that has not been started; `close` is called after the test and stops it. */
export type MakeStore = (options: ContractStoreOptions) => Promise<{
  readonly store: ChunkStore
  readonly close: () => Promise<void>
}>

/** A chunk of `length` bytes that differs by `seed`. */
export function sampleChunk(seed: number, length = 1000): { id: ChunkId; bytes: Uint8Array } {
  const bytes = Uint8Array.from({ length }, (_, index) => (index * 7 + seed * 13 + 1) & 0xff)
  return { id: chunkId(bytes), bytes }
}

const failingQuestion = (): boolean => {
  throw new Error('no idea')
}

/** What every chunk store does. */
export function testChunkStore(name: string, makeStore: MakeStore): void {
  const cleanups: (() => Promise<void>)[] = []
  const open = async (options: ContractStoreOptions = {}): Promise<ChunkStore> => {
    const { store, close } = await makeStore(options)
    cleanups.push(close)
    await store.start()
    return store
  }

  afterEach(async () => {
    for (const cleanup of cleanups.splice(0)) await cleanup()
  })

  describe(`${name}: holding chunks`, () => {
    test('gives back what was put', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)

      expect(await store.put(id, bytes)).toBe(true)

      expect(store.has(id)).toBe(true)
      expect(await store.get(id)).toEqual(bytes)
      expect([store.chunkCount, store.storedBytes]).toEqual([1, 1000])
    })

    test('takes a view of a larger array', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      const larger = new Uint8Array(3000)
      larger.set(bytes, 500)

      await store.put(id, larger.subarray(500, 1500))

      expect(await store.get(id)).toEqual(bytes)
    })

    test('keeps its own copy, and so does whoever reads', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      const original = bytes.slice()
      await store.put(id, bytes)

      bytes.fill(0)
      const first = await store.get(id)
      first?.fill(9)

      expect(await store.get(id)).toEqual(original)
    })

    test('says so when it has a chunk already, at no cost', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)

      expect(await store.put(id, bytes)).toBe(false)

      expect([store.chunkCount, store.storedBytes]).toEqual([1, 1000])
    })

    test('writes a chunk once, however many put it at the same time', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)

      const results = await Promise.all(Array.from({ length: 5 }, () => store.put(id, bytes)))

      expect(results.filter(Boolean)).toHaveLength(1)
      expect(store.storedBytes).toBe(1000)
    })

    test('has no chunk that was not put', async () => {
      const store = await open()
      const { id } = sampleChunk(1)

      expect(store.has(id)).toBe(false)
      expect(await store.get(id)).toBeUndefined()
      expect(await store.delete(id)).toBe(false)
    })

    test('lists the ids of its chunks', async () => {
      const store = await open()
      const chunks = [1, 2, 3].map((seed) => sampleChunk(seed))

      for (const { id, bytes } of chunks) await store.put(id, bytes)

      const listed = Array.from(store.ids(), toHex).toSorted()
      expect(listed).toEqual(chunks.map(({ id }) => toHex(id)).toSorted())
    })

    test('lists the ids that begin with a byte', async () => {
      const store = await open()
      const chunks = [1, 2, 3].map((seed) => sampleChunk(seed))
      for (const { id, bytes } of chunks) await store.put(id, bytes)

      const listed = chunks.map(({ id }) => Array.from(store.ids(id[0]), toHex))

      expect(listed).toEqual(chunks.map(({ id }) => [toHex(id)]))
    })

    test('knows how long its chunks are', async () => {
      const store = await open()
      const [held, other] = [sampleChunk(1, 700), sampleChunk(2)]
      await store.put(held.id, held.bytes)

      const lengths = [held.id, other.id, ZERO_CHUNK_ID].map((id) => store.lengthOf(id))

      expect(lengths).toEqual([700, undefined, undefined])
    })

    test('has the zero chunk without keeping it', async () => {
      const store = await open()

      expect(store.has(ZERO_CHUNK_ID)).toBe(true)
      expect(await store.put(ZERO_CHUNK_ID, new Uint8Array(9))).toBe(false)
      expect(await store.delete(ZERO_CHUNK_ID)).toBe(false)
      await expect(store.get(ZERO_CHUNK_ID)).rejects.toThrow(RangeError)
      expect([store.chunkCount, Array.from(store.ids())]).toEqual([0, []])
    })
  })

  describe(`${name}: forgetting chunks`, () => {
    test('frees the space and can take the chunk again', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)

      expect(await store.delete(id)).toBe(true)

      expect([store.has(id), store.chunkCount, store.storedBytes]).toEqual([false, 0, 0])
      expect(await store.get(id)).toBeUndefined()
      expect(await store.put(id, bytes)).toBe(true)
      expect(await store.get(id)).toEqual(bytes)
    })

    test('keeps a chunk that is to be kept at the last moment', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)
      let isHeldWhenAsked: boolean | undefined

      const isKept = (): boolean => {
        isHeldWhenAsked = store.has(id)
        return true
      }
      const isDeleted = await store.delete(id, { isKept })

      expect([isHeldWhenAsked, isDeleted]).toEqual([true, false])
      expect(await store.get(id)).toEqual(bytes)
      expect(await store.delete(id, { isKept: () => false })).toBe(true)
      expect(store.has(id)).toBe(false)
    })

    test('keeps a chunk when the question whether to keep it fails', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)

      await expect(store.delete(id, { isKept: failingQuestion })).rejects.toThrow('no idea')

      expect(await store.get(id)).toEqual(bytes)
      expect(await store.delete(id)).toBe(true)
    })

    test('keeps order between puts and deletes of one chunk', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)

      const results = await Promise.all([
        store.put(id, bytes),
        store.delete(id),
        store.put(id, bytes)
      ])

      // Whichever came first: what the store says it has it can give.
      expect(await store.get(id)).toEqual(store.has(id) ? bytes : undefined)
      expect(results[0]).toBe(true)
    })
  })

  describe(`${name}: limits`, () => {
    test('refuses what its quota has no room for and leaves nothing of it', async () => {
      const store = await open({ quotaBytes: 2500 })
      const [first, second, third] = [sampleChunk(1), sampleChunk(2), sampleChunk(3)]
      await store.put(first.id, first.bytes)
      await store.put(second.id, second.bytes)

      await expect(store.put(third.id, third.bytes)).rejects.toMatchObject({
        code: 'ERR_STORE_FULL',
        neededBytes: 1000
      })

      expect([store.has(third.id), store.storedBytes]).toEqual([false, 2000])
      await store.delete(first.id)
      expect(await store.put(third.id, third.bytes)).toBe(true)
    })

    test('counts puts under way against the quota', async () => {
      const store = await open({ quotaBytes: 2500 })
      const chunks = [1, 2, 3, 4].map((seed) => sampleChunk(seed))

      const results = await Promise.allSettled(chunks.map(({ id, bytes }) => store.put(id, bytes)))

      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
      expect(store.storedBytes).toBe(2000)
    })

    test('refuses ids that are no ids', async () => {
      const store = await open()

      expect(() => store.has(new Uint8Array(31))).toThrow(RangeError)
      await expect(store.put(new Uint8Array(33), new Uint8Array(1))).rejects.toThrow(RangeError)
      await expect(store.get(new Uint8Array(0))).rejects.toThrow(RangeError)
    })
  })

  describe(`${name}: running`, () => {
    test('rejects with the reason when aborted beforehand', async () => {
      const store = await open()
      const { id, bytes } = sampleChunk(1)
      const signal = AbortSignal.abort(new Error('too late'))

      await expect(store.put(id, bytes, { signal })).rejects.toThrow('too late')
      await expect(store.get(id, { signal })).rejects.toThrow('too late')

      expect(store.has(id)).toBe(false)
    })

    test('refuses work before it is started and after it is stopped', async () => {
      const { store, close } = await makeStore({})
      cleanups.push(close)
      const { id, bytes } = sampleChunk(1)

      await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
      await store.start()
      await store.stop()

      await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
      await expect(store.get(id)).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
    })

    test('finishes or refuses what runs when it stops, and stops twice', async () => {
      const store = await open()
      const chunks = Array.from({ length: 40 }, (_, seed) => sampleChunk(seed))
      const puts = Promise.allSettled(chunks.map(({ id, bytes }) => store.put(id, bytes)))

      await Promise.all([store.stop(), store.stop()])

      const codes = (await puts).map((put) =>
        put.status === 'fulfilled' ? 'done' : (put.reason as { code: string }).code
      )
      expect(new Set([...codes, 'done', 'ERR_NOT_RUNNING']).size).toBe(2)
    })

    test('is a map from ids to bytes, whatever is done to it', async () => {
      const operation = fc.record({
        verb: fc.constantFrom('put', 'delete', 'get'),
        seed: fc.nat(4)
      })
      await fc.assert(
        fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
          const store = await open()
          const model = new Map<string, Uint8Array>()
          for (const { verb, seed } of operations) {
            const { id, bytes } = sampleChunk(seed, 10 + seed)
            const key = chunkKey(id)
            if (verb === 'get') expect(await store.get(id)).toEqual(model.get(key))
            else if (verb === 'delete') expect(await store.delete(id)).toBe(model.delete(key))
            else {
              expect(await store.put(id, bytes)).toBe(!model.has(key))
              model.set(key, bytes)
            }
          }
          const bytes = Array.from(model.values(), (each) => each.byteLength)
          expect(store.chunkCount).toBe(model.size)
          expect(store.storedBytes).toBe(bytes.reduce((sum, each) => sum + each, 0))
        }),
        { numRuns: 10 }
      )
    })
  })
}
