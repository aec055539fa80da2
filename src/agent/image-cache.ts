import pLimit from 'p-limit'
import { KeySet } from '../chunks/key-set.ts'
import type { Manifest } from '../chunks/manifest.ts'
import { bytesToFree, evictionOrder } from '../chunks/quota.ts'
import type { AbortOptions, ChunkStore } from '../chunks/types.ts'
import { abortable } from '../lib/abortable.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import { addChunks, countChunks, deleteChunks } from './cached-chunks.ts'
import { CacheFullError, CacheTooSmallError, ImageInUseError } from './errors.ts'
import {
  type CatalogueEntry,
  type ImageCatalogue,
  type ImageName,
  rootOf
} from './image-catalogue.ts'

export interface ImageCacheComponents {
  /** Where the chunks of pulled images are; nothing else puts chunks there. */
  readonly store: ChunkStore & { reclaim?(): Promise<boolean> }
  /** All chunks that this agent has, those that it keeps for others included. */
  readonly held: Pick<ChunkStore, 'has'>
  readonly catalogue: ImageCatalogue
  readonly swarm: Pick<SwarmService, 'hold' | 'release'>
  readonly clock: Clock
  readonly log: Logger
  readonly metrics?: Metrics | undefined
  /** Bytes of chunks that may be in the cache just now. @default Infinity */
  readonly limitBytes?: (() => number) | undefined
  /** Bytes that the disk still has room for. @default Infinity */
  readonly freeBytes?: (() => Promise<number>) | undefined
}

export interface ImageCacheOptions {
  /** Images that are announced and served to whoever asks, those used last. @default 32 */
  readonly maxServed?: number | undefined
  /** Images that are remembered. @default 1024 */
  readonly maxImages?: number | undefined
}

/** An image that is being used, and so stays. */
export interface ImageUse {
  /** Ends the use: the image counts as used just now, and may be evicted. Harmless when called twice. */
  release(): Promise<void>
}

export interface UseOptions extends AbortOptions {
  /** Told once if there is no room before others have ended. */
  readonly onWaiting?: (() => void) | undefined
}

/** An image of the cache as operators see it. */
export interface CachedImage {
  /** Manifest root, in hexadecimal. */
  readonly image: string
  readonly names: readonly { readonly path: string; readonly version: number }[]
  readonly bytes: number
  /** Bytes of its different chunks, without zeros, and of those that are here. */
  readonly dataBytes: number
  readonly heldBytes: number
  readonly isInUse: boolean
  /** ISO 8601. */
  readonly used: string
}

/** How full the cache is. */
export interface CacheFigures {
  readonly images: number
  readonly bytes: number
  /** Undefined for as much as the disk holds. */
  readonly limitBytes: number | undefined
  readonly evictedImages: number
  readonly evictedBytes: number
}

interface Claim {
  readonly manifest: Manifest
  users: number
}

/**
 * The images that this agent pulled and goes on serving. Decides what may come in, and evicts what was not used for
 * longest when there is no room: whole images, but no chunk that another image has too, and no image that is in use.
 */
export class ImageCache {
  readonly #components: ImageCacheComponents
  readonly #maxServed: number
  readonly #maxImages: number
  readonly #claims = new Map<string, Claim>()
  /** Images that the swarm serves, those used last at the end. */
  readonly #served = new Set<string>()
  /** Whoever wants room waits for whoever wanted it before. */
  readonly #queue = pLimit(1)
  /** One change of what is in the cache at a time. */
  readonly #changes = pLimit(1)
  readonly #evictions: Counter | undefined
  readonly #evictedBytesTotal: Counter | undefined
  #evictedImages = 0
  #evictedBytes = 0
  #released = Promise.withResolvers<void>()

