import type { ChunkStore } from '../../chunks/store-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import type { EventLog } from '../../lib/events.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import type { Bans } from '../bans.ts'
import type { SwarmMessage } from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import { ImageAccounts } from './accounts.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Dialling, type DiallingHost, type DiallingOptions, type SearchState } from './dialling.ts'
import type { DownloadHost, TakeChunk } from './download-types.ts'
import { Downloader, type DownloaderOptions } from './downloader.ts'
import { Encounters, type EncountersHost, type EncountersOptions } from './encounters.ts'
import type { LeaveReason, SwarmEvent } from './events.ts'
import { Holdings } from './holdings.ts'
import { Inbound } from './inbound.ts'
import { loadOf, type SessionLoad } from './load.ts'
import type { IntroducedChannel } from './meeting.ts'
import type { Neighbour } from './neighbour.ts'
import { Neighbourhood, type NeighbourhoodOptions } from './neighbourhood.ts'
import { PageServer, type PageServerOptions } from './page-server.ts'
import { Spread } from './spread.ts'
import type { SwarmMetrics } from './swarm-metrics.ts'
import { Tasks } from './tasks.ts'
import { UploadSlot } from './upload-slot.ts'
import type { UploadImage, Uploads } from './uploads.ts'

/** What all images of an agent share. */
export interface SessionComponents {
  readonly node: PeerNode
  /** Failure domain of this agent; empty or absent if it is not to be told. */
  readonly zone?: string | undefined
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
  /** Counts channels that were turned away, by `reason`. */
  readonly refused?: Counter | undefined
  readonly metrics?: SwarmMetrics | undefined
}

export interface SessionOptions extends NeighbourhoodOptions, PageServerOptions, EncountersOptions {
  readonly dialling?: DiallingOptions
  readonly download?: DownloaderOptions
}

const BUSY_TICK_MS = 250
const QUIET_TICK_MS = 5000
const REFRESH_MS = 5000
const WANTED_REFRESH_MS = 1000
const USELESS_RETRY_MS = 30_000

/**
 * One image on this agent: who its neighbours are, what they and this agent hold, serving it, and (while
 * a download runs) fetching it.
 */
