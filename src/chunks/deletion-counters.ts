import type { Counter, Metrics } from '../lib/metrics.ts'
import type { Collected } from './provider-types.ts'

/** Why chunks are deleted: nothing refers to them any more, or others have enough copies. */
export type DeletionReason = 'collected' | 'trimmed'

/** Counts what a provider deleted, by why. */
export class DeletionCounters {
  readonly #counters: Readonly<Record<DeletionReason, readonly (Counter | undefined)[]>>

  constructor(metrics: Metrics | undefined) {
    this.#counters = {
      collected: [
        metrics?.counter('blobswarm_chunks_collected_total', {
          help: 'Chunks that a collection deleted'
        }),
        metrics?.counter('blobswarm_chunks_collected_bytes_total', {
          help: 'Bytes of the chunks that a collection deleted'
        })
      ],
      trimmed: [
        metrics?.counter('blobswarm_chunks_trimmed_total', {
          help: 'Surplus copies that repair deleted here'
        }),
        metrics?.counter('blobswarm_chunks_trimmed_bytes_total', {
          help: 'Bytes of the surplus copies that repair deleted here'
        })
      ]
    }
  }

  /** Takes note of a deletion. */
  add(why: DeletionReason, { count, bytes }: Collected): void {
    const [total, ofBytes] = this.#counters[why]
    total?.add(count)
    ofBytes?.add(bytes)
  }
}
