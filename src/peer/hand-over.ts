import { abortable } from '../lib/abortable.ts'
import { MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Gauge, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { TokenBucket } from '../lib/token-bucket.ts'
import { Wakeup } from '../lib/wakeup.ts'
import type { KeptMetadata } from '../metadata/store-types.ts'
import { HandOverPass, type HandOverReport } from './remote/hand-over-pass.ts'
import { OwnerStores, type OwnerStoresOptions } from './remote/owner-stores.ts'
import type { PeerNode } from './types.ts'

export interface HandOverComponents {
  readonly node: Pick<PeerNode, 'open' | 'peerId'>
  /** What this agent keeps. */
  readonly store: KeptMetadata
  /** Peer ids of the metadata list, in force now. */
  readonly providers: () => readonly string[]
  /** Calls back when the list has changed. @returns how to stop listening. */
  readonly onListChanged: (listener: () => void) => () => void
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface HandOverOptions extends OwnerStoresOptions {
  /**
   * Time between two passes while nothing changes, in milliseconds; never less than twenty times
   * what a pass takes.
   *
   * @default 600000
   */
  readonly intervalMs?: number
  /** How long a change of the list waits for the next one, in milliseconds. @default 1000 */
  readonly debounceMs?: number
  /** How soon owners that failed are tried again, in milliseconds. @default 15000 */
  readonly retryMs?: number
  /**
   * How long the list must have been the same before this agent drops what others own, in
   * milliseconds.
   *
   * @default 600000
   */
  readonly dropAfterMs?: number
  /** Bytes a second that others are given. @default 32 MiB */
  readonly bytesPerSecond?: number
}

/** Part of the time that passes may take while nothing changes. */
const MOST_OF_THE_TIME = 1 / 20

/** Figures of the last pass that went through. */
export interface HandOverFigures {
  /** Keys that this agent keeps. */
  readonly keys: number
  /** Keys that some owner does not have yet, as far as is known. */
  readonly underCopied: number
  /** Copies given to others since the start. */
  readonly handedOver: number
  readonly passes: number
  readonly passSeconds: number
}

/**
 * Brings what this metadata provider keeps to its owners: when the metadata list has changed, once
 * more when puts by the older list have arrived, and from time to time. Each pass walks through all
 * keys, one pass at a time.
 */
export class HandOver {
  readonly #components: HandOverComponents
  readonly #log: Logger
  readonly #owners: OwnerStores
  readonly #rate: TokenBucket
  readonly #intervalMs: number
  readonly #debounceMs: number
  readonly #settleMs: number
  readonly #retryMs: number
  readonly #dropAfterMs: number
  readonly #handedOver: Counter | undefined
  readonly #underCopied: Gauge | undefined
  readonly #passSeconds: Gauge | undefined
  readonly #stopping = new AbortController()
  readonly #wakeup = new Wakeup()
  readonly #waiting = new Set<PromiseWithResolvers<HandOverReport>>()
  #task: Promise<void> | undefined
  #stopListening: () => void = () => {}
  #listName = ''
  #changedMs: number
  #dueMs: number
  #settledMs: number
  #figures: HandOverFigures = {
    keys: 0,
    underCopied: 0,
    handedOver: 0,
    passes: 0,
    passSeconds: 0
  }

  constructor(components: HandOverComponents, options: HandOverOptions = {}) {
    const { intervalMs = 600_000, debounceMs = 1000, retryMs = 15_000, ...more } = options
    const { dropAfterMs = 600_000, bytesPerSecond = 32 * MIB, ...owning } = more
    const { node, clock, providers, logger, metrics } = components
    this.#components = components
    this.#log = logger.forComponent('blobswarm:peer:hand-over')
    this.#owners = new OwnerStores({ node, clock, providers }, owning)
    this.#rate = new TokenBucket(clock, { perSecond: bytesPerSecond, burstMs: 1000 })
    this.#intervalMs = intervalMs
    this.#debounceMs = debounceMs
    this.#settleMs = owning.settleMs ?? 60_000
    this.#retryMs = retryMs
    this.#dropAfterMs = dropAfterMs
    this.#changedMs = clock.monotonic()
    this.#dueMs = this.#changedMs + debounceMs
    this.#settledMs = this.#changedMs + this.#settleMs
    this.#handedOver = metrics?.counter('blobswarm_peer_metadata_handed_over_total', {
      help: 'Nodes, pages and records that this agent gave to their owners',
      labels: ['kind']
    })
    this.#underCopied = metrics?.gauge('blobswarm_peer_metadata_under_copied', {
      help: 'Keys that some owner did not have after the last hand-over'
    })
    this.#passSeconds = metrics?.gauge('blobswarm_peer_metadata_hand_over_seconds', {
      help: 'How long the last hand-over took'
    })
  }

  /** What the last pass found. */
  get figures(): HandOverFigures {
    return this.#figures
  }

  /** Called once. */
  start(): void {
    if (this.#task !== undefined) throw new Error('hand-over was started before')
    this.#listName = this.#owners.listName
    this.#stopListening = this.#components.onListChanged(() => this.#changed())
    this.#task = this.#run()
  }

  /** Ends the pass that runs. */
  async stop(): Promise<void> {
    this.#stopListening()
    this.#stopping.abort(new Error('hand-over has stopped'))
    this.#wakeup.wake()
    await this.#task
    await this.#owners.close()
  }

  /** Begins a pass as soon as none runs. @returns what it found, when it has gone through. */
  async passNow(options: { readonly signal?: AbortSignal } = {}): Promise<HandOverReport> {
    this.#stopping.signal.throwIfAborted()
    const waiting = Promise.withResolvers<HandOverReport>()
    this.#waiting.add(waiting)
    this.#dueMs = this.#components.clock.monotonic()
    this.#wakeup.wake()
    return await abortable(waiting.promise, options.signal)
  }

  #changed(): void {
    const { listName } = this.#owners
    if (listName === this.#listName) return // only addresses are others
    this.#listName = listName
    this.#changedMs = this.#components.clock.monotonic()
    this.#dueMs = Math.min(this.#dueMs, this.#changedMs + this.#debounceMs)
    this.#settledMs = this.#changedMs + this.#settleMs
    this.#wakeup.wake()
  }

  async #run(): Promise<void> {
    const { clock } = this.#components
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const waitMs = this.#dueMs - clock.monotonic()
      if (waitMs > 0) {
        const cancel = clock.schedule(() => this.#wakeup.wake(), waitMs)
        await this.#wakeup.wait()
        cancel()
      } else {
        await this.#onePass()
      }
    }
    for (const { reject } of this.#waiting) reject(toError(signal.reason))
    this.#waiting.clear()
  }

  async #onePass(): Promise<void> {
    const { clock } = this.#components
    const { signal } = this.#stopping
    const startedMs = clock.monotonic()
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    // Changes from now on make it due earlier.
    this.#dueMs = Number.POSITIVE_INFINITY
    try {
      const report = await this.#newPass(startedMs).run()
      this.#finished(report, (clock.monotonic() - startedMs) / 1000)
      for (const { resolve } of waiting) resolve(report)
    } catch (thrown) {
      const error = toError(thrown)
      for (const { reject } of waiting) reject(error)
      if (signal.aborted) return
      this.#log.error('metadata not handed over: %e', error)
      this.#dueMs = Math.min(this.#dueMs, clock.monotonic() + this.#retryMs)
    }
    const endedMs = clock.monotonic()
    const pauseMs = Math.max(this.#intervalMs, (endedMs - startedMs) / MOST_OF_THE_TIME)
    this.#dueMs = Math.min(this.#dueMs, endedMs + pauseMs)
    if (startedMs < this.#settledMs) this.#dueMs = Math.min(this.#dueMs, this.#settledMs)
  }

  #newPass(nowMs: number): HandOverPass {
    const { node, store } = this.#components
    const components = {
      self: node.peerId,
      store,
      owners: this.#owners,
      rate: this.#rate,
      logger: this.#log,
      onHandedOver: (kind: string, count: number) => this.#handedOver?.add(count, { kind })
    }
    const drops = nowMs - this.#changedMs >= this.#dropAfterMs
    return new HandOverPass(components, { drops, signal: this.#stopping.signal })
  }

  #finished(report: HandOverReport, seconds: number): void {
    const { keys, handedOver, underCopied, dropped, failed } = report
    const { passes, handedOver: before } = this.#figures
    this.#figures = {
      keys,
      underCopied,
      handedOver: before + handedOver,
      passes: passes + 1,
      passSeconds: seconds
    }
    this.#underCopied?.set(underCopied)
    this.#passSeconds?.set(seconds)
    const level = handedOver + dropped + underCopied > 0 ? 'info' : 'debug'
    this.#log[level](
      'handed over %d of %d keys, dropped %d, %d lack copies, in %d s',
      handedOver,
      keys,
      dropped,
      underCopied,
      seconds.toFixed(1)
    )
    for (const [owner, error] of failed) this.#log.info('%p was left out: %e', owner, error)
    if (failed.size === 0) return
    this.#dueMs = Math.min(this.#dueMs, this.#components.clock.monotonic() + this.#retryMs)
  }
}
