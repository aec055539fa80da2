import { verifyChunk } from '../../chunks/chunk-id.ts'
import { ChunkMismatchError } from '../../chunks/errors.ts'
import type { AbortOptions, ChunkStore } from '../../chunks/types.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import type { EventLog } from '../../lib/events.ts'
import { KeyedWaiters } from '../../lib/keyed-waiters.ts'
import type { Counter } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import { settledOrAborted } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { ProtocolViolationError } from '../errors.ts'
import type { ChunkMessage, RejectReason, RequestClass } from '../protocols/swarm.ts'
import { Asker } from './asker.ts'
import { Assembly } from './assembly.ts'
import type { ChunkTable } from './chunk-table.ts'
import { DownloadStalledError, type WaitReason } from './errors.ts'
import type { LeaveReason, SwarmEvent } from './events.ts'
import type { Neighbour } from './neighbour.ts'
import { DownloadPlan, type DownloadPlanOptions } from './plan.ts'
import type { PendingRequest } from './requests.ts'
import type { Verdict } from './scorecard.ts'

/** How far a download is; the byte counts add up to the image's size when it is done. */
export interface DownloadProgress {
  readonly bytesFromProviders: number
  readonly bytesFromPeers: number
  /** Held before: from other versions or images, or twice in this one. */
  readonly bytesReused: number
  readonly zeroBytes: number
  readonly chunksDone: number
  readonly chunksTotal: number
  /** Bytes that came, of late. */
  readonly ratePerSecond: number
  readonly neighbours: number
  /** Present while nothing arrives: what the download waits for. */
  readonly waitingFor?: WaitReason
}

/** What the downloader uses of the session that it belongs to. */
export interface DownloadHost {
  readonly image: string
  readonly table: ChunkTable
  readonly neighbours: ReadonlyMap<string, Neighbour>
  isHeld(chunk: number): boolean
  /** A chunk is stored from now on: tell others. */
  stored(chunk: number): void
  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void
}

export interface DownloaderComponents {
  readonly host: DownloadHost
  readonly store: ChunkStore
  readonly clock: Clock
  readonly random: Random
  readonly events: EventLog<SwarmEvent>
  /** Download rate of the whole agent. */
  readonly limiter: TokenBucket
  /** Counts bytes of right chunks, by `from`: `provider` or `peer`. */
  readonly receivedBytes?: Counter | undefined
}

export interface DownloaderOptions extends DownloadPlanOptions {
  /** How often time-outs are looked at. @default 100 ms */
  readonly tickMs?: number
  /** A download fails when nothing has come for this long. @default 120_000 */
  readonly stallMs?: number
}

// A wait shorter than this has no name.
const WAITING_AFTER_MS = 1000

/** Asks neighbours for chunks until the image is whole. Belongs to one image and can run several times. */
export class Downloader {
  readonly #components: DownloaderComponents
  readonly #tickMs: number
  readonly #stallMs: number
  readonly #plan: DownloadPlan
  readonly #writes = new Set<Promise<void>>()
  readonly #waiters = new KeyedWaiters<number>()
  readonly #asker: Asker
  readonly #byteRate = new RateMeter()
  readonly #chunkRate = new RateMeter()
  #run: PromiseWithResolvers<void> | undefined
  #cancelTick: Cancel | undefined
  #progressedMs = 0
  #waitingFor: WaitReason | undefined
  #bytesFromProviders = 0
  #bytesFromPeers = 0
  #foundBytes = 0

  constructor(components: DownloaderComponents, options: DownloaderOptions = {}) {
    const { tickMs = 100, stallMs = 120_000, ...planOptions } = options
    const { host, random } = components
    this.#components = components
    this.#tickMs = tickMs
    this.#stallMs = stallMs
    const isStored = (chunk: number): boolean => host.isHeld(chunk)
    this.#plan = new DownloadPlan({ table: host.table, random, isStored }, planOptions)
    for (const neighbour of host.neighbours.values()) this.#plan.joined(neighbour)
    const onFound = (chunk: number): void => {
      this.#foundBytes += host.table.byteLength(chunk)
      this.#finishChunk(chunk)
    }
    const { table, neighbours } = host
    this.#asker = new Asker({ ...components, table, neighbours, plan: this.#plan, onFound })
  }

  get isRunning(): boolean {
    return this.#run !== undefined
  }

  /** Bytes that came from providers and from other agents, and that turned up in the store meanwhile. */
  get counts(): { fromProviders: number; fromPeers: number; found: number } {
    return {
      fromProviders: this.#bytesFromProviders,
      fromPeers: this.#bytesFromPeers,
      found: this.#foundBytes
    }
  }

  /** What a running download waits for, if nothing has come for a while. */
  get waitingFor(): WaitReason | undefined {
    return this.#waitingFor
  }

