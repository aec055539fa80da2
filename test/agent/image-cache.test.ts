import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { LayeredStore } from '../../src/chunks/layered-store.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { PutOptions } from '../../src/chunks/store-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import {
  SMALL_CHUNK as CHUNK,
  heldOf,
  type SmallImage,
  smallImage,
  startCache,
  storeImage
} from '../support/cached-images.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const newFolder = temporaryFolders()
const limitOf = (chunks: number) => ({ limitBytes: () => chunks * CHUNK })

let store: MemoryStore
let folder: string
let first: SmallImage
let second: SmallImage
let third: SmallImage
beforeEach(async () => {
  store = new MemoryStore()
  await store.start()
  folder = join(await newFolder(), 'images')
  // The first two have two chunks in common.
  first = await smallImage('/first', [1, 2, 3, 0])
  second = await smallImage('/second', [2, 3, 4, 5])
  third = await smallImage('/third', [6, 7, 8, 9])
})

type Started = Awaited<ReturnType<typeof startCache>>

/** Brings an image into the cache. */
async function bring({ cache }: Started, image: SmallImage): Promise<void> {
  const use = await cache.use(image.manifest, image.name)
  await storeImage(store, image)
  await use.release()
}

const names = async ({ cache }: Started): Promise<string[]> =>
  (await cache.list()).flatMap((image) => image.names.map(({ path }) => path))

describe('an image that was brought in', () => {
  test('is served and listed', async () => {
    const started = await startCache(store, folder)

    await bring(started, first)

    expect(started.served).toEqual(new Set([first.key]))
    expect(await started.cache.list()).toMatchObject([
      {
        image: first.key,
        names: [{ path: '/first', version: 1 }],
        bytes: 4 * CHUNK,
        dataBytes: 3 * CHUNK,
        heldBytes: 3 * CHUNK,
        isInUse: false
      }
    ])
  })

  test('is served again after a start', async () => {
    await bring(await startCache(store, folder), first)

    const { served, catalogue } = await startCache(store, folder)

    expect(served).toEqual(new Set([first.key]))
    expect(catalogue.find('/first')).toEqual(first.name)
    expect(heldOf(store, first)).toBe(4)
  })

  test('is served again also if only a part of it has come', async () => {
    const started = await startCache(store, folder)
    await started.cache.use(first.manifest, first.name)
    await store.put(first.manifest.chunkId(0), first.chunks[0] ?? new Uint8Array(0))

    const again = await startCache(store, folder)

    expect(again.served).toEqual(new Set([first.key]))
    expect(await again.cache.list()).toMatchObject([{ heldBytes: CHUNK, isInUse: false }])
  })

  test('is known by all versions and clones that have its content', async () => {
    const started = await startCache(store, folder)
    await bring(started, first)

    await bring(started, { ...first, name: { ...first.name, path: '/clone', version: 0 } })

    expect(await names(started)).toEqual(['/clone', '/first'])
    expect(started.catalogue.size).toBe(1)
  })

  test('is one of those that the swarm serves, the others only when asked for', async () => {
    const started = await startCache(store, folder, { maxServed: 2 })
    for (const image of [first, second, third]) await bring(started, image)

    expect(started.served).toEqual(new Set([second.key, third.key]))
    expect(started.catalogue.size).toBe(3)
  })
})

