import type { AbortOptions, ChunkId, ChunkStore } from '../../chunks/types.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { EventLog } from '../../lib/events.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Random } from '../../lib/random.ts'
import { toError } from '../../lib/to-error.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { PeerTimeoutError, ProtocolViolationError } from '../errors.ts'
import {
  type ExchangedPeer,
  type GoodbyeReason,
  type HandshakeMessage,
  MAX_ADDRESSES,
  MAX_EXCHANGED_PEERS,
  type SwarmMessage
} from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import type { Bans } from './bans.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Dialling, type DiallingHost, type DiallingOptions } from './dialling.ts'
import { Downloader, type DownloaderOptions, type DownloadHost } from './downloader.ts'
import { GoodbyeError } from './errors.ts'
import type { LeaveReason, SwarmEvent } from './events.ts'
import { Holdings } from './holdings.ts'
import { SwarmLink, type SwarmLinkOptions } from './link.ts'
import { type IntroducedChannel, meet } from './meeting.ts'
import { Neighbour } from './neighbour.ts'
import { ManifestPages } from './pages.ts'
import type { ScorecardOptions } from './scorecard.ts'
import { Spread } from './spread.ts'
import { type UploadImage, UploadSlot, type Uploads } from './uploads.ts'

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
}

export interface SessionOptions {
  /** Neighbours of one image, whoever dialled; more are turned away. @default 24 */
  readonly maxNeighbours?: number
  /** Channels of one image that came for manifest pages only. @default 32 */
  readonly maxPageChannels?: number
  /** Time for connecting and for a handshake, each. @default 10 seconds */
  readonly handshakeMs?: number
  /** A neighbour that does not read for this long is dropped. @default 20 seconds */
  readonly sendTimeoutMs?: number
  /** Silence after which a neighbour is taken for dead; a third of it is the keep-alive. @default 90 seconds */
  readonly silenceMs?: number
  /** How long two agents that want nothing of each other stay connected. @default 15 seconds */
  readonly lingerMs?: number
  /** How often neighbours are told about new ones. @default 10 seconds */
  readonly exchangeMs?: number
  readonly dialling?: DiallingOptions
  readonly download?: DownloaderOptions
  readonly link?: SwarmLinkOptions
  readonly scorecard?: ScorecardOptions
}

