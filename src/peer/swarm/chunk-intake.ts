import { verifyChunk } from '../../chunks/chunk-id.ts'
import { ChunkMismatchError } from '../../chunks/errors.ts'
import type { ChunkStore } from '../../chunks/store-types.ts'
import type { Clock } from '../../lib/clock.ts'
import { withDeadline } from '../../lib/deadline.ts'
import type { Counter } from '../../lib/metrics.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import { settledOrAborted } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import { ProtocolViolationError } from '../errors.ts'
import type { ChunkMessage, RejectReason } from '../protocols/swarm.ts'
import type { Asker } from './asker.ts'
import { Assembly } from './assembly.ts'
import type { DownloadHost } from './download-types.ts'
import type { DownloadWatch } from './download-watch.ts'
import type { Neighbour } from './neighbour.ts'
import type { DownloadPlan } from './plan.ts'
import type { PendingRequest } from './requests.ts'
import type { Verdict } from './scorecard.ts'

export interface ChunkIntakeComponents {
  readonly host: DownloadHost
  readonly store: ChunkStore
  readonly clock: Clock
  readonly plan: DownloadPlan
  readonly asker: Asker
  readonly watch: DownloadWatch
  /** Counts bytes of right chunks, by `from`: `provider` or `peer`. */
  readonly receivedBytes?: Counter | undefined
  readonly judge: (neighbour: Neighbour, verdict: Verdict) => void
  /** A chunk is stored. */
  readonly onStored: (chunk: number) => void
  /** The store did not take a chunk. */
  readonly onFailed: (error: Error) => void
}

// What is being written when a download ends gets so long to be there.
const WRITES_END_MS = 5000
const diskStandsStill = (): Error => new Error('the disk stands still')

/**
 * Takes what neighbours answer: puts chunks together, verifies and stores them. What comes while no download
 * runs is dropped.
 */
export class ChunkIntake {
  readonly #components: ChunkIntakeComponents
  readonly #writes = new Set<Promise<void>>()
  readonly #byteRate = new RateMeter()
  readonly #chunkRate = new RateMeter()
  /** The download that runs. */
  #run: symbol | undefined
  #bytesFromProviders = 0
  #bytesFromPeers = 0

  constructor(components: ChunkIntakeComponents) {
    this.#components = components
  }

