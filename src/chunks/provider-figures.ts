import type { Counter, Gauge, Metrics } from '../lib/metrics.ts'
import type { FailureReason, ProviderCondition } from './provider-manager-types.ts'
import type { ProviderId } from './types.ts'

interface Seen {
  readonly condition: ProviderCondition
  readonly isDraining: boolean
}

const CONDITIONS: readonly ProviderCondition[] = ['live', 'suspect', 'dead']

/** What operators are shown of the providers and of placement. */
export class ProviderFigures {
  readonly #byCondition: Gauge | undefined
  readonly #draining: Gauge | undefined
  readonly #placed: Counter | undefined
  readonly #unplaced: Counter | undefined
  readonly #failures: Counter | undefined
  readonly #counts: Record<ProviderCondition, number> = { live: 0, suspect: 0, dead: 0 }
  #drainingCount = 0

  /** @param freeBytes asked when the metric is read. */
  constructor(metrics: Metrics | undefined, freeBytes: () => number) {
    this.#byCondition = metrics?.gauge('blobswarm_chunks_providers', {
      help: 'Providers that the provider manager knows',
      labels: ['condition']
    })
    this.#draining = metrics?.gauge('blobswarm_chunks_providers_draining', {
      help: 'Providers that are being drained'
    })
    metrics?.gauge('blobswarm_chunks_providers_free_bytes', {
      help: 'Room at live providers that are not being drained, as they last reported it',
      read: freeBytes
    })
    this.#placed = metrics?.counter('blobswarm_chunks_placed_total', {
      help: 'Copies of chunks that were given a place'
    })
    this.#unplaced = metrics?.counter('blobswarm_chunks_unplaced_total', {
      help: 'Chunks for which there was no place at all'
    })
    this.#failures = metrics?.counter('blobswarm_chunks_provider_failures_total', {
      help: 'Times that a provider was said to have failed, or to have no room',
      labels: ['reason']
    })
  }

  notePlaced(placed: readonly (readonly ProviderId[])[]): void {
    this.#placed?.add(placed.reduce((sum, { length }) => sum + length, 0))
    this.#unplaced?.add(placed.filter(({ length }) => length === 0).length)
  }

  noteFailure(reason: FailureReason): void {
    this.#failures?.add(1, { reason })
  }

  /** A provider came (nothing before), went (nothing after) or changed. */
  noteChange(before: Seen | undefined, after: Seen | undefined): void {
    if (before !== undefined) this.#count(before, -1)
    if (after !== undefined) this.#count(after, 1)
    this.#draining?.set(this.#drainingCount)
    for (const condition of CONDITIONS) {
      this.#byCondition?.set(this.#counts[condition], { condition })
    }
  }

  #count({ condition, isDraining }: Seen, by: 1 | -1): void {
    this.#counts[condition] += by
    if (isDraining) this.#drainingCount += by
  }
}
