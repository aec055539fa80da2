import type { Manifest } from '../../chunks/manifest.ts'
import type { ReadBuffers } from '../../chunks/read-buffers.ts'
import type { AbortOptions, ChunkId, ChunkStore } from '../../chunks/types.ts'
import { abortable } from '../../lib/abortable.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { LimitExceededError, NotRunningError } from '../../lib/errors.ts'
import { type EventLog, noEvents } from '../../lib/events.ts'
import type { Logger, LoggerFactory } from '../../lib/logger.ts'
import type { Metrics } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { anySignal } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import { TokenBucket } from '../../lib/token-bucket.ts'
import { PeerTimeoutError } from '../errors.ts'
import {
  type GoodbyeReason,
  MAX_SWARM_CHUNKS,
  type RequestClass,
  SWARM_PROTOCOL
} from '../protocols/swarm.ts'
import type { Channel, ImageDirectory, PeerNode } from '../types.ts'
import { Bans, isViolation } from './bans.ts'
import { ChunkTable } from './chunk-table.ts'
import { describeSession, type RateLimits, type SwarmDescription } from './description.ts'
import { type DownloadOptions, type DownloadResult, ImageDownload } from './download.ts'
import { GoodbyeError, ImageTooLargeError } from './errors.ts'
import type { SwarmEvent } from './events.ts'
import { type ImageSummary, summarise } from './image-summary.ts'
import { largestOf, type SwarmLoad } from './load.ts'
import { introduce, refuse } from './meeting.ts'
import { fetchPages } from './pages.ts'
import { exchangesOf, type PeerExchange } from './peer-exchange.ts'
import { ImageSession, type SessionComponents, type SessionOptions } from './session.ts'
import { SwarmMetrics } from './swarm-metrics.ts'
import { Uploads, type UploadsOptions } from './uploads.ts'

export interface SwarmComponents {
  readonly node: PeerNode
  /** Failure domain of this agent, such as its rack, of at most 64 bytes; absent if it is not to be told. */
  readonly zone?: string | undefined
  readonly store: ChunkStore
  readonly directory: ImageDirectory
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** What the store reads chunks into, if it does: chunks that are sent are given back. */
  readonly readBuffers?: Pick<ReadBuffers, 'giveBack'> | undefined
  readonly events?: EventLog<SwarmEvent> | undefined
  /**
   * Finds the manifest of an image that this agent may serve although nobody told it to hold the image:
   * a provider keeps chunks of any image. Undefined if it cannot be had here.
   */
  readonly loadManifest?:
    | ((root: ChunkId, options: AbortOptions) => Promise<Manifest | undefined>)
    | undefined
}

export interface SwarmOptions {
  /** Bytes of chunks a second that this agent receives; undefined for no limit. @default undefined */
  readonly downloadBytesPerSecond?: number | undefined
  /** Images that are open at a time; beyond it, idle ones that nobody holds are closed. @default 64 */
  readonly maxImages?: number
  /** Time that a manifest may take to load before whoever asks for the image is turned away. @default 10 seconds */
  readonly loadMs?: number
  readonly uploads?: UploadsOptions
  readonly session?: SessionOptions
}

interface OpenImage {
  readonly session: ImageSession
  readonly download: ImageDownload
  /** Held until released; others may be closed when nobody uses them. */
  isPinned: boolean
}

/**
 * This agent's part in the swarms of all images: serves what it holds, fetches what it is told to, and
 * finds others that do. One for each agent.
 */
export class SwarmService {
  readonly #components: SwarmComponents
  readonly #shared: SessionComponents
  readonly #uploads: Uploads
  readonly #downloadLimiter: TokenBucket
  readonly #log: Logger
  readonly #maxImages: number
  readonly #loadMs: number
  readonly #sessionOptions: SessionOptions
  readonly #images = new Map<string, OpenImage>()
  readonly #opening = new Map<string, Promise<OpenImage>>()
  readonly #serving = new Set<Promise<void>>()
  readonly #stop = new AbortController()
  #isRunning = false