  /** Bytes of this run, or the last, that came from providers and from other agents. */
  get counts(): { readonly fromProviders: number; readonly fromPeers: number } {
    return { fromProviders: this.#bytesFromProviders, fromPeers: this.#bytesFromPeers }
  }

  get isWriting(): boolean {
    return this.#writes.size > 0
  }

  /** Bytes a second, of late. */
  bytesPerSecond(nowMs: number): number {
    return this.#byteRate.perSecond(nowMs)
  }

  chunksPerSecond(nowMs: number): number {
    return this.#chunkRate.perSecond(nowMs)
  }

  /** A download begins. */
  begin(): void {
    this.#run = Symbol('run')
    this.#bytesFromProviders = 0
    this.#bytesFromPeers = 0
  }

  /** The download ends; what is being written goes on. */
  end(): void {
    this.#run = undefined
  }

  /**
   * Resolves when what was being written is there, or after a while: a disk that stands still must not
   * keep whoever waits for the download from hearing of it.
   */
  async writesEnd(): Promise<void> {
    const { clock } = this.#components
    const ended = Promise.allSettled(this.#writes)
    const deadline = { clock, timeoutMs: WRITES_END_MS, timedOut: diskStandsStill }
    await withDeadline(async () => ended, deadline).catch(
      () => {} // those writes go on; the next run waits for them
    )
  }

  /** Waits for writes that did not end with the last run. @throws {unknown} `signal.reason` */
  async lastWritesEnd(signal: AbortSignal | undefined): Promise<void> {
    await settledOrAborted(Promise.allSettled(this.#writes), [signal])
    signal?.throwIfAborted()
  }

  /**
   * Takes a part of a chunk.
   *
   * @throws {ProtocolViolationError} if it answers no request or not the one that it names.
   */
  receive(neighbour: Neighbour, message: ChunkMessage): void {
    const { host, clock, plan, watch, asker } = this.#components
    const nowMs = clock.monotonic()
    const { ledger } = plan
    const request = this.#bind(neighbour, message)
    ledger.touch(neighbour.peerId, nowMs, message.part.byteLength)
    watch.received(message.part.byteLength, nowMs)
    const assembly =
      neighbour.assemblies.get(request.id) ??
      new Assembly(neighbour.peerId, host.table.byteLength(message.index))
    const bytes = assembly.add(message)
    if (bytes !== message.part) neighbour.link.channel.giveBack?.(message.part)
    if (bytes === undefined) {
      neighbour.assemblies.set(request.id, assembly)
      asker.ask(neighbour) // the next request, so that it is there when this chunk has gone
      return
    }
    neighbour.assemblies.delete(request.id)
    this.#take(neighbour, request, bytes)
    asker.ask(neighbour)
  }

  /** Takes the answer that there will be no chunk. @throws {ProtocolViolationError} if nothing was asked. */
  rejected(neighbour: Neighbour, id: number, reason: RejectReason): void {
    const { clock, plan, asker, judge } = this.#components
    const nowMs = clock.monotonic()
    const request = this.#find(neighbour, id)
    neighbour.assemblies.delete(id)
    plan.ledger.touch(neighbour.peerId, nowMs)
    plan.rejected(request, reason, nowMs)
    if (reason === 'notHeld' && request.chunk !== undefined && neighbour.lacks(request.chunk)) {
      plan.lost(neighbour, request.chunk)
    }
    // What it announced it has to have, unless it has lost a chunk or two; and of what was asked for
    // whatever its copies, nothing can have spread too far.
    const isUnlimited = request.reason !== 'any' && request.reason !== 'fresh'
    const isFailure = reason === 'spread' ? isUnlimited : reason !== 'cancelled'
    if (isFailure) judge(neighbour, neighbour.scorecard.failed())
    asker.ask(neighbour)
  }

  #find(neighbour: Neighbour, id: number): PendingRequest {
    const request = this.#components.plan.ledger.find(neighbour.peerId, id)
    if (request !== undefined) return request
    throw new ProtocolViolationError(neighbour.peerId, `request ${id} was not made`)
  }

  /** The request that a part answers, with its chunk, which the neighbour may only now have told. */
  #bind(neighbour: Neighbour, message: ChunkMessage): PendingRequest {
    const { request: id, index } = message
    const request = this.#find(neighbour, id)
    if (request.chunk === index) return request
    const { host, plan } = this.#components
    const { table } = host
    if (request.chunk !== undefined || index >= table.count || !table.isDistinct(index)) {
      throw new ProtocolViolationError(neighbour.peerId, `chunk ${index} was not asked for`)
    }
    return plan.bound(request, index)
  }

  #take(neighbour: Neighbour, request: PendingRequest, bytes: Uint8Array): void {
    const { host, clock, plan, asker, judge } = this.#components
    const { image, table, accounts } = host
    const nowMs = clock.monotonic()
    const chunk = request.chunk ?? 0
    const came = { image, chunk, peer: neighbour.peerId, bytes: table.byteLength(chunk) }
    if (this.#run === undefined || !plan.isNeeded(chunk) || bytes.byteLength === 0) {
      plan.ledger.settle(request)
      accounts.emit({ event: 'chunk-rejected', ...came, reason: 'not needed' })
      return
    }
    try {
      verifyChunk(table.id(chunk), bytes)
    } catch (error) {
      if (!(error instanceof ChunkMismatchError)) throw error
      accounts.emit({ event: 'chunk-rejected', ...came, reason: 'wrong bytes' })
      plan.rejected(request, 'unusable', nowMs)
      judge(neighbour, neighbour.scorecard.lied())
      return
    }
    neighbour.scorecard.received(bytes.byteLength, nowMs)
    this.#byteRate.add(bytes.byteLength, nowMs)
    this.#chunkRate.add(1, nowMs)
    const { requestClass, reason, issuedMs } = request
    const ms = Math.round(nowMs - issuedMs)
    const from = neighbour.isProvider ? 'provider' : 'peer'
    accounts.emit({ event: 'chunk-received', ...came, from, requestClass, reason, ms })
    for (const other of plan.arrived(neighbour, request, nowMs)) {
      asker.cancel(other)
      host.neighbours.get(other.peer)?.assemblies.get(other.id)?.discard()
    }
    const write = this.#store(neighbour, chunk, bytes)
    this.#writes.add(write)
    write.finally(() => this.#writes.delete(write)).catch(() => {})
  }

  async #store(neighbour: Neighbour, chunk: number, bytes: Uint8Array): Promise<void> {
    const { host, store, plan, asker, receivedBytes, onStored, onFailed } = this.#components
    const run = this.#run
    const taken = host.arrived(chunk, bytes)
    try {
      await store.put(host.table.id(chunk), bytes)
    } catch (error) {
      onFailed(toError(error))
      return
    }
    const { isProvider } = neighbour
    if (isProvider) this.#bytesFromProviders += bytes.byteLength
    else this.#bytesFromPeers += bytes.byteLength
    receivedBytes?.add(bytes.byteLength, { from: isProvider ? 'provider' : 'peer' })
    if (run === this.#run) plan.stored(chunk) // the plan of a run that is over has forgotten it
    onStored(chunk)
    asker.askAll()
    await taken
    host.remember(chunk, bytes, (array) => neighbour.link.channel.giveBack?.(array))
  }
}
