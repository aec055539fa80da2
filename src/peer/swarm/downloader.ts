import { verifyChunk } from '../../chunks/chunk-id.ts'
import { ChunkMismatchError } from '../../chunks/errors.ts'
import type { AbortOptions, ChunkStore } from '../../chunks/types.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { withDeadline } from '../../lib/deadline.ts'
import { KeyedWaiters } from '../../lib/keyed-waiters.ts'
import type { Counter } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import { settledOrAborted } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import { ProtocolViolationError } from '../errors.ts'
import type { ChunkMessage, RejectReason, RequestClass } from '../protocols/swarm.ts'
import type { ImageAccounts } from './accounts.ts'
import type { AskReason } from './ask-reason.ts'
import { Asker } from './asker.ts'
import { Assembly } from './assembly.ts'
import type { ChunkTable } from './chunk-table.ts'
import type { SearchState } from './dialling.ts'
import { DownloadWatch } from './download-watch.ts'
import type { Wait } from './errors.ts'
import type { LeaveReason } from './events.ts'
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
  /** Until all is there if chunks keep coming like that; undefined if nothing comes, or all is there. */
  readonly etaMs?: number
  readonly neighbours: number
  /** Present while nothing arrives: what the download waits for. */
  readonly wait?: Wait
}

/** Takes the bytes of a chunk that has come and is right. */
export type TakeChunk = (chunk: number, bytes: Uint8Array) => Promise<void>

/** What the downloader uses of the session that it belongs to. */
export interface DownloadHost {
  readonly image: string
  readonly table: ChunkTable
  readonly neighbours: ReadonlyMap<string, Neighbour>
  /** Takes the events of the image. */
  readonly accounts: ImageAccounts
  /** What is being done to find neighbours. */
  readonly search: SearchState
  isHeld(chunk: number): boolean
  /** A right chunk has come; resolves when nobody needs the array any more. Never rejects. */
  arrived(chunk: number, bytes: Uint8Array): Promise<void>
  /** A chunk is stored from now on: tell others. */
  stored(chunk: number): void
  /** Takes the array of a stored chunk, for others who may want it soon, until it calls `onFree`. */
  remember(chunk: number, bytes: Uint8Array, onFree: (bytes: Uint8Array) => void): void
  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void
  /** Looks for neighbours anew, because those that are there are of no use. */
  lookAnew(): void
}

export interface DownloaderComponents {
  readonly host: DownloadHost
  readonly store: ChunkStore
  readonly clock: Clock
  readonly random: Random
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

// What is being written when a download ends gets so long to be there.
const WRITES_END_MS = 5000
const diskStandsStill = (): Error => new Error('the disk stands still')

/** Asks neighbours for chunks until the image is whole. Belongs to one image and can run several times. */
export class Downloader {
  readonly #components: DownloaderComponents
  readonly #tickMs: number
  readonly #watch: DownloadWatch
  readonly #plan: DownloadPlan
  readonly #writes = new Set<Promise<void>>()
  readonly #waiters = new KeyedWaiters<number>()
  readonly #asker: Asker
  readonly #byteRate = new RateMeter()
  readonly #chunkRate = new RateMeter()
  #run: PromiseWithResolvers<void> | undefined
  #cancelTick: Cancel | undefined
  #bytesFromProviders = 0
  #bytesFromPeers = 0
  #foundBytes = 0

