import type { AbortOptions, ChunkId, ChunkStore } from '../../chunks/types.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { EventLog } from '../../lib/events.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { toError } from '../../lib/to-error.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { ProtocolViolationError } from '../errors.ts'
import { type GoodbyeReason, type HandshakeMessage, MAX_ADDRESSES } from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import type { Bans } from './bans.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Dialling, type DiallingHost, type DiallingOptions } from './dialling.ts'
import { Downloader, type DownloaderOptions, type DownloadHost } from './downloader.ts'
import { GoodbyeError } from './errors.ts'
import type { LeaveReason, SwarmEvent } from './events.ts'
import { Holdings } from './holdings.ts'
import { Inbound } from './inbound.ts'
import { SwarmLink, type SwarmLinkOptions } from './link.ts'
import { type IntroducedChannel, meet, pagesHandshake } from './meeting.ts'
import { Neighbour } from './neighbour.ts'
import { Neighbourhood, type NeighbourhoodOptions } from './neighbourhood.ts'
import { PageServer, type PageServerOptions } from './page-server.ts'
import type { ScorecardOptions } from './scorecard.ts'
import { Spread } from './spread.ts'
import { UploadSlot } from './upload-slot.ts'
import type { UploadImage, Uploads } from './uploads.ts'

/** What all images of an agent share. */
export interface SessionComponents {
  readonly node: PeerNode
  readonly store: ChunkStore
  readonly directory: ImageDirectory
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly events: EventLog<SwarmEvent>
  readonly uploads: Uploads
  readonly bans: Bans
  readonly downloadLimiter: TokenBucket
  readonly receivedBytes?: Counter | undefined
}

export interface SessionOptions extends NeighbourhoodOptions, PageServerOptions {
  /** Time for connecting and for a handshake, each. @default 10 seconds */
  readonly handshakeMs?: number
  readonly dialling?: DiallingOptions
  readonly download?: DownloaderOptions
  readonly link?: SwarmLinkOptions
  readonly scorecard?: ScorecardOptions
}

const BUSY_TICK_MS = 250
const QUIET_TICK_MS = 5000
const REFRESH_MS = 5000
const WANTED_REFRESH_MS = 1000
const VIOLATION_BAN_MS = 600_000

/**
 * One image on this agent: who its neighbours are, what they and this agent hold, serving it, and (while
 * a download runs) fetching it.
 */
export class ImageSession implements DownloadHost, UploadImage, DiallingHost {
  readonly root: ChunkId
  /** The manifest root in hexadecimal. */
  readonly image: string
  readonly table: ChunkTable
  readonly holdings: Holdings
  readonly spread: Spread
  readonly #components: SessionComponents
  readonly #options: SessionOptions
  readonly #neighbourhood: Neighbourhood
  readonly #slots = new Map<Neighbour, UploadSlot>()
  readonly #dialling: Dialling
  readonly #pages: PageServer
  readonly #inbound: Inbound
  readonly #tasks = new Set<Promise<void>>()
  readonly #onTick = new Set<() => void>()
  #downloader: Downloader | undefined
  #cancelTick: Cancel | undefined
  #refreshedMs = -Infinity

