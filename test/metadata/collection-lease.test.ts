import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import type { LocalProvider } from '../../src/chunks/local-provider.ts'
import type { CollectableProvider } from '../../src/chunks/provider-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { collectorOf } from '../support/collection/test-collector.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const LEASE_MS = 1000
const REAL = { isDryRun: false } as const

let bench: TestRepository
let leaseClock: ManualClock

beforeEach(async () => {
  leaseClock = new ManualClock()
  bench = await startTestRepository({ chunkBytes: CHUNK, leaseClock, leaseMs: LEASE_MS })
})
afterEach(async () => bench.stop())

/** What happens between the list of what may go and the order to delete it. */
type Between = (provider: LocalProvider, listed: readonly ChunkId[]) => Promise<void>

/** Collects with providers at which something happens before each deletion. */
async function collectWith(between: Between): Promise<void> {
  const providers = async () =>
    Array.from(bench.providers, ([id, local]) => {
      const store: CollectableProvider = {
        id,
        has: async (ids, options) => local.has(ids, options),
        put: async (chunk, bytes, options) => local.put(chunk, bytes, options),
        get: async (chunk, options) => local.get(chunk, options),
        beginCollection: async (options) => local.beginCollection(options),
        unleased: async (name, after, options) => local.unleased(name, after, options),
        collect: async (name, ids, options) => {
          await between(local, ids)
          return await local.collect(name, ids, options)
        }
      }
      return { id, store }
    })
  await collectorOf(bench, { providers }).collect(REAL)
}

/** Chunks of a file that is there no more, and that nobody has a lease on. */
async function removedChunks(): Promise<{ id: ChunkId; bytes: Uint8Array }[]> {
  const image = sampleBytes(CHUNK * 4, 1)
  const writer = await bench.repository.openWrite('/a', { mode: 'replace' })
  await writer.write(0, image)
  await writer.publish()
  await bench.repository.remove('/a')
  leaseClock.advance(3 * LEASE_MS)
  return [0, 1, 2, 3].map((at) => {
    const bytes = image.slice(at * CHUNK, (at + 1) * CHUNK)
    return { id: chunkId(bytes), bytes }
  })
}

function held(chunks: readonly { readonly id: ChunkId }[]): boolean[] {
  const [store] = bench.stores.values()
  return chunks.map(({ id }) => store?.has(id) === true)
}

test('a chunk that somebody is told of between the list and the deletion stays', async () => {
  const chunks = await removedChunks()
  const [wanted] = chunks
  const told: boolean[] = []

  await collectWith(async (provider) => {
    if (wanted !== undefined) told.push(...(await provider.has([wanted.id])))
  })

  expect(told).toContain(true)
  expect(held(chunks)).toEqual([true, false, false, false])
})

test('a chunk that is stored again between the list and the deletion stays', async () => {
  const chunks = await removedChunks()
  const again = chunks[2]

  await collectWith(async (provider) => {
    if (again !== undefined) await provider.put(again.id, again.bytes)
  })

  expect(held(chunks)).toEqual([false, false, true, false])
})

test('a chunk that is copied here between the list and the deletion stays', async () => {
  const chunks = await removedChunks()
  const [, copied] = chunks

  await collectWith(async (provider) => {
    if (copied !== undefined) await provider.copy([copied.id], [])
  })

  expect(held(chunks)).toEqual([false, true, false, false])
})

test('a chunk that somebody only counts between the list and the deletion goes', async () => {
  const chunks = await removedChunks()
  const ids = chunks.map(({ id }) => id)

  await collectWith(async (provider) => {
    await provider.holds(ids)
    await provider.check(ids)
  })

  expect(held(chunks)).toEqual([false, false, false, false])
})

test('what stayed goes with a later collection, once its lease has ended', async () => {
  const chunks = await removedChunks()
  const ids = chunks.map(({ id }) => id)
  await collectWith(async (provider) => void (await provider.has(ids)))
  const before = held(chunks)

  leaseClock.advance(3 * LEASE_MS)
  await collectWith(async () => {})

  expect([before, held(chunks)]).toEqual([
    [true, true, true, true],
    [false, false, false, false]
  ])
})
