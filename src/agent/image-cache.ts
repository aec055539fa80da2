import pLimit from 'p-limit'
import { KeySet } from '../chunks/key-set.ts'
import type { Manifest } from '../chunks/manifest.ts'
import type { ChunkStore } from '../chunks/store-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import { addChunks, countChunks } from './cached-chunks.ts'
import { type CachedImage, type CacheFigures, describeImages } from './cached-image.ts'
import { CacheBusyError, CacheFullError, CacheTooSmallError, ImageInUseError } from './errors.ts'
import {
  type CatalogueEntry,
  type ImageCatalogue,
  type ImageName,
  rootOf
} from './image-catalogue.ts'
import { ImageClaims } from './image-claims.ts'
import { ImageEviction, type ReclaimableStore } from './image-eviction.ts'
import { ServedImages } from './served-images.ts'

export interface ImageCacheComponents {
  /** Where the chunks of pulled images are; nothing else puts chunks there. */
  readonly store: ReclaimableStore
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
  /** How long whoever wants room waits for those who have it. @default 10 minutes */
  readonly waitMs?: number | undefined
}

/** An image that is being used, and so stays. */
export interface ImageUse {
  /** Ends the use: the image counts as used just now, and may be evicted. Harmless when called twice. */
  release(): Promise<void>
}

/** Images in use that an error names. */
const MAX_NAMED = 4

export interface UseOptions extends AbortOptions {
  /** Told once if there is no room before others have ended. */
  readonly onWaiting?: (() => void) | undefined
}

/**
 * The images that this agent pulled and goes on serving. Decides what may come in, and makes room for it by evicting
 * what was not used for longest.
 */
export class ImageCache {
  readonly #components: ImageCacheComponents
  readonly #limitBytes: () => number
  readonly #maxServed: number
  readonly #waitMs: number
  readonly #claims = new ImageClaims()
  readonly #served: ServedImages
  readonly #eviction: ImageEviction
  /** Whoever wants room waits for whoever wanted it before. */
  readonly #queue = pLimit(1)
  /** One change of what is in the cache at a time. */
  readonly #changes = pLimit(1)

