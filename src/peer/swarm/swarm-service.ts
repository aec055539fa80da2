import type { Manifest } from '../../chunks/manifest.ts'
import type { ReadBuffers } from '../../chunks/read-buffers.ts'
import type { ChunkStore } from '../../chunks/store-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { abortable } from '../../lib/abortable.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { NotRunningError } from '../../lib/errors.ts'
import { type EventLog, noEvents } from '../../lib/events.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import type { Counter, Metrics } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { anySignal } from '../../lib/signals.ts'
import { TokenBucket } from '../../lib/token-bucket.ts'
import { Bans } from '../bans.ts'
import { type RequestClass, SWARM_PROTOCOL } from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import { describeSession, type RateLimits, type SwarmDescription } from './description.ts'
import { type DownloadOptions, type DownloadResult } from './download.ts'
import type { SwarmEvent } from './events.ts'
import { type ImageSummary, summarise } from './image-summary.ts'
import { largestOf, type SwarmLoad } from './load.ts'
import { type LoadManifest, OpenImages } from './open-images.ts'
import { fetchPages } from './pages.ts'
import { exchangesOf, type PeerExchange } from './peer-exchange.ts'
import { Reception } from './reception.ts'
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
  /** Finds manifests of images that nobody told this agent to hold. @default it serves no others */
  readonly loadManifest?: LoadManifest | undefined
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

/**
 * This agent's part in the swarms of all images: serves what it holds, fetches what it is told to, and
 * finds others that do. One for each agent.
 */
export class SwarmService {
  readonly #components: SwarmComponents
  readonly #shared: SessionComponents
  readonly #uploads: Uploads
  readonly #rejectedPages: Counter | undefined
  readonly #downloadLimiter: TokenBucket
  readonly #sessionOptions: SessionOptions
  readonly #images: OpenImages
  readonly #reception: Reception
  readonly #stop = new AbortController()

  constructor(components: SwarmComponents, options: SwarmOptions = {}) {
    const { downloadBytesPerSecond, maxImages = 64, loadMs = 10_000 } = options
    const { session: sessionOptions = {} } = options
    const { node, store, directory, clock, random, logger, metrics } = components
    const { events = noEvents } = components
    this.#components = components
    const log = logger.forComponent('blobswarm:peer:swarm')
    this.#sessionOptions = sessionOptions
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
      log,
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
    this.#rejectedPages = metrics?.counter('blobswarm_peer_swarm_pages_rejected_total', {
      help: 'Times that manifest pages of another agent were wrong, or it broke the protocol',
      labels: ['reason']
    })
    this.#images = new OpenImages(
      {
        clock,
        log,
        newSession: (table) => new ImageSession(this.#shared, table, sessionOptions),
        loadManifest: components.loadManifest
      },
      { maxImages, loadMs }
    )
    this.#reception = new Reception(
      { ...this.#shared, images: this.#images },
      { timeoutMs: sessionOptions.handshakeMs, signal: this.#stop.signal }
    )
    this.#showOn(metrics)
  }

  /** Answers the protocol from now on. Called once. */
  async start(): Promise<void> {
    await this.#components.node.serve(SWARM_PROTOCOL, async (channel) =>
      this.#reception.receive(channel)
    )
  }

  /** Fails what is being fetched, leaves all neighbours and resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#stop.abort(new NotRunningError('the swarm'))
    await this.#images.stop()
    await this.#reception.ended()
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
    const image = await abortable(this.#images.open(manifest), options.signal)
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
    const image = this.#images.get(root)
    if (image === undefined)
      throw new NotRunningError(`the download of ${toHex(root).slice(0, 16)}`)
    const signal = anySignal([options.signal, this.#stop.signal])
    await image.download.want(chunks, requestClass, { signal })
  }

  /** Serves an image from now on; its chunks are in the store, or most of them. */
  async hold(manifest: Manifest): Promise<void> {
    const image = await this.#images.open(manifest)
    image.isPinned = true
  }

  /** No longer serves an image. Its chunks stay in the store. */
  async release(root: ChunkId): Promise<void> {
    await this.#images.close(root)
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
    const components = { ...this.#shared, rejected: this.#rejectedPages }
    return fetchPages(components, { root, ids, peers: peers() }, { signal, timeoutMs })
  }

  /** Who takes part in an image's swarm as this agent sees it; undefined if it does not itself. */
  describe(root: ChunkId): SwarmDescription | undefined {
    const image = this.#images.get(root)
    if (image === undefined) return undefined
    const { session, download } = image
    const nowMs = this.#components.clock.monotonic()
    return describeSession({ session, progress: download.progress, limits: this.limits, nowMs })
  }

  /** All images that are open, in short. */
  summaries(): ImageSummary[] {
    return this.#images.sessions().map(summarise)
  }

  /** What was exchanged with each agent, all images together. */
  exchanges(): Map<string, PeerExchange> {
    return exchangesOf(this.#images.sessions())
  }

  /** How much is kept for others now; each figure has a limit. */
  load(): SwarmLoad {
    const sessions = this.#images.sessions().map(({ load }) => load)
    return {
      ...largestOf(sessions),
      bans: this.#shared.bans.size,
      uploadBytes: this.#uploads.memory.used
    }
  }

  /** Roots of the images that are open, in hexadecimal. */
  images(): string[] {
    return this.#images.keys()
  }

  #showOn(metrics: Metrics | undefined): void {
    metrics?.gauge('blobswarm_peer_swarm_neighbours', {
      help: 'Channels to neighbours, of all images',
      read: () => this.#images.sessions().reduce((sum, { neighbours }) => sum + neighbours.size, 0)
    })
    metrics?.gauge('blobswarm_peer_swarm_downloads', {
      help: 'Images that are being fetched',
      read: () => this.#images.sessions().filter(({ isDownloading }) => isDownloading).length
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
}