  constructor(components: SwarmComponents, options: SwarmOptions = {}) {
    const { downloadBytesPerSecond, maxImages = 64, loadMs = 10_000 } = options
    const { node, store, directory, clock, random, logger, metrics } = components
    const { events = noEvents } = components
    this.#components = components
    this.#log = logger.forComponent('blobswarm:peer:swarm')
    this.#maxImages = maxImages
    this.#loadMs = loadMs
    this.#sessionOptions = options.session ?? {}
    this.#uploads = new Uploads(components, options.uploads)
    this.#downloadLimiter = new TokenBucket(clock, { perSecond: downloadBytesPerSecond })
    this.#shared = {
      node,
      zone: components.zone,
      store,
      directory,
      clock,
      random,
      events,
      log: this.#log,
      uploads: this.#uploads,
      bans: new Bans(),
      downloadLimiter: this.#downloadLimiter,
      ...(metrics === undefined ? {} : { metrics: new SwarmMetrics(metrics) }),
      receivedBytes: metrics?.counter('blobswarm_peer_swarm_received_bytes_total', {
        help: 'Bytes of chunks received and verified',
        labels: ['from']
      }),
      refused: metrics?.counter('blobswarm_peer_swarm_refused_total', {
        help: 'Channels that other agents opened and that were turned away or got nowhere, by reason',
        labels: ['reason']
      })
    }
    metrics?.gauge('blobswarm_peer_swarm_neighbours', {
      help: 'Channels to neighbours, of all images',
      read: () => this.#sessions().reduce((sum, { neighbours }) => sum + neighbours.size, 0)
    })
    metrics?.gauge('blobswarm_peer_swarm_downloads', {
      help: 'Images that are being fetched',
      read: () => this.#sessions().filter(({ isDownloading }) => isDownloading).length
    })
    metrics?.gauge('blobswarm_peer_swarm_upload_limit_bytes', {
      help: 'Bytes of chunks a second that may be sent, 0 for no limit',
      read: () => this.limits.uploadRate
    })
    metrics?.gauge('blobswarm_peer_swarm_download_limit_bytes', {
      help: 'Bytes of chunks a second that may be received, 0 for no limit',
      read: () => this.limits.downloadRate
    })
  }

  /** Answers the protocol from now on. Called once. */
  async start(): Promise<void> {
    this.#isRunning = true
    await this.#components.node.serve(SWARM_PROTOCOL, async (channel) => {
      const serving = this.#serve(channel)
      this.#serving.add(serving)
      try {
        await serving
      } finally {
        this.#serving.delete(serving)
      }
    })
  }

  /** Fails what is being fetched, leaves all neighbours and resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#isRunning = false
    this.#stop.abort(new NotRunningError('the swarm'))
    await Promise.allSettled(this.#opening.values())
    await Promise.all(this.#sessions().map(async (session) => session.close()))
    this.#images.clear()
    await Promise.allSettled(this.#serving)
    this.#uploads.recent.clear()
  }

  /** The rate limits in force. */
  get limits(): RateLimits {
    return {
      uploadRate: this.#uploads.limiter.perSecond ?? 0,
      downloadRate: this.#downloadLimiter.perSecond ?? 0
    }
  }

  /** Changes the limit of what this agent sends; undefined for none. */
  setUploadRate(bytesPerSecond: number | undefined): void {
    this.#uploads.setRate(bytesPerSecond)
  }

  /** Changes the limit of what this agent receives; undefined for none. */
  setDownloadRate(bytesPerSecond: number | undefined): void {
    this.#downloadLimiter.setRate(bytesPerSecond)
  }

  /**
   * Fetches all chunks of an image into the store, from providers and other agents at once. Chunks that
   * the store has are not fetched. Afterwards this agent goes on serving the image until `release`. A
   * second call for the same image joins the first; the fetching ends early when all callers gave up.
   *
   * @throws {DownloadStalledError} if nothing came for too long; what came stays in the store.
   * @throws {StoreFullError | StoreFailedError} if the store does not take a chunk.
   * @throws {ImageTooLargeError} if the protocol cannot carry the image.
   * @throws {unknown} the reason of `options.signal`.
   */
  async download(manifest: Manifest, options: DownloadOptions = {}): Promise<DownloadResult> {
    options.signal?.throwIfAborted()
    const image = await abortable(this.#open(manifest), options.signal)
    image.isPinned = true
    const signal = anySignal([options.signal, this.#stop.signal])
    try {
      return await image.download.join({ ...options, signal })
    } catch (error) {
      image.isPinned = image.session.holdings.hasAll
      throw error
    }
  }

  /**
   * Asks for chunks of an image that is being fetched before all others, and waits until they are
   * stored; harmless for chunks that are.
   *
   * @throws {NotRunningError} if the image is neither being fetched nor complete.
   * @throws {LimitExceededError} if too many chunks are waited for.
   * @throws {unknown} the reason of `options.signal`.
   */
  async want(
    root: ChunkId,
    chunks: readonly number[],
    requestClass: RequestClass,
    options: AbortOptions = {}
  ): Promise<void> {
    const image = this.#images.get(toHex(root))
    if (image === undefined)
      throw new NotRunningError(`the download of ${toHex(root).slice(0, 16)}`)
    const signal = anySignal([options.signal, this.#stop.signal])
    await image.download.want(chunks, requestClass, { signal })
  }

  /** Serves an image from now on; its chunks are in the store, or most of them. */
  async hold(manifest: Manifest): Promise<void> {
    const image = await this.#open(manifest)
    image.isPinned = true
  }

  /** No longer serves an image. Its chunks stay in the store. */
  async release(root: ChunkId): Promise<void> {
    const key = toHex(root)
    const image = this.#images.get(key)
    if (image === undefined) return
    this.#images.delete(key)
    await image.session.close()
  }

  /**
   * Fetches manifest pages from agents that hold the image: those named first, then whoever the
   * directory knows. The pages are verified.
   *
   * @throws {PagesUnavailableError} if nobody gave one of them.
   */
  async fetchPages(
    root: ChunkId,
    ids: readonly ChunkId[],
    options: AbortOptions & { readonly sources?: readonly string[] } = {}
  ): Promise<Uint8Array[]> {
    const { directory } = this.#components
    const signal = anySignal([options.signal, this.#stop.signal])
    const { sources = [] } = options
    async function* peers(): AsyncGenerator<string> {
      yield* sources
      yield* directory.find(root, { signal })
    }
    const timeoutMs = this.#sessionOptions.handshakeMs
    return fetchPages(this.#components, { root, ids, peers: peers() }, { signal, timeoutMs })
  }

  /** Who takes part in an image's swarm as this agent sees it; undefined if it does not itself. */
  describe(root: ChunkId): SwarmDescription | undefined {
    const image = this.#images.get(toHex(root))
    if (image === undefined) return undefined
    const { session, download } = image
    const nowMs = this.#components.clock.monotonic()
    return describeSession({ session, progress: download.progress, limits: this.limits, nowMs })
  }

  /** All images that are open, in short. */
  summaries(): ImageSummary[] {
    return this.#sessions().map(summarise)
  }

  /** What was exchanged with each agent, all images together. */
  exchanges(): Map<string, PeerExchange> {
    return exchangesOf(this.#sessions())
  }

  /** How much is kept for others now; each figure has a limit. */
  load(): SwarmLoad {
    const sessions = this.#sessions().map(({ load }) => load)
    return {
      ...largestOf(sessions),
      bans: this.#shared.bans.size,
      uploadBytes: this.#uploads.memory.used
    }
  }

  /** Roots of the images that are open, in hexadecimal. */
  images(): string[] {
    return Array.from(this.#images.keys())
  }

  #sessions(): ImageSession[] {
    return Array.from(this.#images.values(), ({ session }) => session)
  }

  async #serve(channel: Channel): Promise<void> {
    const { clock } = this.#components
    const timeoutMs = this.#sessionOptions.handshakeMs
    const { signal } = this.#stop
    const { peerId } = channel.remote
    if (this.#shared.bans.isBanned(peerId, clock.monotonic())) {
      await this.#refuse(channel, 'banned')
      return
    }
    try {
      const opened = await introduce(channel, clock, { timeoutMs, signal })
      const image = await this.#find(opened.handshake.root)
      if (image === undefined) await this.#refuse(channel, 'unknownImage')
      else await image.session.accept(opened)
    } catch (thrown) {
      const error = toError(thrown)
      if (error instanceof LimitExceededError) await this.#refuse(channel, 'full')
      else if (!(error instanceof GoodbyeError)) this.#gotNowhere(peerId, error)
    }
  }

  async #refuse(channel: Channel, reason: GoodbyeReason): Promise<void> {
    this.#shared.refused?.add(1, { reason })
    await refuse(channel, reason)
  }

  /** A channel ended before its peer became a neighbour. @throws {Error} always, which resets it. */
  #gotNowhere(peerId: string, error: Error): never {
    const isBad = isViolation(error)
    const reason = error instanceof PeerTimeoutError ? 'timeout' : isBad ? 'violation' : 'ended'
    this.#shared.refused?.add(1, { reason })
    if (isBad) {
      this.#log.info('peer %p is banned: %e', peerId, error)
      this.#shared.bans.punish(peerId, this.#components.clock.monotonic())
    }
    throw error
  }

  /** The image that another agent came for, loaded if this agent may serve it. */
  async #find(root: ChunkId): Promise<OpenImage | undefined> {
    const key = toHex(root)
    const known = this.#images.get(key) ?? this.#opening.get(key)
    if (known !== undefined) return known
    const { loadManifest, clock } = this.#components
    if (loadManifest === undefined) return undefined
    const deadline = new AbortController()
    const cancel = clock.schedule(() => deadline.abort(new Error('too slow')), this.#loadMs)
    const signal = anySignal([deadline.signal, this.#stop.signal])
    try {
      const manifest = await abortable(loadManifest(root, { signal }), signal)
      return manifest === undefined ? undefined : await this.#open(manifest)
    } catch (error) {
      if (error instanceof LimitExceededError) throw error
      this.#log.info('manifest %s cannot be loaded: %e', key.slice(0, 16), toError(error))
      return undefined
    } finally {
      cancel()
    }
  }

  async #open(manifest: Manifest): Promise<OpenImage> {
    if (!this.#isRunning) throw new NotRunningError('the swarm')
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

  async #openNew(manifest: Manifest): Promise<OpenImage> {
    await this.#makeRoom()
    const table = await ChunkTable.build(manifest)
    const session = new ImageSession(this.#shared, table, this.#sessionOptions)
    await session.open()
    const { clock } = this.#components
    return { session, download: new ImageDownload(session, { clock }), isPinned: false }
  }

  /** Closes the image that was used longest ago if there are too many. */
  async #makeRoom(): Promise<void> {
    if (this.#images.size + this.#opening.size < this.#maxImages) return
    const idle = Array.from(this.#images.values())
      .filter(({ isPinned, session }) => !isPinned && session.isQuiet)
      .toSorted((left, right) => left.session.usedMs - right.session.usedMs)
    const [oldest] = idle
    if (oldest === undefined) throw new LimitExceededError('images open at a time', this.#maxImages)
    await this.release(oldest.session.root)
  }
}
