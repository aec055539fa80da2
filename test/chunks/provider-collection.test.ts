import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { DiskStore, type DiskStoreOptions } from '../../src/chunks/disk-store.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import type { ReservingStore } from '../../src/chunks/store-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { GIB, toHex } from '../../src/lib/bytes.ts'
import type { FileLayer } from '../../src/lib/file-layer.ts'
import { MemoryLogger, noLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { PowerCutFiles } from '../support/power-cut-files.ts'
import { slowFiles } from '../support/slow-files.ts'

const LEASE_MS = 1000

let directory: string
let stores: ReservingStore[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-collection-'))
})

afterEach(async () => {
  for (const store of stores.splice(0)) await store.stop()
  await rm(directory, { recursive: true, force: true })
})

const logger = new MemoryLogger()

/** A provider whose leases of the start have ended, over chunks that nobody has a lease on. */
async function providerWith(
  chunks: readonly ReturnType<typeof sampleChunk>[],
  store: ReservingStore
) {
  stores.push(store)
  await store.start()
  for (const { id, bytes } of chunks) await store.put(id, bytes)
  const clock = new ManualClock()
  const metrics = new MemoryMetrics()
  const leases = new LeaseTable({ clock }, { leaseMs: LEASE_MS })
  const components = { store, leases, logger, metrics, freeBytes: async () => GIB }
  const provider = new LocalProvider('self', components)
  clock.advance(LEASE_MS)
  return { provider, clock, metrics, store }
}

const diskStore = (files: FileLayer, options: Partial<DiskStoreOptions> = {}): DiskStore =>
  new DiskStore({ logger: noLogger, files }, { directory, ...options })

const samples = (count: number): ReturnType<typeof sampleChunk>[] =>
  Array.from({ length: count }, (_, seed) => sampleChunk(seed, 100 + seed))

const sortedHex = (ids: readonly ChunkId[]): string[] => ids.map(toHex).toSorted()

/** All pages of a listing. */
async function listAll(provider: LocalProvider, collection: string): Promise<ChunkId[][]> {
  const pages: ChunkId[][] = []
  for (;;) {
    const page = await provider.unleased(collection, pages.at(-1)?.at(-1))
    if (page.length === 0) return pages
    pages.push(page)
  }
}

describe('listing', () => {
  test('goes through what has no lease, in order and in pages', async () => {
    const chunks = Array.from({ length: 2500 }, (_, seed) => {
      const bytes = Uint8Array.of(seed, seed >> 8, 1)
      return { id: chunkId(bytes), bytes }
    })
    const { provider } = await providerWith(chunks, new MemoryStore())
    const collection = await provider.beginCollection()

    const pages = await listAll(provider, collection)

    expect(pages.flat().map(toHex)).toEqual(sortedHex(chunks.map(({ id }) => id)))
    expect(pages.map(({ length }) => length)).toEqual([1024, 1024, 452])
  })

  test('leaves out what was stored or confirmed a short while ago, also since it began', async () => {
    const chunks = samples(6)
    const [a, b, c, d, e, f] = chunks as [Sample, Sample, Sample, Sample, Sample, Sample]
    const { provider, clock } = await providerWith(chunks, new MemoryStore())
    await provider.has([a.id])
    await provider.put(b.id, b.bytes)
    await provider.get(c.id)
    clock.advance(LEASE_MS - 1)

    const collection = await provider.beginCollection()
    await provider.has([d.id, ZERO_CHUNK_ID, sampleChunk(99).id])
    await provider.put(e.id, e.bytes)
    clock.advance(10 * LEASE_MS)

    const listed = await provider.unleased(collection, undefined)
    expect(sortedHex(listed)).toEqual(sortedHex([c.id, f.id]))
  })

  test('is of the last collection only', async () => {
    const { provider } = await providerWith(samples(1), new MemoryStore())
    const first = await provider.beginCollection()
    const second = await provider.beginCollection()

    for (const ended of [first, '', 'no collection', second.slice(1)]) {
      await expect(provider.unleased(ended, undefined)).rejects.toMatchObject({
        code: 'ERR_COLLECTION_ENDED'
      })
    }
    expect(await provider.unleased(second, undefined)).toHaveLength(1)
  })

  test('is empty in the first lease time after a start', async () => {
    const store = new MemoryStore()
    const { id, bytes } = sampleChunk(1)
    await store.start()
    await store.put(id, bytes)
    const clock = new ManualClock()
    const leases = new LeaseTable({ clock })
    const provider = new LocalProvider('self', { store, leases, freeBytes: async () => GIB })

    const collection = await provider.beginCollection()

    expect(await provider.unleased(collection, undefined)).toEqual([])
    expect(await provider.collect(collection, [id])).toEqual({ count: 0, bytes: 0 })
  })
})

