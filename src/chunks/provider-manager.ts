import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import type { Clock } from '../lib/clock.ts'
import { LimitExceededError } from '../lib/errors.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import {
  NoProviderError,
  StoreFullError,
  TooManyReplicasError,
  UnknownProviderError
} from './errors.ts'
import { KnownProvider, type Moment, type SilenceLimits } from './known-provider.ts'
import {
  type Candidate,
  PLACEMENT_STRATEGIES,
  type PlacementName,
  type PlacementRules,
  placeChunks,
  type ZoneRule
} from './placement.ts'
import { ProviderFigures } from './provider-figures.ts'
import type {
  FailureOptions,
  PlacementRequest,
  ProviderManager,
  ProviderReport,
  ProviderState,
  ReportAnswer
} from './provider-manager-types.ts'
import { ProviderWatch } from './provider-watch.ts'
import type { ProviderId } from './types.ts'

export interface LocalProviderManagerComponents {
  readonly clock: Clock
  readonly random: Random
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
}

export interface LocalProviderManagerOptions {
  /** A provider unheard of for longer gets no new chunks, in milliseconds. @default 30_000 */
  readonly suspectAfterMs?: number | undefined
  /** … and counts as lost after this, in milliseconds. @default 300_000 */
  readonly deadAfterMs?: number | undefined
  /** … and is forgotten after this, in milliseconds. @default 604_800_000 (7 days) */
  readonly forgetAfterMs?: number | undefined
  /** How new chunks are spread. @default 'leastLoadedOfTwo' */
  readonly placement?: PlacementName | undefined
  /** Whether copies are kept in different zones. @default 'spread' */
  readonly zones?: ZoneRule | undefined
  /** Providers that the chunks of one stripe go to. @default 32 */
  readonly stripeWidth?: number | undefined
  /** Providers known at the same time. @default 10_000 */
  readonly maxProviders?: number | undefined
  /**
   * Time after its making in which it waits for more providers to report, where it knows too few
   * for the copies that are wanted, in milliseconds: it may be that it has only just restarted.
   *
   * @default 0
   */
  readonly settleMs?: number | undefined
  /** Copies of a chunk that are kept; a writer that wants more is refused. @default Infinity */
  readonly maxReplicas?: number | undefined
}

/** Chunks that one call may place. */
export const MAX_PLACEMENT_COUNT = 4096

/**
 * The provider manager of a cluster, in one process. All it knows comes from reports: after a
 * restart it knows everything again as soon as each provider has reported once.
 */
export class LocalProviderManager implements ProviderManager {
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Logger
  readonly #figures: ProviderFigures
  readonly #limits: SilenceLimits
  readonly #maxProviders: number
  readonly #maxReplicas: number
  readonly #rules: PlacementRules
  readonly #providers = new Map<ProviderId, KnownProvider>()
  readonly #watch: ProviderWatch
  readonly #settledAt: number
  /** The fewest chunks that one in use was given; undefined when it has to be looked for. */
  #least: number | undefined
  #isStopped = false