  /** Bytes a second, of late. */
  get ratePerSecond(): number {
    return this.#byteRate.perSecond(this.#components.clock.monotonic())
  }

  /** Bytes that a neighbour has been asked for and not sent. */
  inFlightBytes(peer: string): number {
    return this.#plan.ledger.bytesOf(peer)
  }

  /**
   * Fetches every chunk that the session does not hold.
   *
   * @throws {DownloadStalledError} if nothing came for too long.
   * @throws {StoreFullError | StoreFailedError} if the store does not take a chunk.
   * @throws {unknown} `signal.reason` if aborted.
   */
  async fetchAll(options: AbortOptions = {}): Promise<void> {
    const { host, clock } = this.#components
    const { signal } = options
    signal?.throwIfAborted()
    if (this.#run !== undefined) throw new Error('the download is running')
    const run = Promise.withResolvers<void>()
    this.#run = run
    this.#bytesFromProviders = 0
    this.#bytesFromPeers = 0
    this.#foundBytes = 0
    this.#progressedMs = clock.monotonic()
    this.#plan.begin(this.#progressedMs)
    for (const chunk of host.table.distinct()) if (!host.isHeld(chunk)) this.#plan.want(chunk)
    if (this.#plan.missing === 0) run.resolve()
    this.#scheduleTick()
    this.#asker.start()
    try {
      await settledOrAborted(run.promise, [signal])
      signal?.throwIfAborted()
    } finally {
      this.#run = undefined
      this.#cancelTick?.()
      this.#asker.stop()
      await Promise.allSettled(this.#writes)
      this.#plan.end()
    }
  }

  /** A chunk that was stored is gone; a running download fetches it again. */
  want(chunk: number): void {
    if (this.isRunning) this.#plan.want(chunk)
  }

  /** Asks for missing chunks before others. @returns false if too many are asked for already. */
  prioritise(chunks: readonly number[], requestClass: RequestClass): boolean {
    const missing = chunks.filter((chunk) => !this.#components.host.isHeld(chunk))
    const hadRoom = this.#plan.picker.prioritise(missing, requestClass)
    if (this.isRunning) this.#asker.askAll()
    return hadRoom
  }

  /** Resolves when a chunk is stored. @throws {unknown} `signal.reason` if aborted first. */
  async whenStored(chunk: number, options: AbortOptions = {}): Promise<void> {
    if (this.#components.host.isHeld(chunk)) return
    await this.#waiters.wait(chunk, options)
  }

  joined(neighbour: Neighbour): void {
    this.#plan.joined(neighbour)
    this.#asker.ask(neighbour)
  }

  left(neighbour: Neighbour): void {
    this.#plan.left(neighbour, this.#components.clock.monotonic())
    this.#asker.askAll()
  }

  /** A neighbour announced chunks that it did not have before. */
  gained(neighbour: Neighbour, chunks: readonly number[]): void {
    for (const chunk of chunks) this.#plan.gained(neighbour, chunk)
    this.#asker.ask(neighbour)
  }

  /**
   * Takes a part of a chunk.
   *
   * @throws {ProtocolViolationError} if it answers no request or not the one that it names.
   */
  receive(neighbour: Neighbour, message: ChunkMessage): void {
    const { host, clock } = this.#components
    const nowMs = clock.monotonic()
    const { ledger } = this.#plan
    const request = this.#bind(neighbour, message)
    ledger.touch(neighbour.peerId, nowMs)
    const assembly =
      neighbour.assemblies.get(request.id) ??
      new Assembly(neighbour.peerId, host.table.byteLength(message.index))
    const bytes = assembly.add(message)
    if (bytes === undefined) {
      neighbour.assemblies.set(request.id, assembly)
      return
    }
    neighbour.assemblies.delete(request.id)
    this.#take(neighbour, request, bytes)
    this.#asker.ask(neighbour)
  }

  /** Takes the answer that there will be no chunk. @throws {ProtocolViolationError} if nothing was asked. */
  rejected(neighbour: Neighbour, id: number, reason: RejectReason): void {
    const nowMs = this.#components.clock.monotonic()
    const request = this.#find(neighbour, id)
    neighbour.assemblies.delete(id)
    this.#plan.ledger.touch(neighbour.peerId, nowMs)
    this.#plan.rejected(request, reason, nowMs)
    if (reason === 'notHeld' && request.chunk !== undefined && neighbour.lacks(request.chunk)) {
      this.#plan.lost(neighbour, request.chunk)
    }
    if (reason === 'failed') this.#judge(neighbour, neighbour.scorecard.failed())
    this.#asker.ask(neighbour)
  }

  #find(neighbour: Neighbour, id: number): PendingRequest {
    const request = this.#plan.ledger.find(neighbour.peerId, id)
    if (request !== undefined) return request
    throw new ProtocolViolationError(neighbour.peerId, `request ${id} was not made`)
  }

  /** The request that a part answers, with its chunk, which the neighbour may only now have told. */
  #bind(neighbour: Neighbour, message: ChunkMessage): PendingRequest {
    const { request: id, index } = message
    const request = this.#find(neighbour, id)
    if (request.chunk === index) return request
    const { table } = this.#components.host
    if (request.chunk !== undefined || index >= table.count || !table.isDistinct(index)) {
      throw new ProtocolViolationError(neighbour.peerId, `chunk ${index} was not asked for`)
    }
    return this.#plan.bound(request, index)
  }

  #take(neighbour: Neighbour, request: PendingRequest, bytes: Uint8Array): void {
    const { host, clock, events } = this.#components
    const { image, table } = host
    const { peerId } = neighbour
    const nowMs = clock.monotonic()
    const chunk = request.chunk ?? 0
    if (!this.isRunning || !this.#plan.isNeeded(chunk)) {
      this.#plan.ledger.settle(request)
      events.emit({ event: 'chunk-rejected', image, chunk, peer: peerId, reason: 'not needed' })
      return
    }
    try {
      verifyChunk(table.id(chunk), bytes)
    } catch (error) {
      if (!(error instanceof ChunkMismatchError)) throw error
      events.emit({ event: 'chunk-rejected', image, chunk, peer: peerId, reason: 'wrong bytes' })
      this.#plan.rejected(request, 'unusable', nowMs)
      this.#judge(neighbour, neighbour.scorecard.lied())
      return
    }
    neighbour.scorecard.received(bytes.byteLength, nowMs)
    this.#byteRate.add(bytes.byteLength, nowMs)
    this.#chunkRate.add(1, nowMs)
    const ms = Math.round(nowMs - request.issuedMs)
    const received = { image, chunk, peer: peerId, bytes: bytes.byteLength, ms }
    events.emit({ event: 'chunk-received', ...received })
    for (const other of this.#plan.arrived(neighbour, request, nowMs)) this.#asker.cancel(other)
    const write = this.#store(neighbour, chunk, bytes)
    this.#writes.add(write)
    write.finally(() => this.#writes.delete(write)).catch(() => {})
  }

  async #store(neighbour: Neighbour, chunk: number, bytes: Uint8Array): Promise<void> {
    const { host, store, receivedBytes } = this.#components
    try {
      await store.put(host.table.id(chunk), bytes)
    } catch (error) {
      this.#run?.reject(toError(error))
      return
    }
    const { isProvider } = neighbour
    if (isProvider) this.#bytesFromProviders += bytes.byteLength
    else this.#bytesFromPeers += bytes.byteLength
    receivedBytes?.add(bytes.byteLength, { from: isProvider ? 'provider' : 'peer' })
    this.#plan.stored(chunk)
    this.#finishChunk(chunk)
    this.#asker.askAll()
  }

  #finishChunk(chunk: number): void {
    const { host, clock } = this.#components
    this.#progressedMs = clock.monotonic()
    host.stored(chunk)
    this.#waiters.resolve(chunk)
    if (this.#plan.missing === 0) this.#run?.resolve()
  }

  #scheduleTick(): void {
    this.#cancelTick = this.#components.clock.schedule(() => {
      this.#scheduleTick()
      this.#tick()
    }, this.#tickMs)
  }

  #tick(): void {
    const { clock, host } = this.#components
    const nowMs = clock.monotonic()
    for (const peer of this.#plan.ledger.silent(nowMs)) {
      const neighbour = host.neighbours.get(peer)
      this.#asker.takeBack(peer)
      if (neighbour !== undefined) this.#judge(neighbour, neighbour.scorecard.failed())
    }
    this.#plan.tick(nowMs, this.#chunkRate.perSecond(nowMs))
    this.#noteWaiting(nowMs)
    this.#asker.askAll()
  }

  #noteWaiting(nowMs: number): void {
    const { events, host } = this.#components
    const waitedMs = nowMs - this.#progressedMs
    const reason = waitedMs < WAITING_AFTER_MS ? undefined : this.#waitReason()
    if (reason !== undefined && reason !== this.#waitingFor) {
      events.emit({ event: 'download-waiting', image: host.image, reason })
    }
    this.#waitingFor = reason
    if (reason === undefined || waitedMs < this.#stallMs) return
    this.#run?.reject(new DownloadStalledError(host.image, reason, waitedMs))
  }

  #waitReason(): WaitReason {
    const { host } = this.#components
    if (this.#asker.isLimited) return 'rate limit'
    if (this.#plan.storingCount > 0) return 'disk'
    if (host.neighbours.size === 0) return 'neighbours'
    return this.#plan.ledger.bytes > 0 ? 'answers' : 'chunks'
  }

  #judge(neighbour: Neighbour, verdict: Verdict): void {
    if (verdict.action === 'keep') return
    this.#components.host.drop(neighbour, verdict.reason, verdict.banMs)
  }
}