describe('collecting', () => {
  test('deletes what has no lease and says how much that was', async () => {
    const chunks = samples(4)
    const [a, b, c, d] = chunks as [Sample, Sample, Sample, Sample]
    const { provider, store, metrics } = await providerWith(chunks, diskStore(new FaultyFiles()))
    const collection = await provider.beginCollection()
    await provider.has([b.id])

    const stranger = sampleChunk(99).id
    const ids = [a.id, b.id, c.id, c.id, stranger, ZERO_CHUNK_ID]
    const collected = await provider.collect(collection, ids)

    expect(collected).toEqual({ count: 2, bytes: 202 })
    expect(sortedHex([...store.ids()])).toEqual(sortedHex([b.id, d.id]))
    expect(metrics.values.get('blobswarm_chunks_collected_total')).toBe(2)
    expect(metrics.values.get('blobswarm_chunks_collected_bytes_total')).toBe(202)
    expect(logger.lines.at(-1)?.level).toBe('info')
  })

  test('frees the disk', async () => {
    const chunks = samples(3)
    const files = new FaultyFiles()
    const { provider, store } = await providerWith(chunks, diskStore(files, { format: 'files' }))
    const collection = await provider.beginCollection()

    await provider.collect(
      collection,
      chunks.map(({ id }) => id)
    )

    expect(files.changes.filter((line) => line.startsWith('unlink'))).toHaveLength(3)
    expect([store.chunkCount, store.storedBytes]).toEqual([0, 0])
  })

  test('refuses ended collections, too many ids and what is no id, and deletes nothing', async () => {
    const { provider, store } = await providerWith(samples(2), new MemoryStore())
    const ended = await provider.beginCollection()
    const open = await provider.beginCollection()
    const { id } = sampleChunk(0)

    const tooMany = Array.from({ length: 1025 }, () => id)
    await expect(provider.collect(ended, [id])).rejects.toMatchObject({
      code: 'ERR_COLLECTION_ENDED'
    })
    await expect(provider.collect(open, tooMany)).rejects.toThrow(RangeError)
    await expect(provider.collect(open, [id, id.subarray(1)])).rejects.toThrow(RangeError)
    await expect(provider.unleased(open, id.subarray(1))).rejects.toThrow(RangeError)

    expect(store.chunkCount).toBe(2)
  })

  test('goes no further when its collection ends meanwhile', async () => {
    const chunks = samples(3)
    const store = new MemoryStore()
    const { provider } = await providerWith(chunks, store)
    const collection = await provider.beginCollection()

    const deleteNow = store.delete.bind(store)
    store.delete = async (id, options) => {
      await provider.beginCollection()
      return await deleteNow(id, options)
    }
    const ids = chunks.map(({ id }) => id)

    await expect(provider.collect(collection, ids)).rejects.toMatchObject({
      code: 'ERR_COLLECTION_ENDED'
    })
    expect(store.chunkCount).toBe(3)
  })
})

/** Whether a file is where a store notes deletions. */
const isDeletion = (path: string): boolean => path.endsWith('.dead')

/** A provider that is amid the deletion of a chunk, until `goOn`. */
async function duringDelete() {
  const { id, bytes } = sampleChunk(1)
  const gate = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  const files = new FaultyFiles()
  const open = files.open.bind(files)
  files.open = async (path, flags) => {
    if (isDeletion(path)) {
      begun.resolve()
      await gate.promise
    }
    return await open(path, flags)
  }
  const made = await providerWith([{ id, bytes }], diskStore(files))
  const collection = await made.provider.beginCollection()
  const collecting = made.provider.collect(collection, [id])
  await begun.promise
  return { ...made, id, bytes, collecting, files, goOn: gate.resolve }
}

describe('while a chunk is being deleted', () => {
  test('nobody is told that it is there', async () => {
    const { provider, id, collecting, goOn } = await duringDelete()

    const during = await provider.has([id])
    goOn()
    await collecting

    expect([during, await provider.has([id])]).toEqual([[false], [false]])
  })

  test('a put is acknowledged only when it is stored again', async () => {
    const { provider, id, bytes, collecting, goOn } = await duringDelete()

    const put = provider.put(id, bytes)
    const first = await Promise.race([put.then(() => 'put'), nextTurn().then(() => 'turn')])
    goOn()
    await Promise.all([put, collecting])

    expect(first).toBe('turn')
    expect(await provider.get(id)).toEqual(bytes)
  })

  test('it is there again if the disk refuses', async () => {
    const { provider, id, bytes, collecting, files, goOn } = await duringDelete()
    files.fail({ operation: 'open', path: '.dead', code: 'EIO' })

    goOn()

    await expect(collecting).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
    expect(await provider.get(id)).toEqual(bytes)
  })
})

