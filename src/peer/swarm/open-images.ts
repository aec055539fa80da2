import type { Manifest } from '../../chunks/manifest.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { abortable } from '../../lib/abortable.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { LimitExceededError, NotRunningError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/logger.ts'
import { anySignal } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import { MAX_SWARM_CHUNKS } from '../protocols/swarm.ts'
import { ChunkTable } from './chunk-table.ts'
import { ImageDownload } from './download.ts'
import { ImageTooLargeError } from './errors.ts'
import type { ImageSession } from './session.ts'

/** An image that this agent takes part in the swarm of. */
export interface OpenImage {
  readonly session: ImageSession
  readonly download: ImageDownload
  /** Held until released; others may be closed when nobody uses them. */
  isPinned: boolean
}

/**
 * Finds the manifest of an image that this agent may serve although nobody told it to hold the image:
 * a provider keeps chunks of any image. Gives undefined if it cannot be had here.
 */
export type LoadManifest = (root: ChunkId, options: AbortOptions) => Promise<Manifest | undefined>

export interface OpenImagesComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Makes the session of an image that is not open. */
  readonly newSession: (table: ChunkTable) => ImageSession
  readonly loadManifest?: LoadManifest | undefined
}

export interface OpenImagesOptions {
  /** Images that are open at a time; beyond it, idle ones that nobody holds are closed. */
  readonly maxImages: number
  /** Time that a manifest may take to load. */
  readonly loadMs: number
}

/** The images that this agent takes part in the swarms of; opens and closes them. */
export class OpenImages {
  readonly #components: OpenImagesComponents
  readonly #options: OpenImagesOptions
  readonly #images = new Map<string, OpenImage>()
  readonly #opening = new Map<string, Promise<OpenImage>>()
  readonly #stop = new AbortController()

  constructor(components: OpenImagesComponents, options: OpenImagesOptions) {
    this.#components = components
    this.#options = options
  }

  get(root: ChunkId): OpenImage | undefined {
    return this.#images.get(toHex(root))
  }

  /** Roots of the images that are open, in hexadecimal. */
  keys(): string[] {
    return Array.from(this.#images.keys())
  }

  sessions(): ImageSession[] {
    return Array.from(this.#images.values(), ({ session }) => session)
  }

  /**
   * Gives an image, opening it if it is not.
   *
   * @throws {ImageTooLargeError} if the protocol cannot carry it.
   * @throws {LimitExceededError} if too many are open and in use.
   */
  async open(manifest: Manifest): Promise<OpenImage> {
    this.#stop.signal.throwIfAborted()
    const key = toHex(manifest.root)
    const known = this.#images.get(key) ?? this.#opening.get(key)
    if (known !== undefined) return known
    if (manifest.chunkCount > MAX_SWARM_CHUNKS) {
      throw new ImageTooLargeError(key, manifest.chunkCount, MAX_SWARM_CHUNKS)
    }
    const opening = this.#openNew(manifest)
    this.#opening.set(key, opening)
    try {
      const image = await opening
      this.#images.set(key, image)
      return image
    } finally {
      this.#opening.delete(key)
    }
  }

  /**
   * The image that another agent came for, loaded if this agent may serve it; undefined if there is none.
   *
   * @throws {LimitExceededError} if too many are open and in use.
   */
  async find(root: ChunkId): Promise<OpenImage | undefined> {
    const key = toHex(root)
    const known = this.#images.get(key) ?? this.#opening.get(key)
    if (known !== undefined) return known
    const { loadManifest, clock, log } = this.#components
    if (loadManifest === undefined) return undefined
    const deadline = new AbortController()
    const cancel = clock.schedule(() => deadline.abort(new Error('too slow')), this.#options.loadMs)
    const signal = anySignal([deadline.signal, this.#stop.signal])
    try {
      const manifest = await abortable(loadManifest(root, { signal }), signal)
      return manifest === undefined ? undefined : await this.open(manifest)
    } catch (error) {
      if (error instanceof LimitExceededError) throw error
      log.info('manifest %s cannot be loaded: %e', key.slice(0, 16), toError(error))
      return undefined
    } finally {
      cancel()
    }
  }

  /** Closes an image, if it is open. */
  async close(root: ChunkId): Promise<void> {
    const key = toHex(root)
    const image = this.#images.get(key)
    if (image === undefined) return
    this.#images.delete(key)
    await image.session.close()
  }

  /** Closes all images; none is opened any more. */
  async stop(): Promise<void> {
    this.#stop.abort(new NotRunningError('the swarm'))
    await Promise.allSettled(this.#opening.values())
    await Promise.all(this.sessions().map(async (session) => session.close()))
    this.#images.clear()
  }

  async #openNew(manifest: Manifest): Promise<OpenImage> {
    await this.#makeRoom()
    const { newSession, clock } = this.#components
    const session = newSession(await ChunkTable.build(manifest))
    await session.open()
    return { session, download: new ImageDownload(session, { clock }), isPinned: false }
  }

  /** Closes the image that was used longest ago if there are too many. */
  async #makeRoom(): Promise<void> {
    const { maxImages } = this.#options
    if (this.#images.size + this.#opening.size < maxImages) return
    const idle = Array.from(this.#images.values())
      .filter(({ isPinned, session }) => !isPinned && session.isQuiet)
      .toSorted((left, right) => left.session.usedMs - right.session.usedMs)
    const [oldest] = idle
    if (oldest === undefined) throw new LimitExceededError('images open at a time', maxImages)
    await this.close(oldest.session.root)
  }
}
