import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { chunkId, chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { chunkCountOf } from '../../src/chunks/chunk-size.ts'
import { Chunker } from '../../src/chunks/chunker.ts'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { buildManifest } from '../../src/chunks/manifest.ts'
import { loadManifest } from '../../src/chunks/manifest-load.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import { ReplicatedReader } from '../../src/chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../../src/chunks/replicated-writer.ts'
import { concatBytes, isAllZero, KIB, MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 64 * KIB
let folder: string
let stores: Map<string, DiskStore>
let providers: Map<string, LocalProvider>
let manager: LocalProviderManager

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-round-trip-'))
  manager = new LocalProviderManager({ clock: systemClock, random: seededRandom(1) })
  stores = new Map()
  providers = new Map()
  for (const id of ['a', 'b', 'c']) {
    const directory = join(folder, id)
    const store = new DiskStore({ logger: noLogger }, { directory, durability: 'memory' })
    await store.start()
    stores.set(id, store)
    const provider = new LocalProvider(id, { store, freeBytes: async () => 100 * MIB })
    providers.set(id, provider)
    await manager.report(await provider.report(`zone ${id}`))
  }
})

afterEach(async () => {
  for (const store of stores.values()) await store.stop()
  await rm(folder, { recursive: true, force: true })
})

const directory = { open: (id: string) => providers.get(id) }

/**
 * Cuts an image given in blocks of odd size from its end, stores its chunks twice, lists their ids.
 */
async function storeTwice(image: Uint8Array): Promise<ChunkList> {
  const writer = new ReplicatedWriter({ directory, providers: manager }, { replicas: 2 })
  const list = new ChunkList(chunkCountOf(image.byteLength, CHUNK))
  const put = async (index: number, bytes: Uint8Array): Promise<void> => {
    const id = isAllZero(bytes) ? ZERO_CHUNK_ID : chunkId(bytes)
    await writer.write(id, bytes)
    list.set(index, id)
  }
  const chunker = new Chunker(
    {
      onChunk: ({ index, bytes }) => put(index, bytes),
      onPartial: ({ index, fragments }) => put(index, concatBytes(fragments.map((f) => f.bytes)))
    },
    { chunkBytes: CHUNK, stagingFolder: folder }
  )
  for (let end = image.byteLength; end > 0; end -= 100_000) {
    const start = Math.max(0, end - 100_000)
    await chunker.write(start, image.slice(start, end))
  }
  await chunker.finish()
  return list
}

test('an image that was cut, stored twice and listed comes back from what is left', async () => {
  const image = sampleBytes(3 * MIB + 12_345)
  image.fill(0, MIB, 2 * MIB)
  image.copyWithin(2 * MIB, 0, 128 * KIB)

  const list = await storeTwice(image)
  const built = buildManifest(list, image.byteLength, CHUNK)
  const pages = new Map(built.pages.map(({ id, bytes }) => [chunkKey(id), bytes]))
  providers.delete('b') // one of three dies
  const manifest = await loadManifest(built.root, async (ids) =>
    ids.flatMap((id) => pages.get(chunkKey(id)) ?? [])
  )
  const random = seededRandom(2)
  const reader = new ReplicatedReader({ directory, providers: manager, random })
  const parts: Uint8Array[] = []
  for (let index = 0; index < manifest.chunkCount; index++) {
    const isZero = manifest.ids.isZero(index)
    const length = manifest.chunkLength(index)
    parts.push(isZero ? new Uint8Array(length) : await reader.read(manifest.chunkId(index), ['b']))
  }

  expect(Buffer.compare(concatBytes(parts), image)).toBe(0)
  // 49 chunks, 16 of zeros, 2 repeated; each of the rest on two providers.
  const held = Array.from(stores.values(), ({ chunkCount }) => chunkCount)
  expect(held.reduce((sum, count) => sum + count, 0)).toBe(2 * (49 - 16 - 2))
})
