import type { ChunkStore } from '../../chunks/store-types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { KeyedWaiters } from '../../lib/keyed-waiters.ts'
import type { Counter } from '../../lib/metrics.ts'
import type { Random } from '../../lib/random.ts'
import { settledOrAborted } from '../../lib/signals.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import type { ChunkMessage, RejectReason, RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'
import { Asker } from './asker.ts'
import { ChunkIntake } from './chunk-intake.ts'
import type { DownloadHost } from './download-types.ts'
import { DownloadWatch } from './download-watch.ts'
import type { Wait } from './errors.ts'
import type { Neighbour } from './neighbour.ts'
import { DownloadPlan, type DownloadPlanOptions } from './plan.ts'
import type { Verdict } from './scorecard.ts'

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

/** Asks neighbours for chunks until the image is whole. Belongs to one image and can run several times. */
export class Downloader {
  readonly #components: DownloaderComponents
  readonly #tickMs: number
  readonly #watch: DownloadWatch
  readonly #plan: DownloadPlan
  readonly #waiters = new KeyedWaiters<number>()
  readonly #asker: Asker
  readonly #intake: ChunkIntake
  #run: PromiseWithResolvers<void> | undefined
  #cancelTick: Cancel | undefined
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
    const judge = (neighbour: Neighbour, verdict: Verdict): void => {
      if (verdict.action !== 'keep') host.drop(neighbour, verdict.reason, verdict.banMs)
    }
    this.#watch = new DownloadWatch(
      {
        ...components,
        plan: this.#plan,
        asker: this.#asker,
        judge,
        onGiveUp: (error) => this.#run?.reject(error)
      },
      { silenceMs: planOptions.silenceMs, stallMs }
    )
    this.#intake = new ChunkIntake({
      ...components,
      plan: this.#plan,
      asker: this.#asker,
      watch: this.#watch,
      judge,
      onStored: (chunk) => this.#finishChunk(chunk),
      onFailed: (error) => this.#run?.reject(error)
    })
  }

  get isRunning(): boolean {
    return this.#run !== undefined
  }

  /** Bytes that came from providers and from other agents, and that turned up in the store meanwhile. */
  get counts(): { fromProviders: number; fromPeers: number; found: number } {
    return { ...this.#intake.counts, found: this.#foundBytes }
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
    return this.#intake.bytesPerSecond(this.#components.clock.monotonic())
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
    if (this.#intake.isWriting) await this.#intake.lastWritesEnd(signal)
    const run = Promise.withResolvers<void>()
    this.#run = run
    this.#intake.begin()
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
      this.#intake.end()
      this.#cancelTick?.()
      this.#asker.stop()
      this.#watch.end()
      await this.#intake.writesEnd()
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

  /** Takes a part of a chunk. @throws {ProtocolViolationError} if it answers no request. */
  receive(neighbour: Neighbour, message: ChunkMessage): void {
    this.#intake.receive(neighbour, message)
  }

  /** Takes the answer that there will be no chunk. @throws {ProtocolViolationError} if nothing was asked. */
  rejected(neighbour: Neighbour, id: number, reason: RejectReason): void {
    this.#intake.rejected(neighbour, id, reason)
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
    this.#plan.tick(nowMs, this.#intake.chunksPerSecond(nowMs))
    this.#asker.askAll()
  }
}