test('what waits for its deletion is saved by a lease', async () => {
  const chunks = samples(2)
  const [first, second] = chunks as [Sample, Sample]
  const gate = Promise.withResolvers<void>()
  const files = new FaultyFiles()
  const { provider, store } = await providerWith(chunks, diskStore(files, { maxWrites: 1 }))
  const open = files.open.bind(files)
  files.open = async (path, flags) => {
    if (isDeletion(path)) await gate.promise
    return await open(path, flags)
  }
  const collection = await provider.beginCollection()

  const collecting = provider.collect(collection, [first.id, second.id])
  await nextTurn()
  const [isHeld] = await provider.has([second.id])
  gate.resolve()

  expect(isHeld).toBe(true)
  expect(await collecting).toEqual({ count: 1, bytes: first.bytes.byteLength })
  expect(store.has(second.id)).toBe(true)
})

test('what was acknowledged or confirmed is never deleted, in whatever order things happen', async () => {
  const chunks = samples(5)
  const step = fc.record({
    what: fc.constantFrom('put', 'has', 'holds', 'collect', 'trim', 'collect', 'trim'),
    which: fc.subarray([0, 1, 2, 3, 4], { minLength: 1 }),
    isWaitedFor: fc.boolean()
  })
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(step, { maxLength: 12 }), async (seed, steps) => {
      const random = seededRandom(seed)
      const files = new PowerCutFiles(random, dirname(directory))
      const store = diskStore(slowFiles(random, { files }), { maxWrites: 3 })
      const { provider } = await providerWith(chunks, store)
      const collection = await provider.beginCollection()
      const promised = new Set<number>()
      const put = async (at: number): Promise<void> => {
        const { id, bytes } = chunks[at] as Sample
        await provider.put(id, bytes)
        promised.add(at)
      }
      const ask = async (which: readonly number[]): Promise<void> => {
        const held = await provider.has(which.map((at) => (chunks[at] as Sample).id))
        for (const [at, chunk] of which.entries()) if (held[at] === true) promised.add(chunk)
      }

      const running: Promise<unknown>[] = []
      for (const { what, which, isWaitedFor } of steps) {
        const ids = which.map((at) => (chunks[at] as Sample).id)
        if (what === 'put') running.push(...which.map(put))
        else if (what === 'has') running.push(ask(which))
        else if (what === 'holds') running.push(provider.holds(ids))
        else if (what === 'trim') running.push(provider.trim(ids))
        else running.push(provider.collect(collection, ids))
        await (isWaitedFor ? running.at(-1) : nextTurn())
        for (const at of promised) expect(store.has((chunks[at] as Sample).id)).toBe(true)
      }
      await Promise.all(running)

      for (const at of promised) {
        const { id, bytes } = chunks[at] as Sample
        expect(await provider.get(id)).toEqual(bytes)
      }
      await store.stop()
    }),
    { numRuns: 40 }
  )
})

test('a power cut during collection leaves every chunk as it was, or takes it away whole', async () => {
  const chunks = samples(8)
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.nat(12), fc.boolean(), async (seed, after, isPowerCut) => {
      const files = new PowerCutFiles(seededRandom(seed), dirname(directory))
      const { provider, store } = await providerWith(chunks, diskStore(files))
      const collection = await provider.beginCollection()
      const [kept, ...rest] = chunks as [Sample, ...Sample[]]
      await provider.put(kept.id, kept.bytes)

      files.cutAfter(after)
      const ids = [kept, ...rest].map(({ id }) => id)
      await provider.collect(collection, ids).catch(() => {})
      await store.stop()
      if (isPowerCut) files.restore()
      else files.resume()

      const restarted = diskStore(files)
      await restarted.start()
      expect(await restarted.get(kept.id)).toEqual(kept.bytes)
      for (const { id, bytes } of rest) {
        expect([bytes, undefined]).toContainEqual(await restarted.get(id))
        await restarted.put(id, bytes)
        expect(await restarted.get(id)).toEqual(bytes)
      }
      await restarted.stop()
    }),
    { numRuns: 25 }
  )
})

type Sample = ReturnType<typeof sampleChunk>