  constructor(components: DownloaderComponents, options: DownloaderOptions = {}) {
    const { tickMs = 100, stallMs, ...planOptions } = options
    const { host, random } = components
    this.#components = components
    this.#tickMs = tickMs
    const isStored = (chunk: number): boolean => host.isHeld(chunk)
    this.#plan = new DownloadPlan({ table: host.table, random, isStored }, planOptions)
    for (const neighbour of host.neighbours.values()) this.#plan.joined(neighbour)
    const onFound = (chunk: number): void => {
      this.#foundBytes += host.table.byteLength(chunk)
      this.#finishChunk(chunk)
    }
    const onAsked = (peer: string, reason: AskReason): void => host.accounts.ask(peer, reason)
    const { table, neighbours } = host
    this.#asker = new Asker({
      ...components,
      table,
      neighbours,
      plan: this.#plan,
      onAsked,
      onFound
    })
    this.#watch = new DownloadWatch(
      {
        ...components,
        plan: this.#plan,
        asker: this.#asker,
        judge: (neighbour, verdict) => this.#judge(neighbour, verdict),
        onGiveUp: (error) => this.#run?.reject(error)
      },
      { silenceMs: planOptions.silenceMs, stallMs }
    )
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
  get wait(): Wait | undefined {
    return this.isRunning ? this.#watch.wait : undefined
  }

  /** What a running download has to get, and from whom it is coming. */
  get plan(): DownloadPlan {
    return this.#plan
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
    if (this.#writes.size > 0) await this.#writesOfLastRun(signal)
    const run = Promise.withResolvers<void>()
    this.#run = run
    this.#bytesFromProviders = 0
    this.#bytesFromPeers = 0
    this.#foundBytes = 0
    this.#watch.begin()
    this.#plan.begin(clock.monotonic())
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
      this.#watch.end()
      await this.#writesEnd()
      this.#plan.end()
    }
  }

  /** A disk that stands still must not keep whoever waits for the download from hearing of it. */
  async #writesEnd(): Promise<void> {
    const { clock } = this.#components
    const ended = Promise.allSettled(this.#writes)
    const deadline = { clock, timeoutMs: WRITES_END_MS, timedOut: diskStandsStill }
    await withDeadline(async () => ended, deadline).catch(
      () => {} // those writes go on; the next run waits for them
    )
  }

  async #writesOfLastRun(signal: AbortSignal | undefined): Promise<void> {
    await settledOrAborted(Promise.allSettled(this.#writes), [signal])
    signal?.throwIfAborted()
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
    ledger.touch(neighbour.peerId, nowMs, message.part.byteLength)
    this.#watch.received(message.part.byteLength, nowMs)
    const assembly =
      neighbour.assemblies.get(request.id) ??
      new Assembly(neighbour.peerId, host.table.byteLength(message.index))
    const bytes = assembly.add(message)
    if (bytes !== message.part) neighbour.link.channel.giveBack?.(message.part)
    if (bytes === undefined) {
      neighbour.assemblies.set(request.id, assembly)
      this.#asker.ask(neighbour) // the next request, so that it is there when this chunk has gone
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
    // What it announced it has to have, unless it has lost a chunk or two; and of what was asked for
    // whatever its copies, nothing can have spread too far.
    const isUnlimited = request.reason !== 'any' && request.reason !== 'fresh'
    const isFailure = reason === 'spread' ? isUnlimited : reason !== 'cancelled'
    if (isFailure) this.#judge(neighbour, neighbour.scorecard.failed())
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
    const { host, clock } = this.#components
    const { image, table, accounts } = host
    const nowMs = clock.monotonic()
    const chunk = request.chunk ?? 0
    const came = { image, chunk, peer: neighbour.peerId, bytes: table.byteLength(chunk) }
    if (!this.isRunning || !this.#plan.isNeeded(chunk) || bytes.byteLength === 0) {
      this.#plan.ledger.settle(request)
      accounts.emit({ event: 'chunk-rejected', ...came, reason: 'not needed' })
      return
    }
    try {
      verifyChunk(table.id(chunk), bytes)
    } catch (error) {
      if (!(error instanceof ChunkMismatchError)) throw error
      accounts.emit({ event: 'chunk-rejected', ...came, reason: 'wrong bytes' })
      this.#plan.rejected(request, 'unusable', nowMs)
      this.#judge(neighbour, neighbour.scorecard.lied())
      return
    }
    neighbour.scorecard.received(bytes.byteLength, nowMs)
    this.#byteRate.add(bytes.byteLength, nowMs)
    this.#chunkRate.add(1, nowMs)
    const { requestClass, reason, issuedMs } = request
    const ms = Math.round(nowMs - issuedMs)
    const from = neighbour.isProvider ? 'provider' : 'peer'
    accounts.emit({ event: 'chunk-received', ...came, from, requestClass, reason, ms })
    for (const other of this.#plan.arrived(neighbour, request, nowMs)) {
      this.#asker.cancel(other)
      host.neighbours.get(other.peer)?.assemblies.get(other.id)?.discard()
    }
    const write = this.#store(neighbour, chunk, bytes)
    this.#writes.add(write)
    write.finally(() => this.#writes.delete(write)).catch(() => {})
  }

  async #store(neighbour: Neighbour, chunk: number, bytes: Uint8Array): Promise<void> {
    const { host, store, receivedBytes } = this.#components
    const run = this.#run
    const taken = host.arrived(chunk, bytes)
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
    if (run === this.#run) this.#plan.stored(chunk) // the plan of a run that is over has forgotten it
    this.#finishChunk(chunk)
    this.#asker.askAll()
    await taken
    host.remember(chunk, bytes, (array) => neighbour.link.channel.giveBack?.(array))
  }

  #finishChunk(chunk: number): void {
    this.#watch.stored()
    this.#components.host.stored(chunk)
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
    const nowMs = this.#components.clock.monotonic()
    this.#watch.tick(nowMs)
    this.#plan.tick(nowMs, this.#chunkRate.perSecond(nowMs))
    this.#asker.askAll()
  }

  #judge(neighbour: Neighbour, verdict: Verdict): void {
    if (verdict.action === 'keep') return
    this.#components.host.drop(neighbour, verdict.reason, verdict.banMs)
  }
}