  constructor(components: ImageCacheComponents, options: ImageCacheOptions = {}) {
    const { maxServed = 32, maxImages = 1024, waitMs = 600_000 } = options
    if (!(maxServed > 0 && maxImages >= maxServed && waitMs > 0)) {
      throw new RangeError(`${maxServed} of ${maxImages} images served, ${waitMs} ms to wait`)
    }
    this.#components = components
    this.#maxServed = maxServed
    this.#waitMs = waitMs
    const { store, catalogue, swarm, log, metrics } = components
    const { limitBytes = () => Infinity, freeBytes = async () => Infinity } = components
    this.#limitBytes = () => Math.max(0, limitBytes())
    const claims = this.#claims
    this.#served = new ServedImages({ swarm, claims, log }, maxServed)
    this.#eviction = new ImageEviction(
      {
        store,
        catalogue,
        claims,
        served: this.#served,
        log,
        metrics,
        limitBytes: this.#limitBytes,
        freeBytes
      },
      maxImages
    )
    this.#showOn(metrics)
  }

  get figures(): CacheFigures {
    const { store, catalogue } = this.#components
    const limitBytes = this.#limitBytes()
    return {
      images: catalogue.size,
      bytes: store.storedBytes,
      limitBytes: limitBytes === Infinity ? undefined : limitBytes,
      ...this.#eviction.figures
    }
  }

  /** Reads what is there, deletes chunks that belong to no image, and serves the images used last. */
  async start(): Promise<void> {
    const { catalogue, log } = this.#components
    await catalogue.start()
    await this.#changes(async () => {
      const kept = new KeySet()
      const manifests = new Map<string, Manifest>()
      for (const entry of catalogue.byUse()) {
        const manifest = await catalogue.manifest(rootOf(entry))
        if (manifest === undefined) await catalogue.remove(entry.key)
        else {
          await addChunks(kept, manifest)
          if (manifests.size < this.#maxServed) manifests.set(entry.key, manifest)
        }
      }
      await this.#eviction.removeOrphans(kept)
      await this.#eviction.makeRoom(0)
      for (const [key, manifest] of Array.from(manifests).toReversed()) {
        if (catalogue.get(key) !== undefined) await this.#served.serve(manifest)
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
   * @throws {CacheBusyError} if those who have the room did not release it in time.
   */
  async use(manifest: Manifest, name: ImageName, options: UseOptions = {}): Promise<ImageUse> {
    const { clock } = this.#components
    const key = toHex(manifest.root)
    const [timeoutMs, timedOut] = [this.#waitMs, () => this.#busyError(manifest, name)]
    await withDeadline(
      async ({ signal }) => await this.#wait(manifest, name, { ...options, signal }),
      {
        clock,
        timeoutMs,
        timedOut,
        signal: options.signal
      }
    )
    let isReleased = false
    return {
      release: async () => {
        if (isReleased) return
        isReleased = true
        await this.#release(key)
      }
    }
  }

  /** Waits for a turn, and then for room, until `signal` is aborted. */
  async #wait(
    manifest: Manifest,
    name: ImageName,
    { signal, onWaiting }: UseOptions & { readonly signal: AbortSignal }
  ): Promise<void> {
    let isWaiting = this.#queue.activeCount > 0
    if (isWaiting) onWaiting?.()
    const admitted = this.#queue(async () => {
      for (;;) {
        signal.throwIfAborted()
        const { released } = this.#claims
        if (await this.#changes(async () => await this.#admit(manifest, name))) return
        if (!isWaiting) onWaiting?.()
        isWaiting = true
        await abortable(released, signal)
      }
    })
    try {
      await abortable(admitted, signal)
    } catch (error) {
      // It may be let in all the same, when nobody waits for it any more.
      admitted.then(
        async () => await this.#release(toHex(manifest.root)),
        () => {}
      )
      throw error
    }
  }

  #busyError(manifest: Manifest, name: ImageName): CacheBusyError {
    const own = toHex(manifest.root)
    const users = Array.from(this.#claims.manifests())
      .filter(({ root }) => toHex(root) !== own)
      .map(({ root, bytes }) => `${this.#refOf(toHex(root))} of ${bytes} bytes`)
    const others = users.length > MAX_NAMED ? [`${users.length - MAX_NAMED} others`] : []
    const image = `${name.path}@${name.version} of ${manifest.bytes} bytes`
    const named = [...users.slice(0, MAX_NAMED), ...others]
    return new CacheBusyError(image, this.#limitBytes(), named, this.#waitMs)
  }

  #refOf(key: string): string {
    const [name] = this.#components.catalogue.get(key)?.names ?? []
    return name === undefined ? key.slice(0, 16) : `${name.path}@${name.version}`
  }

  /**
   * Evicts what was not used for longest until so many bytes are free.
   *
   * @returns whether anything was.
   */
  async trim(bytes: number): Promise<boolean> {
    return await this.#changes(async () => await this.#eviction.free(bytes))
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
      for (const entry of entries) bytes += await this.#eviction.evict(entry)
      await this.#components.store.reclaim?.()
      return bytes
    })
  }

  /** Images of the cache, those used last first. */
  async list(): Promise<CachedImage[]> {
    const { catalogue, held } = this.#components
    return await describeImages(catalogue, held, (key) => this.#claims.has(key))
  }

  /** @returns false if there is no room now, but will be when others have ended. */
  async #admit(manifest: Manifest, name: ImageName): Promise<boolean> {
    const { catalogue, clock } = this.#components
    const key = toHex(manifest.root)
    if (this.#claims.add(manifest)) {
      try {
        if (!(await this.#takeIn(manifest, name))) {
          this.#claims.withdraw(key)
          return false
        }
      } catch (error) {
        this.#claims.withdraw(key)
        throw error
      }
    }
    await catalogue.touch(key, clock.now(), name)
    await this.#served.serve(manifest)
    return true
  }

  /** Makes room for an image that nobody uses yet, and remembers it. @returns as `#admit` does. */
  async #takeIn(manifest: Manifest, name: ImageName): Promise<boolean> {
    const { held, store, catalogue, clock } = this.#components
    const { dataBytes, missingBytes: neededBytes } = await countChunks(
      manifest,
      (id) => held.has(id) && !store.has(id)
    )
    const ref = `${name.path}@${name.version}`
    const limitBytes = this.#limitBytes()
    if (neededBytes > limitBytes) throw new CacheTooSmallError(ref, neededBytes, limitBytes)
    const isAlone = this.#claims.size === 1
    if (!(await this.#eviction.makeRoom(await this.#pendingBytes()))) {
      if (isAlone) throw new CacheFullError(ref, neededBytes)
      return false
    }
    if (catalogue.get(toHex(manifest.root)) === undefined) {
      const { bytes, chunkBytes } = manifest
      const usedMs = clock.now()
      await catalogue.add(manifest, { bytes, chunkBytes, dataBytes, usedMs, names: [name] })
    }
    return true
  }

  /** Bytes that the images in use still lack. */
  async #pendingBytes(): Promise<number> {
    const { held } = this.#components
    let bytes = 0
    for (const manifest of this.#claims.manifests()) {
      bytes += (await countChunks(manifest, (id) => held.has(id))).missingBytes
    }
    return bytes
  }

  async #release(key: string): Promise<void> {
    if (!this.#claims.has(key)) return
    this.#claims.release(key)
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
      read: () => this.#limitBytes()
    })
  }
}