  constructor(components: ImageCacheComponents, options: ImageCacheOptions = {}) {
    const { maxServed = 32, maxImages = 1024 } = options
    if (!(maxServed > 0 && maxImages >= maxServed)) {
      throw new RangeError(`${maxServed} of ${maxImages} images served`)
    }
    this.#components = components
    this.#maxServed = maxServed
    this.#maxImages = maxImages
    const { metrics } = components
    this.#evictions = metrics?.counter('blobswarm_agent_cache_evictions_total', {
      help: 'Images that were evicted from the cache'
    })
    this.#evictedBytesTotal = metrics?.counter('blobswarm_agent_cache_evicted_bytes_total', {
      help: 'Bytes of chunks that were evicted from the cache'
    })
    this.#showOn(metrics)
  }

  get figures(): CacheFigures {
    const { store, catalogue } = this.#components
    const limitBytes = this.#limitBytes
    return {
      images: catalogue.size,
      bytes: store.storedBytes,
      limitBytes: limitBytes === Infinity ? undefined : limitBytes,
      evictedImages: this.#evictedImages,
      evictedBytes: this.#evictedBytes
    }
  }

  /** Reads what is there, deletes chunks that belong to no image, and serves the images used last. */
  async start(): Promise<void> {
    const { catalogue, log } = this.#components
    await catalogue.start()
    await this.#changes(async () => {
      const kept = new KeySet()
      const manifests = new Map<string, Manifest>()
      for (const entry of this.#byUse()) {
        const manifest = await catalogue.manifest(rootOf(entry))
        if (manifest === undefined) await catalogue.remove(entry.key)
        else {
          await addChunks(kept, manifest)
          if (manifests.size < this.#maxServed) manifests.set(entry.key, manifest)
        }
      }
      await this.#removeOrphans(kept)
      await this.#makeRoom(0)
      for (const manifest of Array.from(manifests.values()).toReversed()) {
        if (catalogue.get(toHex(manifest.root)) !== undefined) await this.#serve(manifest)
      }
      if (catalogue.size > 0)
        log.info('%d images in the cache, %d bytes', catalogue.size, this.figures.bytes)
    })
  }

  /**
   * Makes room for an image, remembers it, and keeps it until the use is released. Waits while others that are in use
   * take the room.
   *
   * @throws {CacheTooSmallError} if the image is larger than the cache may be.
   * @throws {CacheFullError} if nothing more can be evicted and nobody will release anything.
   */
  async use(manifest: Manifest, name: ImageName, options: UseOptions = {}): Promise<ImageUse> {
    const { signal } = options
    const key = toHex(manifest.root)
    const admitted = this.#queue(async () => {
      for (let isFirst = true; ; isFirst = false) {
        signal?.throwIfAborted()
        const { promise: released } = this.#released
        if (await this.#changes(async () => await this.#admit(manifest, name))) return
        if (isFirst) options.onWaiting?.()
        await abortable(released, signal)
      }
    })
    try {
      await abortable(admitted, signal)
    } catch (error) {
      // It may be let in all the same, when nobody waits for it any more.
      admitted.then(
        async () => await this.#release(key),
        () => {}
      )
      throw error
    }
    let isReleased = false
    return {
      release: async () => {
        if (isReleased) return
        isReleased = true
        await this.#release(key)
      }
    }
  }

  /**
   * Evicts what was not used for longest until so many bytes are free.
   *
   * @returns whether anything was.
   */
  async trim(bytes: number): Promise<boolean> {
    return await this.#changes(async () => {
      const before = this.#components.store.storedBytes
      await this.#evictUntil(() => before - this.#components.store.storedBytes >= bytes)
      await this.#components.store.reclaim?.()
      return this.#components.store.storedBytes < before
    })
  }

  /**
   * Drops an image whatever its age: of a path the version, or all that are here.
   *
   * @returns the bytes that came free; undefined if there is no such image in the cache.
   * @throws {ImageInUseError}
   */
  async evict(path: string, version?: number): Promise<number | undefined> {
    return await this.#changes(async () => {
      const matches = ({ names }: CatalogueEntry): boolean =>
        names.some((name) => name.path === path && (version ?? name.version) === name.version)
      const entries = this.#components.catalogue.entries().filter(matches)
      if (entries.length === 0) return undefined
      if (entries.some(({ key }) => this.#claims.has(key))) throw new ImageInUseError(path)
      let bytes = 0
      for (const entry of entries) bytes += await this.#evict(entry)
      await this.#components.store.reclaim?.()
      return bytes
    })
  }

  /** Images of the cache, those used last first. */
  async list(): Promise<CachedImage[]> {
    const { catalogue, held } = this.#components
    const images: CachedImage[] = []
    for (const entry of this.#byUse()) {
      const manifest = await catalogue.manifest(rootOf(entry))
      if (manifest === undefined) continue
      const { dataBytes, missingBytes } = await countChunks(manifest, (id) => held.has(id))
      images.push({
        image: entry.key,
        names: entry.names.map(({ path, version }) => ({ path, version })),
        bytes: entry.bytes,
        dataBytes,
        heldBytes: dataBytes - missingBytes,
        isInUse: this.#claims.has(entry.key),
        used: new Date(entry.usedMs).toISOString()
      })
    }
    return images
  }

  get #limitBytes(): number {
    return Math.max(0, this.#components.limitBytes?.() ?? Infinity)
  }

  #byUse(): CatalogueEntry[] {
    const entries = this.#components.catalogue.entries()
    return entries.toSorted((left, right) => right.usedMs - left.usedMs)
  }

  /** @returns false if there is no room now, but will be when others have ended. */
  async #admit(manifest: Manifest, name: ImageName): Promise<boolean> {
    const { held, store, catalogue, clock } = this.#components
    const key = toHex(manifest.root)
    const claim = this.#claims.get(key)
    if (claim !== undefined) claim.users++
    else {
      const { dataBytes, missingBytes: neededBytes } = await countChunks(
        manifest,
        (id) => held.has(id) && !store.has(id)
      )
      const ref = `${name.path}@${name.version}`
      const limitBytes = this.#limitBytes
      if (neededBytes > limitBytes) throw new CacheTooSmallError(ref, neededBytes, limitBytes)
      this.#claims.set(key, { manifest, users: 1 })
      const isAlone = this.#claims.size === 1
      try {
        if (!(await this.#makeRoom(await this.#pendingBytes()))) {
          if (!isAlone) return this.#giveUp(key)
          throw new CacheFullError(ref, neededBytes)
        }
        const usedMs = clock.now()
        const { bytes, chunkBytes } = manifest
        if (catalogue.get(key) === undefined) {
          await catalogue.add(manifest, { bytes, chunkBytes, dataBytes, usedMs, names: [name] })
        }
      } catch (error) {
        this.#giveUp(key)
        throw error
      }
    }
    await catalogue.touch(key, clock.now(), name)
    await this.#serve(manifest)
    return true
  }

  #giveUp(key: string): false {
    this.#claims.delete(key)
    return false
  }

  /** Bytes that the images in use still lack. */
  async #pendingBytes(): Promise<number> {
    const { held } = this.#components
    let bytes = 0
    for (const { manifest } of this.#claims.values()) {
      bytes += (await countChunks(manifest, (id) => held.has(id))).missingBytes
    }
    return bytes
  }

  /** @returns whether so many bytes have room now. */
  async #makeRoom(neededBytes: number): Promise<boolean> {
    const { store, catalogue, freeBytes = async () => Infinity } = this.#components
    const fill = { usedBytes: store.storedBytes, neededBytes, limitBytes: this.#limitBytes }
    const target = fill.usedBytes - bytesToFree(fill)
    await this.#evictUntil(() => store.storedBytes <= target)
    await this.#evictUntil(() => catalogue.size < this.#maxImages)
    const hasDisk = async (): Promise<boolean> => (await freeBytes()) >= neededBytes
    if (!(await hasDisk())) {
      const before = store.storedBytes
      const lacking = neededBytes - (await freeBytes())
      await this.#evictUntil(() => before - store.storedBytes >= lacking)
      await store.reclaim?.()
    }
    return store.storedBytes + neededBytes <= this.#limitBytes && (await hasDisk())
  }

  /** Evicts one image after the other until it is enough or there is none left. */
  async #evictUntil(isEnough: () => boolean): Promise<void> {
    const { catalogue } = this.#components
    const candidates = evictionOrder(catalogue.entries(), ({ key }) => this.#claims.has(key))
    for (const entry of candidates) {
      if (isEnough()) return
      await this.#evict(entry)
    }
  }

  /** @returns the bytes that came free. */
  async #evict(entry: CatalogueEntry): Promise<number> {
    const { catalogue, swarm, store, log } = this.#components
    const manifest = await catalogue.manifest(rootOf(entry))
    // First of all, so that what a crash leaves belongs to nobody.
    await catalogue.remove(entry.key)
    this.#served.delete(entry.key)
    await swarm.release(rootOf(entry))
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

  /** Chunks of all images that are here or on their way. */
  async #keptChunks(): Promise<KeySet> {
    const { catalogue } = this.#components
    const kept = new KeySet()
    for (const { manifest } of this.#claims.values()) await addChunks(kept, manifest)
    for (const entry of catalogue.entries()) {
      if (this.#claims.has(entry.key)) continue
      const manifest = await catalogue.manifest(rootOf(entry))
      if (manifest !== undefined) await addChunks(kept, manifest)
    }
    return kept
  }

  async #removeOrphans(kept: KeySet): Promise<void> {
    const { store, log } = this.#components
    for (let first = 0; first < 256; first++) {
      const { count, bytes } = await deleteChunks(store, Array.from(store.ids(first)), kept)
      if (count > 0) log.debug('%d chunks of no image, %d bytes, are deleted', count, bytes)
    }
  }

  /** Has the swarm serve an image, and no more than so many. */
  async #serve(manifest: Manifest): Promise<void> {
    const { swarm, log } = this.#components
    const key = toHex(manifest.root)
    this.#served.delete(key)
    this.#served.add(key)
    for (const other of this.#served) {
      if (this.#served.size <= this.#maxServed) break
      if (this.#claims.has(other)) continue
      this.#served.delete(other)
      await swarm.release(rootOf({ key: other }))
    }
    try {
      await swarm.hold(manifest)
    } catch (error) {
      log.info('image %s is not served: %e', key.slice(0, 16), toError(error))
    }
  }

  async #release(key: string): Promise<void> {
    const claim = this.#claims.get(key)
    if (claim === undefined) return
    claim.users--
    if (claim.users === 0) this.#claims.delete(key)
    const { promise, resolve } = this.#released
    this.#released = Promise.withResolvers<void>()
    resolve()
    await promise
    const { catalogue, clock } = this.#components
    await this.#changes(async () => await catalogue.touch(key, clock.now()))
  }

  #showOn(metrics: Metrics | undefined): void {
    const { catalogue, store } = this.#components
    metrics?.gauge('blobswarm_agent_cache_images', {
      help: 'Images in the cache',
      read: () => catalogue.size
    })
    metrics?.gauge('blobswarm_agent_cache_bytes', {
      help: 'Bytes of chunks in the cache',
      read: () => store.storedBytes
    })
    metrics?.gauge('blobswarm_agent_cache_limit_bytes', {
      help: 'Bytes that may be in the cache; infinite for as much as the disk holds',
      read: () => this.#limitBytes
    })
  }
}