const BUSY_TICK_MS = 250
const QUIET_TICK_MS = 5000
const REFRESH_MS = 5000
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
  readonly neighbours = new Map<string, Neighbour>()
  readonly #components: SessionComponents
  readonly #options: Required<Omit<SessionOptions, 'dialling' | 'download' | 'link' | 'scorecard'>>
  readonly #parts: Pick<SessionOptions, 'download' | 'link' | 'scorecard'>
  readonly #slots = new Map<Neighbour, UploadSlot>()
  readonly #dialling: Dialling
  readonly #pages: ManifestPages
  readonly #tasks = new Set<Promise<void>>()
  readonly #onTick = new Set<() => void>()
  #downloader: Downloader | undefined
  #newcomers: ExchangedPeer[] = []
  #cancelTick: Cancel | undefined
  #pageChannels = 0
  #exchangedMs: number
  #refreshedMs = -Infinity
  #usedMs: number
  #isClosed = false

  constructor(components: SessionComponents, table: ChunkTable, options: SessionOptions = {}) {
    const { dialling, download, link, scorecard, ...own } = options
    const { node, directory, clock, random, bans, log } = components
    this.#components = components
    this.#parts = { download, link, scorecard }
    this.#options = {
      maxNeighbours: 24,
      maxPageChannels: 32,
      handshakeMs: 10_000,
      sendTimeoutMs: 20_000,
      silenceMs: 90_000,
      lingerMs: 15_000,
      exchangeMs: 10_000,
      ...own
    }
    this.root = table.manifest.root
    this.image = toHex(this.root)
    this.table = table
    this.holdings = new Holdings(table)
    this.spread = new Spread(table.count, random)
    this.#pages = new ManifestPages(table.manifest)
    const parts = { host: this, node, directory, clock, random, bans, log }
    this.#dialling = new Dialling(parts, dialling)
    this.#exchangedMs = clock.monotonic()
    this.#usedMs = this.#exchangedMs
  }

  /** When somebody last came or went, monotonic. */
  get usedMs(): number {
    return this.#usedMs
  }

  /** Nobody is connected and nothing is being fetched. */
  get isQuiet(): boolean {
    return this.neighbours.size === 0 && this.#pageChannels === 0 && !this.isDownloading
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
    await this.refresh(REFRESH_MS)
    const own = this.#handshake()
    const link = this.#link(opened)
    const refusal = handshake.pagesOnly
      ? this.#pagesRefusal()
      : this.#refusal(channel.remote.peerId, channel.remote.peerId, handshake)
    if (refusal === undefined) link.post(own)
    else if (refusal === 'full') link.post({ type: 'peers', peers: this.#exchangeFor(link.peerId) })
    if (refusal !== undefined) {
      link.close(refusal)
      await link.run(() => {})
    } else if (handshake.pagesOnly) await this.#servePages(link)
    else await this.#serve(this.#join(link, opened, channel.remote.peerId))
  }

  /** Opens a channel to a peer and makes it a neighbour. */
  async visit(peerId: string, options: AbortOptions): Promise<void> {
    const { node } = this.#components
    const timeoutMs = this.#options.handshakeMs
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
    const { store, clock, random, events, downloadLimiter } = this.#components
    await this.refresh()
    const parts = { host: this, store, clock, random, events, limiter: downloadLimiter }
    this.#downloader ??= new Downloader(parts, this.#parts.download)
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
    this.#isClosed = true
    this.#cancelTick?.()
    this.#components.directory.withdraw(this.root)
    for (const neighbour of this.neighbours.values()) this.#dismiss(neighbour, 'closed', 'leaving')
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
    const { bans, clock, log } = this.#components
    log.info('neighbour %p of image %s is dropped: %s', neighbour.peerId, this.image, reason)
    if (banMs > 0) bans.add(neighbour.peerId, clock.monotonic() + banMs)
    this.#dismiss(neighbour, reason, reason === 'lied' ? 'violation' : 'leaving')
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
    return new SwarmLink(opened, this.#components.clock, this.#parts.link)
  }

  #pagesRefusal(): GoodbyeReason | undefined {
    if (this.#isClosed) return 'leaving'
    return this.#pageChannels < this.#options.maxPageChannels ? undefined : 'full'
  }

  /** Why a peer cannot become a neighbour over a channel that `opener` opened. */
  #refusal(peer: string, opener: string, handshake: HandshakeMessage): GoodbyeReason | undefined {
    const { bans, clock } = this.#components
    if (this.#isClosed) return 'leaving'
    if (bans.isBanned(peer, clock.monotonic())) return 'banned'
    if (handshake.chunkCount !== this.table.count) return 'violation'
    if (!handshake.wants && !this.isDownloading) return 'idle'
    const known = this.neighbours.get(peer)
    if (known === undefined) {
      return this.neighbours.size < this.#options.maxNeighbours ? undefined : 'full'
    }
    // When both dialled, both keep the channel that the lower peer id opened; from the same opener, the
    // newer one, because it knows that the older is dead.
    const isNewer = known.opener === opener
    return isNewer || opener < known.opener ? undefined : 'duplicate'
  }

  #join(link: SwarmLink, opened: IntroducedChannel, opener: string): Neighbour {
    const { events } = this.#components
    const meeting = { link, opener, handshake: opened.handshake }
    const neighbour = new Neighbour(meeting, this.table, this.#parts.scorecard)
    const peer = neighbour.peerId
    const known = this.neighbours.get(peer)
    if (known !== undefined) this.#dismiss(known, 'duplicate', 'duplicate')
    const others = this.#exchangeFor(peer)
    this.neighbours.set(peer, neighbour)
    const holds = neighbour.holds
    this.#slots.set(neighbour, new UploadSlot(this.#components.uploads, this, link, holds))
    if (neighbour.wants && !neighbour.holdsAll) this.spread.join(peer, neighbour.held)
    this.#dialling.joined(peer)
    this.#newcomers.push({ peerId: peer, addresses: neighbour.addresses })
    this.#usedMs = this.#components.clock.monotonic()
    events.emit({ event: 'neighbour-joined', image: this.image, peer })
    if (neighbour.wants && others.length > 0) link.post({ type: 'peers', peers: others })
    this.#downloader?.joined(neighbour)
    return neighbour
  }

  async #serve(neighbour: Neighbour): Promise<void> {
    const { log, bans, clock } = this.#components
    try {
      await neighbour.link.run((message) => this.#handle(neighbour, message))
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('neighbour %p of image %s: %e', neighbour.peerId, this.image, error)
      if (isViolation(error)) {
        neighbour.leaving ??= 'violation'
        bans.add(neighbour.peerId, clock.monotonic() + VIOLATION_BAN_MS)
      }
    } finally {
      const slot = this.#slots.get(neighbour)
      this.#remove(neighbour, neighbour.leaving ?? 'ended')
      await slot?.stopped()
      this.#slots.delete(neighbour)
    }
  }

  async #servePages(link: SwarmLink): Promise<void> {
    this.#pageChannels++
    const expire = setDeadline(this.#components.clock, this.#options.silenceMs, link)
    try {
      await link.run((message) => {
        if (message.type !== 'pages') {
          throw new ProtocolViolationError(link.peerId, `${message.type} where pages were wanted`)
        }
        this.#pages.answer(link, message)
      })
    } finally {
      expire()
      this.#pageChannels--
    }
  }

  #handle(neighbour: Neighbour, message: SwarmMessage): void {
    const slot = this.#slots.get(neighbour)
    switch (message.type) {
      case 'have':
        this.#gained(neighbour, message.indexes)
        break
      case 'request':
      case 'any':
        slot?.ask(message)
        break
      case 'cancel':
        slot?.cancel(message.request)
        break
      case 'chunk':
        if (neighbour.leaving === undefined) this.#fetching(neighbour).receive(neighbour, message)
        break
      case 'reject':
        if (neighbour.leaving !== undefined) break
        this.#fetching(neighbour).rejected(neighbour, message.request, message.reason)
        break
      case 'peers':
        this.#dialling.exchanged(message.peers)
        if (this.isDownloading) this.#dialling.tick()
        break
      case 'pages':
        this.#pages.answer(neighbour.link, message)
        break
      case 'wants':
        this.#changedWants(neighbour, message.wants)
        break
      case 'goodbye':
        this.#remove(neighbour, 'goodbye')
        this.#dialling.refused(neighbour.peerId, message.reason)
        break
      case 'handshake':
      case 'page':
        throw new ProtocolViolationError(neighbour.peerId, `${message.type} out of place`)
    }
  }

  #fetching(neighbour: Neighbour): Downloader {
    if (this.#downloader !== undefined) return this.#downloader
    throw new ProtocolViolationError(neighbour.peerId, 'an answer to no request')
  }

  #gained(neighbour: Neighbour, chunks: readonly number[]): void {
    const news: number[] = []
    for (const chunk of chunks) {
      if (chunk >= this.table.count || !this.table.isDistinct(chunk)) {
        throw new ProtocolViolationError(neighbour.peerId, `chunk ${chunk} cannot be announced`)
      }
      if (!neighbour.gained(chunk)) continue
      this.spread.add(neighbour.peerId, chunk)
      news.push(chunk)
    }
    if (neighbour.holdsAll) this.spread.leave(neighbour.peerId)
    if (news.length > 0) this.#downloader?.gained(neighbour, news)
  }

  #changedWants(neighbour: Neighbour, wants: boolean): void {
    neighbour.wants = wants
    if (wants && !neighbour.holdsAll) this.spread.join(neighbour.peerId, neighbour.held)
    else this.spread.leave(neighbour.peerId)
  }

  #tellWants(wants: boolean): void {
    for (const { link } of this.neighbours.values()) link.post({ type: 'wants', wants })
  }

  /** Says goodbye to a neighbour that is none any more from now on. */
  #dismiss(neighbour: Neighbour, reason: LeaveReason, goodbye: GoodbyeReason): void {
    neighbour.leaving ??= reason
    this.#remove(neighbour, reason)
    neighbour.link.close(goodbye)
  }

  #remove(neighbour: Neighbour, reason: LeaveReason): void {
    const { peerId: peer } = neighbour
    if (this.neighbours.get(peer) !== neighbour) return
    neighbour.leaving ??= reason
    this.neighbours.delete(peer)
    this.#newcomers = this.#newcomers.filter(({ peerId }) => peerId !== peer)
    this.spread.leave(peer)
    this.#dialling.left(peer)
    this.#usedMs = this.#components.clock.monotonic()
    this.#components.events.emit({ event: 'neighbour-left', image: this.image, peer, reason })
    this.#downloader?.left(neighbour)
  }

  /** Neighbours that another one may like to know, a random few if there are many. */
  #exchangeFor(peer: string): ExchangedPeer[] {
    const { random } = this.#components
    return this.neighbours
      .values()
      .filter(({ peerId }) => peerId !== peer)
      .map(({ peerId, addresses }) => ({ peerId, addresses, rank: random() }))
      .toArray()
      .toSorted((left, right) => left.rank - right.rank)
      .slice(0, MAX_EXCHANGED_PEERS)
      .map(({ peerId, addresses }) => ({ peerId, addresses }))
  }

  #scheduleTick(): void {
    this.#cancelTick?.()
    if (this.#isClosed) return
    const tickMs = this.isDownloading ? BUSY_TICK_MS : QUIET_TICK_MS
    this.#cancelTick = this.#components.clock.schedule(() => this.#tick(), tickMs)
  }

  #tick(): void {
    const nowMs = this.#components.clock.monotonic()
    for (const neighbour of Array.from(this.neighbours.values())) this.#check(neighbour, nowMs)
    if (this.isDownloading) this.#dialling.tick()
    if (nowMs - this.#exchangedMs >= this.#options.exchangeMs) this.#exchange(nowMs)
    for (const listener of this.#onTick) listener()
    this.#scheduleTick()
  }

  #check(neighbour: Neighbour, nowMs: number): void {
    const { sendTimeoutMs, silenceMs, lingerMs } = this.#options
    const { link } = neighbour
    const isStuck = nowMs - (link.sendingSinceMs ?? nowMs) > sendTimeoutMs
    if (isStuck || nowMs - link.receivedMs > silenceMs) {
      this.drop(neighbour, 'silent', 0)
      link.channel.abort(new PeerTimeoutError(link.peerId, 'for too long', silenceMs))
      return
    }
    const isWanted = this.isDownloading || neighbour.wants
    neighbour.idleSinceMs = isWanted ? undefined : (neighbour.idleSinceMs ?? nowMs)
    if (nowMs - (neighbour.idleSinceMs ?? nowMs) >= lingerMs) {
      this.#dismiss(neighbour, 'idle', 'idle')
    } else if (nowMs - link.sentMs > silenceMs / 3) link.post({ type: 'have', indexes: [] })
  }

  #exchange(nowMs: number): void {
    this.#exchangedMs = nowMs
    const newcomers = this.#newcomers.splice(0).slice(-MAX_EXCHANGED_PEERS)
    if (newcomers.length === 0) return
    for (const { link, peerId, wants } of this.neighbours.values()) {
      const peers = newcomers.filter((newcomer) => newcomer.peerId !== peerId)
      if (wants && peers.length > 0) link.post({ type: 'peers', peers })
    }
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

/** Ends a link that was opened for a short purpose after a while. @returns how to call it off. */
function setDeadline(clock: Clock, timeoutMs: number, link: SwarmLink): Cancel {
  return clock.schedule(
    () => link.channel.abort(new PeerTimeoutError(link.peerId, 'to finish', timeoutMs)),
    timeoutMs
  )
}