describe('a cache without room', () => {
  test('evicts what was not used for longest, but no chunk that another image has', async () => {
    const started = await startCache(store, folder, limitOf(8.95))
    await bring(started, first)
    await bring(started, second)

    await bring(started, third)

    expect(await names(started)).toEqual(['/third', '/second'])
    expect(started.served).toEqual(new Set([second.key, third.key]))
    expect([heldOf(store, first), heldOf(store, second), heldOf(store, third)]).toEqual([3, 4, 4])
    expect(started.cache.figures).toMatchObject({ evictedImages: 1, evictedBytes: CHUNK })
  })

  test('keeps what was used again', async () => {
    const started = await startCache(store, folder, limitOf(8.95))
    await bring(started, first)
    await bring(started, second)
    await bring(started, first)

    await bring(started, third)

    expect(await names(started)).toEqual(['/third', '/first'])
  })

  test('lets whoever comes wait for those who use it', async () => {
    const started = await startCache(store, folder, limitOf(6))
    const use = await started.cache.use(second.manifest, second.name)
    await storeImage(store, second)
    const order: string[] = []

    const waiting = started.cache.use(third.manifest, third.name, {
      onWaiting: () => order.push('waits')
    })
    const admitted = waiting.then(() => order.push('is let in'))
    await started.cache.list() // the queue has had its turn
    await started.cache.trim(1)
    expect(order).toEqual(['waits'])
    await use.release()
    await admitted

    expect(await names(started)).toEqual(['/third'])
  })

  test('forgets whoever has given up waiting', async () => {
    const started = await startCache(store, folder, limitOf(6))
    const use = await started.cache.use(second.manifest, second.name)
    await storeImage(store, second)
    const abort = new AbortController()
    const waiting = started.cache.use(third.manifest, third.name, {
      signal: abort.signal,
      onWaiting: () => abort.abort(new Error('enough'))
    })

    await expect(waiting).rejects.toThrow('enough')

    await use.release()
    expect(await names(started)).toEqual(['/second'])
    expect((await started.cache.list())[0]?.isInUse).toBe(false)
  })

  test('lets nobody wait for ever, and says who has the room', async () => {
    const clock = new ManualClock()
    const started = await startCache(store, folder, { ...limitOf(6), clock, waitMs: 60_000 })
    const use = await started.cache.use(second.manifest, second.name)
    await storeImage(store, second)
    const waits = Promise.withResolvers<void>()
    const waiting = started.cache.use(third.manifest, third.name, { onWaiting: waits.resolve })
    const behind = started.cache.use(first.manifest, first.name)
    await waits.promise

    clock.advance(60_000)

    const why = `had no room in ${6 * CHUNK} bytes of cache for 60 s: in use are /second@1`
    await expect(waiting).rejects.toThrow(why)
    await expect(behind).rejects.toMatchObject({ code: 'ERR_CACHE_BUSY' })
    await use.release()
    expect((await started.cache.list()).filter(({ isInUse }) => isInUse)).toEqual([])
  })

  test('refuses an image that is larger than it may be, and keeps what it has', async () => {
    const started = await startCache(store, folder, limitOf(3))
    await bring(started, first)

    const use = started.cache.use(second.manifest, second.name)

    await expect(use).rejects.toMatchObject({
      code: 'ERR_CACHE_TOO_SMALL',
      neededBytes: 4 * CHUNK,
      limitBytes: 3 * CHUNK
    })
    expect(await names(started)).toEqual(['/first'])
  })

  test('counts no chunk that this agent keeps for others', async () => {
    const kept = new MemoryStore()
    await kept.start()
    await storeImage(kept, second)
    const held = new LayeredStore(kept, store)
    const started = await startCache(store, folder, { ...limitOf(1), held })

    const use = await started.cache.use(second.manifest, second.name)

    await use.release()
    expect(await names(started)).toEqual(['/second'])
  })

  test('evicts also when the disk has none', async () => {
    let free = 10 * CHUNK
    const started = await startCache(store, folder, { freeBytes: async () => free })
    await bring(started, first)
    free = CHUNK
    const removed = store.delete.bind(store)
    store.delete = async (id) => {
      free += CHUNK
      return await removed(id)
    }

    await bring(started, third)

    expect(await names(started)).toEqual(['/third'])
  })

  test('says so when the disk has none and nothing is left to evict', async () => {
    const started = await startCache(store, folder, { freeBytes: async () => CHUNK })

    const use = started.cache.use(third.manifest, third.name)

    await expect(use).rejects.toMatchObject({ code: 'ERR_CACHE_FULL' })
  })

  test('gives room to others when asked, whole images at a time', async () => {
    const started = await startCache(store, folder)
    await bring(started, second)
    await bring(started, third)

    expect(await started.cache.trim(1)).toBe(true)

    expect(await names(started)).toEqual(['/third'])
    expect(store.storedBytes).toBe(4 * CHUNK)
  })

  test('is emptied to its limit at the start, if that is lower now', async () => {
    const before = await startCache(store, folder)
    for (const image of [second, third]) await bring(before, image)

    const after = await startCache(store, folder, limitOf(5))

    expect(await names(after)).toEqual(['/third'])
    expect(after.served).toEqual(new Set([third.key]))
    expect(store.storedBytes).toBe(4 * CHUNK)
  })

  test('remembers no more images than it may', async () => {
    const started = await startCache(store, folder, { maxServed: 1, maxImages: 2 })
    for (const image of [first, second, third]) await bring(started, image)

    expect(await names(started)).toEqual(['/third', '/second'])
  })
})

