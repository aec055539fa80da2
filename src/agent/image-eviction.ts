import { KeySet } from '../chunks/key-set.ts'
import { bytesToFree, evictionOrder } from '../chunks/quota.ts'
import type { ChunkStore } from '../chunks/store-types.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { addChunks, deleteChunks } from './cached-chunks.ts'
import { type CatalogueEntry, type ImageCatalogue, rootOf } from './image-catalogue.ts'
import type { ImageClaims } from './image-claims.ts'
import type { ServedImages } from './served-images.ts'

/** A store that gives the space of deleted chunks back to the disk when it is told to. */
export type ReclaimableStore = ChunkStore & { reclaim?(): Promise<boolean> }

export interface ImageEvictionComponents {
  readonly store: ReclaimableStore
  readonly catalogue: ImageCatalogue
  readonly claims: ImageClaims
  readonly served: ServedImages
  readonly log: Logger
  readonly metrics?: Metrics | undefined
  /** Bytes of chunks that may be in the cache just now. */
  readonly limitBytes: () => number
  /** Bytes that the disk still has room for. */
  readonly freeBytes: () => Promise<number>
}

/**
 * Evicts images from the cache, those not used for longest first: whole images, but no chunk that another image has
 * too, and no image that is in use. What is in the cache must not be changed by others meanwhile.
 */
export class ImageEviction {
  readonly #components: ImageEvictionComponents
  readonly #maxImages: number
  readonly #evictions: Counter | undefined
  readonly #evictedBytesTotal: Counter | undefined
  #evictedImages = 0
  #evictedBytes = 0

  constructor(components: ImageEvictionComponents, maxImages: number) {
    this.#components = components
    this.#maxImages = maxImages
    const { metrics } = components
    this.#evictions = metrics?.counter('blobswarm_agent_cache_evictions_total', {
      help: 'Images that were evicted from the cache'
    })
    this.#evictedBytesTotal = metrics?.counter('blobswarm_agent_cache_evicted_bytes_total', {
      help: 'Bytes of chunks that were evicted from the cache'
    })
  }

  /** Since the start. */
  get figures(): { readonly evictedImages: number; readonly evictedBytes: number } {
    return { evictedImages: this.#evictedImages, evictedBytes: this.#evictedBytes }
  }

  /** @returns whether so many bytes, and one more image, have room now. */
  async makeRoom(neededBytes: number): Promise<boolean> {
    const { store, catalogue, limitBytes, freeBytes } = this.#components
    const fill = { usedBytes: store.storedBytes, neededBytes, limitBytes: limitBytes() }
    const target = fill.usedBytes - bytesToFree(fill)
    await this.#evictUntil(() => store.storedBytes <= target)
    await this.#evictUntil(() => catalogue.size < this.#maxImages)
    const hasDisk = async (): Promise<boolean> => (await freeBytes()) >= neededBytes
    if (!(await hasDisk())) await this.free(neededBytes - (await freeBytes()))
    return store.storedBytes + neededBytes <= limitBytes() && (await hasDisk())
  }

  /**
   * Evicts until so many bytes are free that were not.
   *
   * @returns whether anything was evicted.
   */
  async free(bytes: number): Promise<boolean> {
    const { store } = this.#components
    const before = store.storedBytes
    await this.#evictUntil(() => before - store.storedBytes >= bytes)
    await store.reclaim?.()
    return store.storedBytes < before
  }

  /** Evicts one image. @returns the bytes that came free. */
  async evict(entry: CatalogueEntry): Promise<number> {
    const { catalogue, served, store, log } = this.#components
    const manifest = await catalogue.manifest(rootOf(entry))
    // First of all, so that what a crash leaves belongs to nobody.
    await catalogue.remove(entry.key)
    await served.end(entry.key)
    if (manifest === undefined) return 0
    const { count, bytes } = await deleteChunks(store, manifest.ids, await this.#keptChunks())
    this.#evictedImages++
    this.#evictedBytes += bytes
    this.#evictions?.add(1)
    this.#evictedBytesTotal?.add(bytes)
    const [name] = entry.names
    const ref = name === undefined ? entry.key : `${name.path}@${name.version}`
    log.info('%s is evicted from the cache: %d chunks, %d bytes', ref, count, bytes)
    return bytes
  }

  /** Deletes all chunks but those that are to be kept. */
  async removeOrphans(kept: KeySet): Promise<void> {
    const { store, log } = this.#components
    for (let first = 0; first < 256; first++) {
      const { count, bytes } = await deleteChunks(store, Array.from(store.ids(first)), kept)
      if (count > 0) log.debug('%d chunks of no image, %d bytes, are deleted', count, bytes)
    }
  }

  /** Evicts one image after the other until it is enough or there is none left. */
  async #evictUntil(isEnough: () => boolean): Promise<void> {
    const { catalogue, claims } = this.#components
    for (const entry of evictionOrder(catalogue.entries(), ({ key }) => claims.has(key))) {
      if (isEnough()) return
      await this.evict(entry)
    }
  }

  /** Chunks of all images that are here or on their way. */
  async #keptChunks(): Promise<KeySet> {
    const { catalogue, claims } = this.#components
    const kept = new KeySet()
    for (const manifest of claims.manifests()) await addChunks(kept, manifest)
    for (const entry of catalogue.entries()) {
      if (claims.has(entry.key)) continue
      const manifest = await catalogue.manifest(rootOf(entry))
      if (manifest !== undefined) await addChunks(kept, manifest)
    }
    return kept
  }
}
