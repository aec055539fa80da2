import type { Clock } from '../lib/clock.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { Random } from '../lib/random.ts'
import { NoProviderError, StoreFullError } from './errors.ts'
import {
  type Candidate,
  inDifferentZones,
  PLACEMENT_STRATEGIES,
  type PlacementName,
  placeChunks,
  type ReplicaStrategy
} from './placement.ts'
import type {
  PlacementRequest,
  ProviderCondition,
  ProviderId,
  ProviderManager,
  ProviderReport,
  ProviderState
} from './types.ts'

export interface LocalProviderManagerComponents {
  readonly clock: Clock
  readonly random: Random
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
  /** Providers known at the same time. @default 10_000 */
  readonly maxProviders?: number | undefined
}

interface Known {
  readonly report: ProviderReport
  readonly seenMs: number
  /** Monotonic time of the last report, so that a clock that is set kills no provider. */
  readonly seenAt: number
  promisedBytes: number
  placedCount: number
  hasFailed: boolean
}

/** Chunks that one call may place. */
export const MAX_PLACEMENT_COUNT = 4096

/**
 * The provider manager of a cluster, in one process. All it knows comes from reports: after a
 * restart it knows everything again as soon as each provider has reported once.
 *
 * ```text
 *          report                 silent or failed             silent for longer
 * unknown ───────► live ────────────────────────────► suspect ──────────────────► dead
 *                   ▲                report              │           report        │
 *                   └────────────────────────────────────┴────────────────────────┘
 * ```
 */
export class LocalProviderManager implements ProviderManager {
  readonly #clock: Clock
  readonly #random: Random
  readonly #suspectAfterMs: number
  readonly #deadAfterMs: number
  readonly #forgetAfterMs: number
  readonly #maxProviders: number
  readonly #strategy: ReplicaStrategy
  readonly #providers = new Map<ProviderId, Known>()
  readonly #draining = new Set<ProviderId>()

  constructor(
    components: LocalProviderManagerComponents,
    options: LocalProviderManagerOptions = {}
  ) {
    const { suspectAfterMs = 30_000, deadAfterMs = 300_000, maxProviders = 10_000 } = options
    const { forgetAfterMs = Math.max(604_800_000, deadAfterMs) } = options
    const { placement = 'leastLoadedOfTwo' } = options
    const isOrdered = suspectAfterMs > 0 && deadAfterMs >= suspectAfterMs
    if (!isOrdered || !(forgetAfterMs >= deadAfterMs)) {
      throw new RangeError(
        `suspect, dead, forgotten after ${suspectAfterMs}, ${deadAfterMs}, ${forgetAfterMs} ms`
      )
    }
    this.#clock = components.clock
    this.#random = components.random
    this.#suspectAfterMs = suspectAfterMs
    this.#deadAfterMs = deadAfterMs
    this.#forgetAfterMs = forgetAfterMs
    this.#maxProviders = maxProviders
    this.#strategy = inDifferentZones(PLACEMENT_STRATEGIES[placement])
  }

  /** @throws {LimitExceededError} if the provider is new and there are too many already. */
  async report(report: ProviderReport): Promise<void> {
    const known = this.#providers.get(report.id)
    if (known === undefined) this.#makeRoom()
    this.#providers.set(report.id, {
      report,
      seenMs: this.#clock.now(),
      seenAt: this.#clock.monotonic(),
      promisedBytes: 0, // what was promised has arrived by now, or never will
      placedCount: known?.placedCount ?? this.#leastPlaced(),
      hasFailed: false
    })
  }

  async place(request: PlacementRequest): Promise<ProviderId[][]> {
    const { count, replicas, chunkBytes } = request
    if (!(count >= 1 && count <= MAX_PLACEMENT_COUNT) || !(replicas >= 1)) {
      throw new RangeError(`placement of ${count} chunks with ${replicas} replicas`)
    }
    const candidates = Array.from(this.#providers.values(), (known) => this.#candidateOf(known))
    const placed = placeChunks(request, candidates, this.#strategy, this.#random)
    if (placed.every((providers) => providers.length === 0)) throw noneOf(candidates, request)
    for (const id of placed.flat()) this.#promise(id, chunkBytes)
    return placed
  }

  async reportFailure(id: ProviderId): Promise<void> {
    const known = this.#providers.get(id)
    if (known !== undefined) known.hasFailed = true
  }

  async list(): Promise<ProviderState[]> {
    return Array.from(this.#providers.values(), (known) => this.#stateOf(known))
  }

  /** Stops or resumes placing new chunks on a provider; holds until this process ends. */
  setDraining(id: ProviderId, isDraining: boolean): void {
    if (isDraining) this.#draining.add(id)
    else this.#draining.delete(id)
  }

  #stateOf(known: Known): ProviderState {
    const { report, seenMs } = known
    const isDraining = this.#draining.has(report.id)
    return { ...report, condition: this.#conditionOf(known), isDraining, seenMs }
  }

  #candidateOf(known: Known): Candidate {
    const { promisedBytes, placedCount } = known
    return { ...this.#stateOf(known), promisedBytes, placedCount }
  }

  #promise(id: ProviderId, bytes: number): void {
    const known = this.#providers.get(id)
    if (known === undefined) return
    known.promisedBytes += bytes
    known.placedCount += 1
  }

  #conditionOf({ seenAt, hasFailed }: Known): ProviderCondition {
    const silentMs = this.#clock.monotonic() - seenAt
    if (silentMs > this.#deadAfterMs) return 'dead'
    return silentMs > this.#suspectAfterMs || hasFailed ? 'suspect' : 'live'
  }

  /** A newcomer starts where the others are, or it would get everything until it has caught up. */
  #leastPlaced(): number {
    let least = Infinity
    for (const { placedCount } of this.#providers.values()) least = Math.min(least, placedCount)
    return least === Infinity ? 0 : least
  }

  #makeRoom(): void {
    const now = this.#clock.monotonic()
    for (const [id, { seenAt }] of this.#providers) {
      if (now - seenAt > this.#forgetAfterMs) this.#providers.delete(id)
    }
    if (this.#providers.size >= this.#maxProviders) {
      throw new LimitExceededError('known providers', this.#maxProviders)
    }
  }
}

/** Why a chunk cannot be placed: because the providers that could take it are full, or there are none. */
function noneOf(candidates: readonly Candidate[], request: PlacementRequest): Error {
  const { chunkBytes, exclude = [] } = request
  const live = candidates.filter(({ condition }) => condition === 'live')
  const full = live.filter(({ id, isDraining }) => !isDraining && !exclude.includes(id))
  if (full.length > 0) return new StoreFullError('the cluster', chunkBytes)
  return new NoProviderError(`${candidates.length} known, ${live.length} live, none of them usable`)
}