describe('an image that is dropped by hand', () => {
  test('is gone with what is its own', async () => {
    const started = await startCache(store, folder)
    await bring(started, first)
    await bring(started, second)

    expect(await started.cache.evict('/first')).toBe(CHUNK)

    expect(await names(started)).toEqual(['/second'])
    expect(heldOf(store, second)).toBe(4)
  })

  test.each([
    ['in another version', '/first', 2],
    ['that was never here', '/other', undefined]
  ])('%s is none', async (_name, path, version) => {
    const started = await startCache(store, folder)
    await bring(started, first)

    expect(await started.cache.evict(path, version)).toBeUndefined()
  })

  test('stays while it is used', async () => {
    const started = await startCache(store, folder)
    await started.cache.use(first.manifest, first.name)

    await expect(started.cache.evict('/first')).rejects.toMatchObject({ code: 'ERR_IMAGE_IN_USE' })
  })
})

describe('after a crash', () => {
  test('in the middle of an eviction the rest of its chunks is deleted', async () => {
    const started = await startCache(store, folder)
    await bring(started, second)
    await bring(started, third)
    let deletes = 0
    const remove = store.delete.bind(store)
    store.delete = async (id) => {
      if (++deletes > 2) throw new Error('killed')
      return await remove(id)
    }
    await expect(started.cache.trim(1)).rejects.toThrow('killed')
    store.delete = remove

    const again = await startCache(store, folder)

    expect(await names(again)).toEqual(['/third'])
    expect(store.storedBytes).toBe(4 * CHUNK)
    expect(heldOf(store, third)).toBe(4)
  })

  test.each([
    ['its ids are damaged', async (key: string) => writeFile(join(folder, `${key}.ids`), 'xx')],
    ['its ids are gone', async (key: string) => rm(join(folder, `${key}.ids`))],
    ['its entry is cut off', async (key: string) => writeFile(join(folder, `${key}.json`), '{"for')]
  ])('an image is forgotten with its chunks if %s', async (_name, damage) => {
    const started = await startCache(store, folder)
    await bring(started, second)
    await bring(started, third)
    await damage(second.key)

    const again = await startCache(store, folder)

    expect(await names(again)).toEqual(['/third'])
    expect(store.storedBytes).toBe(4 * CHUNK)
    expect((await readdir(folder)).toSorted()).toEqual([`${third.key}.ids`, `${third.key}.json`])
  })
})

test('never holds more than its limit, and loses nothing that is in use, whatever comes', async () => {
  const images = await Promise.all(
    [[1, 2, 3], [3, 4], [5, 6, 7, 8], [8, 9, 1], [10], [11, 12, 13, 14, 15]].map(
      async (seeds, at) => smallImage(`/image-${at}`, seeds)
    )
  )
  const step = fc.record({
    image: fc.integer({ min: 0, max: images.length - 1 }),
    isRestarted: fc.boolean()
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 12 }), async (steps) => {
      const limit = 6 * CHUNK
      const chunks = new MemoryStore()
      await chunks.start()
      let most = 0
      const put = chunks.put.bind(chunks)
      chunks.put = async (id: ChunkId, bytes: Uint8Array, options?: PutOptions) => {
        const isNew = await put(id, bytes, options)
        most = Math.max(most, chunks.storedBytes)
        return isNew
      }
      const images2 = await newFolder()
      let started = await startCache(chunks, images2, { limitBytes: () => limit })
      const work = async (at: number): Promise<void> => {
        const image = images[at] as SmallImage
        const use = await started.cache.use(image.manifest, image.name)
        await storeImage(chunks, image)
        await Promise.resolve()
        expect(heldOf(chunks, image)).toBe(image.manifest.chunkCount)
        await use.release()
      }
      for (let from = 0; from < steps.length; from += 4) {
        const some = steps.slice(from, from + 4)
        await Promise.all(some.map(async ({ image }) => work(image)))
        if (some.every(({ isRestarted }) => !isRestarted)) continue
        started = await startCache(chunks, images2, { limitBytes: () => limit })
      }

      expect(most).toBeLessThanOrEqual(limit)
      const dataBytes = (await started.cache.list()).map((image) => image.heldBytes)
      expect(dataBytes.every((bytes) => bytes > 0)).toBe(true)
    }),
    { numRuns: 25 }
  )
})