export class ImageSession implements DownloadHost, UploadImage, DiallingHost, EncountersHost {
  readonly root: ChunkId
  /** The manifest root in hexadecimal. */
  readonly image: string
  readonly table: ChunkTable
  readonly holdings: Holdings
  readonly spread: Spread
  /** Who sent what and why, and what downloads waited for; takes all events of the image. */
  readonly accounts: ImageAccounts
  /** Whoever is given chunks that come. */
  readonly takers = new Set<TakeChunk>()
  readonly #components: SessionComponents
  readonly #options: SessionOptions
  readonly #neighbourhood: Neighbourhood
  readonly #slots = new Map<Neighbour, UploadSlot>()
  readonly #dialling: Dialling
  readonly #pages: PageServer
  readonly #inbound: Inbound
  readonly #encounters: Encounters
  readonly #tasks: Tasks
  readonly #onTick = new Set<() => void>()
  #downloader: Downloader | undefined
  #cancelTick: Cancel | undefined
  #refreshedMs = -Infinity
  /** Downloads that are about to begin: whoever is met already is to know. */
  #startingCount = 0

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
    const wants = (): boolean => this.wants
    const isUseless = (neighbour: Neighbour): boolean => this.#isUseless(neighbour)
    const onLeft = (neighbour: Neighbour): void => this.#left(neighbour)
    const { image } = this
    this.accounts = new ImageAccounts(components)
    const events = this.accounts
    this.#neighbourhood = new Neighbourhood(
      { ...components, events, image, wants, isUseless, onLeft },
      options
    )
    this.#tasks = new Tasks(log)
    const [neighbourhood, pages, tasks] = [this.#neighbourhood, this.#pages, this.#tasks]
    const meeting = { ...components, host: this, neighbourhood, pages, tasks }
    this.#encounters = new Encounters(meeting, options)
    const parts = { host: this, node, directory, clock, random, bans, log }
    this.#dialling = new Dialling(parts, options.dialling)
    this.#inbound = new Inbound({
      clock,
      table,
      isHeld: (chunk) => this.isHeld(chunk),
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

  get wants(): boolean {
    return this.isDownloading || this.#startingCount > 0
  }

  get downloader(): Downloader | undefined {
    return this.#downloader
  }

  get search(): SearchState {
    return this.#dialling.state
  }

  /** Requests of a neighbour that wait for their chunk. */
  waitingRequests(neighbour: Neighbour): number {
    return this.#slots.get(neighbour)?.pendingCount ?? 0
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
    await this.refresh(REFRESH_MS)
    await this.#encounters.accept(opened)
  }

  /** Opens a channel to a peer and makes it a neighbour. */
  async visit(peerId: string, options: AbortOptions): Promise<void> {
    await this.#encounters.visit(peerId, options)
  }

  /** What is kept for others at this moment. */
  get load(): SessionLoad {
    return loadOf(this, this.#slots, this.#dialling.candidateCount)
  }

  /** Starts or joins looking for others; `sources` are dialled first. */
  look(sources: readonly string[]): void {
    this.#dialling.add(sources, 'source')
    this.#dialling.tick()
  }

  /** Fetches what is missing. @throws what `Downloader.fetchAll` throws. */
  async fetchAll(options: AbortOptions = {}): Promise<void> {
    this.#startingCount++
    try {
      await this.refresh()
    } finally {
      this.#startingCount--
    }
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
    await this.#tasks.ended()
  }

  get zone(): string {
    return this.#components.zone ?? ''
  }

  dismissUseless(): void {
    const useless = this.neighbours.values().find((one) => one.isSource && this.#isUseless(one))
    if (useless === undefined) return
    this.#neighbourhood.dismiss(useless, 'idle', 'idle')
    this.#dialling.left(useless.peerId, USELESS_RETRY_MS)
  }

  joined(neighbour: Neighbour): void {
    const { peerId, holds, link, zone } = neighbour
    this.#slots.set(neighbour, new UploadSlot(this.#components.uploads, this, link, holds))
    if (neighbour.wants && !neighbour.holdsAll) this.spread.join(peerId, neighbour.held)
    this.#dialling.joined(peerId, zone)
    this.#downloader?.joined(neighbour)
  }

  handle(neighbour: Neighbour, message: SwarmMessage): void {
    this.#inbound.handle(neighbour, message)
  }

  async parted(neighbour: Neighbour): Promise<void> {
    await this.#slots.get(neighbour)?.stopped()
    this.#slots.delete(neighbour)
  }

  isNeighbour(peerId: string): boolean {
    return this.neighbours.has(peerId)
  }

  isHeld(chunk: number): boolean {
    return this.holdings.has(chunk)
  }

  async arrived(chunk: number, bytes: Uint8Array): Promise<void> {
    await Promise.all(Array.from(this.takers, async (take) => take(chunk, bytes)))
  }

  stored(chunk: number): void {
    if (this.holdings.add(chunk)) this.#announce(chunk)
  }

  remember(chunk: number, bytes: Uint8Array, onFree: (bytes: Uint8Array) => void): void {
    this.#components.uploads.recent.add(this.table.id(chunk), bytes, onFree)
  }

  lost(chunk: number): void {
    if (!this.holdings.remove(chunk)) return
    this.#components.log.error('chunk %d of image %s is gone from the store', chunk, this.image)
    this.spread.unhold(chunk)
    this.#downloader?.want(chunk)
  }

  sent(peer: string, chunk: number): void {
    const bytes = this.table.byteLength(chunk)
    this.accounts.emit({ event: 'chunk-sent', image: this.image, chunk, peer, bytes })
  }

  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void {
    this.#neighbourhood.drop(neighbour, reason, banMs)
  }

  lookAnew(): void {
    this.#dialling.hurry()
  }

  /** Nothing that the neighbour holds is missing here. */
  #isUseless(neighbour: Neighbour): boolean {
    const { holdings } = this
    return !this.wants || holdings.hasAll || neighbour.held.ones().every((one) => holdings.has(one))
  }

  #announce(chunk: number): void {
    this.spread.hold(chunk)
    for (const { link, wants, holds } of this.neighbours.values()) {
      link.announce([chunk], wants && !holds(chunk))
    }
  }

  #left(neighbour: Neighbour): void {
    this.spread.leave(neighbour.peerId)
    this.#dialling.left(neighbour.peerId)
    this.#downloader?.left(neighbour)
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
    this.#tasks.track(this.refresh(minimumAgeMs))
  }
}