  constructor(
    components: LocalProviderManagerComponents,
    options: LocalProviderManagerOptions = {}
  ) {
    const { suspectAfterMs = 30_000, deadAfterMs = 300_000, maxProviders = 10_000 } = options
    const { forgetAfterMs = Math.max(604_800_000, deadAfterMs) } = options
    const { placement = 'leastLoadedOfTwo', zones = 'spread', stripeWidth = 32 } = options
    const { settleMs = 0, maxReplicas = Infinity } = options
    const isOrdered = suspectAfterMs > 0 && deadAfterMs >= suspectAfterMs
    if (!isOrdered || !(forgetAfterMs >= deadAfterMs)) {
      throw new RangeError(
        `suspect, dead, forgotten after ${suspectAfterMs}, ${deadAfterMs}, ${forgetAfterMs} ms`
      )
    }
    if (!(stripeWidth >= 1)) throw new RangeError(`stripes of ${stripeWidth} providers`)
    const { clock, random, logger = noLogger, metrics } = components
    this.#clock = clock
    this.#random = random
    this.#log = logger.forComponent('blobswarm:chunks:provider-manager')
    this.#figures = new ProviderFigures(metrics, () => this.#freeBytes())
    this.#limits = { suspectAfterMs, deadAfterMs, forgetAfterMs }
    const watching = { providers: this.#providers, clock, log: this.#log, figures: this.#figures }
    this.#watch = new ProviderWatch(watching, this.#limits)
    this.onChange(() => {
      this.#least = undefined
    })
    this.#maxProviders = maxProviders
    this.#maxReplicas = maxReplicas
    this.#settledAt = clock.monotonic() + settleMs
    this.#rules = { strategy: PLACEMENT_STRATEGIES[placement], zones, stripeWidth }
  }

  /**
   * Grows whenever a provider comes, goes, changes its condition, begins or ends draining, or has
   * lost chunks.
   */
  get changes(): number {
    return this.#watch.changes
  }

  /** Calls the listener after `changes` has grown. @returns what ends that. */
  onChange(listener: () => void): () => void {
    return this.#watch.onChange(listener)
  }

  /** Looks at nobody's silence any more. */
  stop(): void {
    this.#isStopped = true
    this.#watch.stop()
  }

  /** @throws {LimitExceededError} if the provider is new and there are too many already. */
  async report(report: ProviderReport): Promise<ReportAnswer> {
    const known = this.#providers.get(report.id)
    if (known === undefined) this.#add(report)
    else {
      if (!this.#watch.isLive(report.id)) known.catchUp(this.#leastPlaced())
      known.report(report, this.#moment())
      this.#watch.review([report.id])
    }
    return { isDraining: this.#providers.get(report.id)?.isDraining === true }
  }

  async place(request: PlacementRequest, options: AbortOptions = {}): Promise<ProviderId[][]> {
    const { count, replicas, chunkBytes } = request
    if (!(count >= 1 && count <= MAX_PLACEMENT_COUNT) || !(replicas >= 1)) {
      throw new RangeError(`placement of ${count} chunks with ${replicas} replicas`)
    }
    if (replicas > this.#maxReplicas) throw new TooManyReplicasError(replicas, this.#maxReplicas)
    await this.#settle(request, options)
    const at = this.#clock.monotonic()
    const candidates = Array.from(this.#providers.values(), (known) =>
      known.candidateAt(at, this.#limits)
    )
    const placed = placeChunks(request, candidates, this.#rules, this.#random)
    this.#figures.notePlaced(placed)
    if (placed.every((providers) => providers.length === 0)) throw noneOf(candidates, request)
    for (const id of placed.flat()) this.#providers.get(id)?.promise(chunkBytes)
    this.#least = undefined
    return placed
  }

  async reportFailure(id: ProviderId, { reason = 'failed' }: FailureOptions = {}): Promise<void> {
    const known = this.#providers.get(id)
    if (known === undefined) return
    known.fail(reason, this.#clock.monotonic())
    this.#figures.noteFailure(reason)
    this.#log.debug('%p is said to be %s', id, reason)
    this.#watch.review([id])
  }

  async list(): Promise<ProviderState[]> {
    const at = this.#clock.monotonic()
    return Array.from(this.#providers.values(), (known) => known.stateAt(at, this.#limits))
  }

  async setDraining(id: ProviderId, isDraining: boolean): Promise<ProviderState> {
    const known = this.#providers.get(id)
    if (known === undefined) throw new UnknownProviderError(id)
    known.order(isDraining)
    if (!isDraining) known.catchUp(this.#leastPlaced())
    this.#watch.review([id])
    return known.stateAt(this.#clock.monotonic(), this.#limits)
  }

  #moment(): Moment {
    return { nowMs: this.#clock.now(), at: this.#clock.monotonic() }
  }

  #add(report: ProviderReport): void {
    if (this.#providers.size >= this.#maxProviders) this.#watch.review(this.#providers.keys())
    if (this.#providers.size >= this.#maxProviders) {
      throw new LimitExceededError('known providers', this.#maxProviders)
    }
    const least = this.#leastPlaced()
    this.#providers.set(report.id, new KnownProvider(report, this.#moment(), least))
    this.#log.info('provider %p in zone %s is there', report.id, report.zone)
    this.#watch.review([report.id])
    this.#least = least
  }

  /** Waits, when this manager has only just begun, for as many providers as there are copies. */
  async #settle(request: PlacementRequest, { signal }: AbortOptions): Promise<void> {
    for (;;) {
      const leftMs = this.#settledAt - this.#clock.monotonic()
      if (leftMs <= 0 || this.#isStopped || this.#hasEnoughFor(request)) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = this.#clock.schedule(resolve, leftMs)
      const end = this.onChange(resolve)
      try {
        await abortable(promise, signal)
      } finally {
        cancel()
        end()
      }
    }
  }

  #hasEnoughFor({ replicas, exclude = [], beside = [] }: PlacementRequest): boolean {
    const unfit = new Set([...exclude, ...beside])
    let usable = 0
    for (const { id } of this.#providers.values())
      if (this.#watch.isInUse(id) && !unfit.has(id)) usable++
    return usable >= replicas
  }

  #freeBytes(): number {
    let sum = 0
    for (const { id, freeBytes } of this.#providers.values())
      if (this.#watch.isInUse(id)) sum += freeBytes
    return sum
  }

  /** A newcomer starts where the others are, or it would get everything until it has caught up. */
  #leastPlaced(): number {
    if (this.#least !== undefined) return this.#least
    let least = Infinity
    for (const { id, placedCount } of this.#providers.values()) {
      if (this.#watch.isInUse(id)) least = Math.min(least, placedCount)
    }
    this.#least = least === Infinity ? 0 : least
    return this.#least
  }
}

/** Why a chunk cannot be placed: because the providers that could take it are full, or there are none. */
function noneOf(candidates: readonly Candidate[], request: PlacementRequest): Error {
  const { chunkBytes, exclude = [], beside = [] } = request
  const live = candidates.filter(({ condition }) => condition === 'live')
  const full = live.filter(
    ({ id, isDraining }) => !isDraining && !exclude.includes(id) && !beside.includes(id)
  )
  if (full.length > 0) return new StoreFullError('the cluster', chunkBytes)
  return new NoProviderError(`${candidates.length} known, ${live.length} live, none of them usable`)
}