  constructor(components: SessionComponents, table: ChunkTable, options: SessionOptions = {}) {
    const { node, directory, clock, random, bans, log } = components
    this.#components = components
    this.#options = options
    this.root = table.manifest.root
    this.image = toHex(this.root)
    this.table = table
    this.holdings = new Holdings(table)
    this.spread = new Spread(table.count, random)
    this.#pages = new PageServer(table.manifest, clock, options)
    const wants = (): boolean => this.isDownloading
    const onLeft = (neighbour: Neighbour): void => this.#left(neighbour)
    const { image } = this
    this.#neighbourhood = new Neighbourhood({ ...components, image, wants, onLeft }, options)
    const parts = { host: this, node, directory, clock, random, bans, log }
    this.#dialling = new Dialling(parts, options.dialling)
    this.#inbound = new Inbound({
      table,
      spread: this.spread,
      neighbourhood: this.#neighbourhood,
      dialling: this.#dialling,
      pages: this.#pages,
      slotOf: (neighbour) => this.#slots.get(neighbour),
      downloader: () => this.#downloader,
      onWanted: () => this.#refreshSoon(WANTED_REFRESH_MS)
    })
  }

  get neighbours(): ReadonlyMap<string, Neighbour> {
    return this.#neighbourhood.members
  }

  /** When somebody last came or went, monotonic. */
  get usedMs(): number {
    return this.#neighbourhood.changedMs
  }

  /** Nobody is connected and nothing is being fetched. */
  get isQuiet(): boolean {
    return this.neighbours.size === 0 && this.#pages.channelCount === 0 && !this.isDownloading
  }

  get isDownloading(): boolean {
    return this.#downloader?.isRunning === true
  }

  get downloader(): Downloader | undefined {
    return this.#downloader
  }

  /** Bytes of chunks sent to a neighbour. */
  sentBytes(neighbour: Neighbour): number {
    return this.#slots.get(neighbour)?.sentBytes ?? 0
  }

  /** Reads from the store what this agent holds, and announces the image. Called once, before all else. */
  async open(): Promise<void> {
    await this.refresh()
    this.#components.directory.announce(this.root)
    this.#scheduleTick()
  }

  /** Looks in the store for chunks that came by another way, at most every few seconds. */
  async refresh(minimumAgeMs = 0): Promise<void> {
    const { clock, store } = this.#components
    if (this.holdings.hasAll || clock.monotonic() - this.#refreshedMs < minimumAgeMs) return
    this.#refreshedMs = clock.monotonic()
    for (const chunk of await this.holdings.refresh(store)) this.#announce(chunk)
  }

  /** Serves a channel that another agent opened, until it ends. */
  async accept(opened: IntroducedChannel): Promise<void> {
    const { channel, handshake } = opened
    const { peerId } = channel.remote
    await this.refresh(REFRESH_MS)
    const link = this.#link(opened)
    const refusal = this.#refusal(peerId, peerId, handshake)
    if (refusal !== undefined) {
      const peers = this.#neighbourhood.exchangeFor(peerId)
      if (refusal === 'full' && peers.length > 0) link.post({ type: 'peers', peers })
      link.close(refusal)
      await link.run(() => {})
      return
    }
    if (handshake.pagesOnly) {
      link.post(pagesHandshake(this.root))
      await this.#pages.serve(link)
      return
    }
    link.post(this.#handshake())
    await this.#serve(this.#join(link, opened, peerId))
  }

  /** Opens a channel to a peer and makes it a neighbour. */
  async visit(peerId: string, options: AbortOptions): Promise<void> {
    const { node } = this.#components
    const { handshakeMs: timeoutMs } = this.#options
    let own = this.#handshake()
    const introduce = (): HandshakeMessage => {
      own = this.#handshake()
      return own
    }
    const opened = await meet(this.#components, peerId, introduce, { ...options, timeoutMs })
    const link = this.#link(opened)
    const refusal = this.#refusal(peerId, node.peerId, opened.handshake)
    if (refusal !== undefined) {
      link.close(refusal)
      this.#track(link.run(() => {}))
      throw new GoodbyeError(peerId, refusal)
    }
    const neighbour = this.#join(link, opened, node.peerId)
    if (own.bitfield !== undefined) link.announce(this.holdings.since(own.bitfield))
    else if (!own.holdsAll) link.announce(this.holdings.since(new Uint8Array(this.#bitfieldBytes)))
    this.#track(this.#serve(neighbour))
  }

  /** Starts or joins looking for others; `sources` are dialled first. */
  look(sources: readonly string[]): void {
    this.#dialling.add(sources, 'source')
    this.#dialling.tick()
  }

  /** Fetches what is missing. @throws what `Downloader.fetchAll` throws. */
  async fetchAll(options: AbortOptions = {}): Promise<void> {
    await this.refresh()
    const { downloadLimiter: limiter } = this.#components
    const parts = { ...this.#components, host: this, limiter }
    this.#downloader ??= new Downloader(parts, this.#options.download)
    const downloader = this.#downloader
    const running = downloader.fetchAll(options)
    this.#tellWants(!this.holdings.hasAll)
    this.#dialling.tick()
    this.#scheduleTick()
    try {
      await running
    } finally {
      this.#tellWants(false)
    }
  }

  /** Calls back a few times a second while a download runs. @returns how to stop that. */
  onTick(listener: () => void): () => void {
    this.#onTick.add(listener)
    return () => this.#onTick.delete(listener)
  }

  /** Leaves all neighbours and resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.#neighbourhood.close()
    this.#cancelTick?.()
    this.#components.directory.withdraw(this.root)
    await this.#dialling.stop()
    await Promise.allSettled(this.#tasks)
  }

  neighbourCounts(): { sources: number; others: number } {
    const sources = this.neighbours
      .values()
      .filter(({ isSource }) => isSource)
      .toArray().length
    return { sources, others: this.neighbours.size - sources }
  }

  isNeighbour(peerId: string): boolean {
    return this.neighbours.has(peerId)
  }

  isHeld(chunk: number): boolean {
    return this.holdings.has(chunk)
  }

  stored(chunk: number): void {
    if (this.holdings.add(chunk)) this.#announce(chunk)
  }

  lost(chunk: number): void {
    if (!this.holdings.remove(chunk)) return
    this.#components.log.error('chunk %d of image %s is gone from the store', chunk, this.image)
    this.spread.unhold(chunk)
    this.#downloader?.want(chunk)
  }

  sent(peer: string, chunk: number): void {
    const bytes = this.table.byteLength(chunk)
    this.#components.events.emit({ event: 'chunk-sent', image: this.image, chunk, peer, bytes })
  }

  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void {
    this.#neighbourhood.drop(neighbour, reason, banMs)
  }

  get #bitfieldBytes(): number {
    return Math.ceil(this.table.count / 8)
  }

  #announce(chunk: number): void {
    this.spread.hold(chunk)
    for (const { link } of this.neighbours.values()) link.announce([chunk])
  }

  #handshake(): HandshakeMessage {
    const { holdings } = this
    const isPartial = !holdings.hasAll && holdings.distinctCount > 0
    return {
      type: 'handshake',
      root: this.root,
      wants: this.isDownloading,
      holdsAll: holdings.hasAll,
      pagesOnly: false,
      chunkCount: this.table.count,
      addresses: this.#components.node.addresses().slice(0, MAX_ADDRESSES),
      bitfield: isPartial ? holdings.encode() : undefined
    }
  }

  #link(opened: IntroducedChannel): SwarmLink {
    return new SwarmLink(opened, this.#components.clock, this.#options.link)
  }

  /** Why a channel that `opener` opened is not kept; undefined if it is. */
  #refusal(peer: string, opener: string, handshake: HandshakeMessage): GoodbyeReason | undefined {
    if (this.#neighbourhood.isClosed) return 'leaving'
    if (handshake.pagesOnly) return this.#pages.isFull ? 'full' : undefined
    if (handshake.chunkCount !== this.table.count) return 'violation'
    return this.#neighbourhood.refusal(peer, opener, handshake)
  }

  #join(link: SwarmLink, opened: IntroducedChannel, opener: string): Neighbour {
    const meeting = { link, opener, handshake: opened.handshake }
    const neighbour = new Neighbour(meeting, this.table, this.#options.scorecard)
    const { peerId, holds } = neighbour
    this.#neighbourhood.join(neighbour)
    this.#slots.set(neighbour, new UploadSlot(this.#components.uploads, this, link, holds))
    if (neighbour.wants && !neighbour.holdsAll) this.spread.join(peerId, neighbour.held)
    this.#dialling.joined(peerId)
    this.#downloader?.joined(neighbour)
    return neighbour
  }

  #left(neighbour: Neighbour): void {
    this.spread.leave(neighbour.peerId)
    this.#dialling.left(neighbour.peerId)
    this.#downloader?.left(neighbour)
  }

  async #serve(neighbour: Neighbour): Promise<void> {
    const { log, bans, clock } = this.#components
    try {
      await neighbour.link.run((message) => this.#inbound.handle(neighbour, message))
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('neighbour %p of image %s: %e', neighbour.peerId, this.image, error)
      if (isViolation(error)) {
        neighbour.leaving ??= 'violation'
        bans.add(neighbour.peerId, clock.monotonic() + VIOLATION_BAN_MS)
      }
    } finally {
      const slot = this.#slots.get(neighbour)
      this.#neighbourhood.remove(neighbour, 'ended')
      await slot?.stopped()
      this.#slots.delete(neighbour)
    }
  }

  #tellWants(wants: boolean): void {
    for (const { link } of this.neighbours.values()) link.post({ type: 'wants', wants })
  }

  #scheduleTick(): void {
    this.#cancelTick?.()
    if (this.#neighbourhood.isClosed) return
    const tickMs = this.isDownloading ? BUSY_TICK_MS : QUIET_TICK_MS
    this.#cancelTick = this.#components.clock.schedule(() => this.#tick(), tickMs)
  }

  #tick(): void {
    this.#neighbourhood.tick(this.#components.clock.monotonic())
    if (this.isDownloading) this.#dialling.tick()
    else if (this.neighbours.size > 0) this.#refreshSoon(REFRESH_MS)
    for (const listener of this.#onTick) listener()
    this.#scheduleTick()
  }

  /** Finds what came into the store by another way, for neighbours that are there already. */
  #refreshSoon(minimumAgeMs: number): void {
    this.#track(this.refresh(minimumAgeMs))
  }

  #track(task: Promise<void>): void {
    this.#tasks.add(task)
    task
      .catch((error: unknown) => this.#components.log.debug('session task: %e', toError(error)))
      .finally(() => this.#tasks.delete(task))
      .catch(() => {})
  }
}

function isViolation(error: Error): boolean {
  return error instanceof ProtocolViolationError || error instanceof MalformedError
}
