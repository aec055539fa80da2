import { ImageCache, type ImageCacheOptions } from '../../src/agent/image-cache.ts'
import { ImageCatalogue, type ImageName } from '../../src/agent/image-catalogue.ts'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { buildManifest, type Manifest } from '../../src/chunks/manifest.ts'
import { loadManifest } from '../../src/chunks/manifest-load.ts'
import type { ChunkStore } from '../../src/chunks/store-types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleBytes } from './sample-bytes.ts'

/** Bytes of the chunks of small images. */
export const SMALL_CHUNK = 65_536

/** An image for the cache, whose chunks are made from seeds; 0 is a chunk of zeros. */
export interface SmallImage {
  readonly key: string
  readonly manifest: Manifest
  readonly name: ImageName
  readonly chunks: readonly Uint8Array[]
}

/** Makes an image out of chunks that are told apart by numbers. */
export async function smallImage(path: string, seeds: readonly number[]): Promise<SmallImage> {
  const chunks = seeds.map((seed) =>
    seed === 0 ? new Uint8Array(SMALL_CHUNK) : sampleBytes(SMALL_CHUNK, seed)
  )
  const ids = ChunkList.from(
    chunks.map((bytes, at) => (seeds[at] === 0 ? ZERO_CHUNK_ID : chunkId(bytes)))
  )
  const { root, pages } = buildManifest(ids, seeds.length * SMALL_CHUNK, SMALL_CHUNK)
  const byId = new Map(pages.map(({ id, bytes }) => [toHex(id), bytes]))
  const manifest = await loadManifest(root, async (wanted) =>
    wanted.map((id) => byId.get(toHex(id)) ?? new Uint8Array(0))
  )
  const record = {
    payload: new Uint8Array(3),
    signature: new Uint8Array(64),
    certificate: new Uint8Array(2)
  }
  return { key: toHex(root), manifest, name: { path, version: 1, record }, chunks }
}

/** Stores the chunks of an image, as a pull does. */
export async function storeImage(store: ChunkStore, image: SmallImage): Promise<void> {
  for (const [at, bytes] of image.chunks.entries()) {
    const id = image.manifest.chunkId(at)
    if (!store.has(id)) await store.put(id, bytes)
  }
}

/** Tells how many of an image's chunks are there. */
export function heldOf(store: ChunkStore, { manifest }: SmallImage): number {
  return Array.from(manifest.ids).filter((id) => store.has(id)).length
}

/** A cache over a store and a folder, with a swarm that only notes what it serves. */
export async function startCache(
  store: ChunkStore & { reclaim?(): Promise<boolean> },
  folder: string,
  options: ImageCacheOptions & {
    readonly limitBytes?: () => number
    readonly freeBytes?: () => Promise<number>
    readonly held?: ChunkStore
    readonly clock?: Clock
  } = {}
) {
  const { limitBytes, freeBytes, held = store, ...rest } = options
  const log = noLogger.forComponent('test')
  const catalogue = new ImageCatalogue(folder, log)
  const served = new Set<string>()
  const swarm = {
    hold: async ({ root }: Manifest) => void served.add(toHex(root)),
    release: async (root: Uint8Array) => void served.delete(toHex(root))
  }
  let timeMs = 0
  const { clock = { ...systemClock, now: () => ++timeMs }, ...cacheOptions } = rest
  const components = { store, held, catalogue, swarm, clock, log, limitBytes, freeBytes }
  const cache = new ImageCache(components, cacheOptions)
  await cache.start()
  return { cache, catalogue, served, swarm }
}
