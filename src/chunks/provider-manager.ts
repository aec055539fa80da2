import type { Clock } from '../lib/clock.ts'
import type { Random } from '../lib/random.ts'
import { NoProviderError } from './errors.ts'
import { PLACEMENT_STRATEGIES, type PlacementName, placeChunks } from './placement.ts'
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
  suspectAfterMs?: number | undefined
  /** … and counts as lost after this, in milliseconds. @default 300_000 */
  deadAfterMs?: number | undefined
  /** How new chunks are spread. @default 'leastLoadedOfTwo' */
  placement?: PlacementName | undefined
}

interface Known {
  report: ProviderReport
  seenMs: number
  /** Monotonic time of the last report, so that a clock that is set does not kill providers. */
  seenAt: number
  promisedBytes: number
  placedCount: number
  hasFailed: boolean
}

/** Chunks that one call may place. */
export const MAX_PLACEMENT_COUNT = 4096

/**
 * The provider manager of a cluster, in one process. All it knows comes from reports: after a restart it
 * knows everything again as soon as each provider has reported once.
 */
export class LocalProviderManager implements ProviderManager {
  readonly #clock: Clock
  readonly #random: Random
  readonly #suspectAfterMs: number
  readonly #deadAfterMs: number
  readonly #placement: PlacementName
  readonly #providers = new Map<ProviderId, Known>()

  constructor(
    components: LocalProviderManagerComponents,
    options: LocalProviderManagerOptions = {}
  ) {
    const {
      suspectAfterMs = 30_000,
      deadAfterMs = 300_000,
      placement = 'leastLoadedOfTwo'
    } = options
    if (!(suspectAfterMs > 0) || !(deadAfterMs >= suspectAfterMs)) {
      throw new RangeError(`suspect after ${suspectAfterMs} ms, dead after ${deadAfterMs} ms`)
    }
    this.#clock = components.clock
    this.#random = components.random
    this.#suspectAfterMs = suspectAfterMs
    this.#deadAfterMs = deadAfterMs
    this.#placement = placement
  }

  async report(report: ProviderReport): Promise<void> {
    const placedCount = this.#providers.get(report.id)?.placedCount ?? this.#leastPlaced()
    this.#providers.set(report.id, {
      report,
      seenMs: this.#clock.now(),
      seenAt: this.#clock.monotonic(),
      promisedBytes: 0, // what was promised has arrived, or shows in the free space it reports
      placedCount,
      hasFailed: false
    })
  }

  async place(request: PlacementRequest): Promise<ProviderId[][]> {
    const { count, replicas, chunkBytes } = request
    if (!(count >= 1 && count <= MAX_PLACEMENT_COUNT) || !(replicas >= 1)) {
      throw new RangeError(`placement of ${count} chunks with ${replicas} replicas`)
    }
    const usable = [...this.#providers.values()].filter(
      (known) => this.#conditionOf(known) === 'live'
    )
    const candidates = usable.map(({ report, promisedBytes, placedCount }) => ({
      ...report,
      promisedBytes,
      placedCount
    }))
    const strategy = PLACEMENT_STRATEGIES[this.#placement]
    const placed = placeChunks(request, candidates, strategy, this.#random)
    if (placed.some((providers) => providers.length === 0)) {
      const { size } = this.#providers
      throw new NoProviderError(
        usable.length === 0
          ? `${size} known, none live`
          : `none of ${usable.length} live ones has room for ${count} chunks of ${chunkBytes} bytes`
      )
    }
    for (const id of placed.flat()) this.#promise(id, chunkBytes)
    return placed
  }

  async reportFailure(id: ProviderId): Promise<void> {
    const known = this.#providers.get(id)
    if (known !== undefined) known.hasFailed = true
  }

  async list(): Promise<ProviderState[]> {
    return [...this.#providers.values()].map((known) => this.#stateOf(known))
  }

  #stateOf(known: Known): ProviderState {
    const { report, seenMs } = known
    return { ...report, condition: this.#conditionOf(known), isDraining: false, seenMs }
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
    const counts = [...this.#providers.values()].map(({ placedCount }) => placedCount)
    return counts.length === 0 ? 0 : Math.min(...counts)
  }
}
