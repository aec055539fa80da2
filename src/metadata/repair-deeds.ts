import type { RepairFigures } from '../chunks/maintenance-types.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'

/** What repair has done since its process began, for status and for metrics. */
export class RepairDeeds {
  readonly #looks: Counter | undefined
  readonly #copied: Counter | undefined
  readonly #bytes: Counter | undefined
  readonly #failed: Counter | undefined
  readonly #trimmed: Counter | undefined
  #copiedChunks = 0
  #copiedBytes = 0
  #failedCopies = 0
  #trimmedChunks = 0

  constructor(metrics: Metrics | undefined) {
    this.#looks = metrics?.counter('blobswarm_repair_looks_total', {
      help: 'Looks at all location records by how they ended: complete, incomplete, failed',
      labels: ['outcome']
    })
    this.#copied = metrics?.counter('blobswarm_repair_copied_chunks_total', {
      help: 'Copies that repair had made'
    })
    this.#bytes = metrics?.counter('blobswarm_repair_copied_bytes_total', {
      help: 'Bytes of the copies that repair had made, by the average size of a chunk'
    })
    this.#failed = metrics?.counter('blobswarm_repair_failed_copies_total', {
      help: 'Copies that could not be made'
    })
    this.#trimmed = metrics?.counter('blobswarm_repair_trimmed_chunks_total', {
      help: 'Surplus copies that providers deleted because repair said so'
    })
  }

  /** All of it. */
  get figures(): Pick<
    RepairFigures,
    'copiedChunks' | 'copiedBytes' | 'failedCopies' | 'trimmedChunks'
  > {
    return {
      copiedChunks: this.#copiedChunks,
      copiedBytes: this.#copiedBytes,
      failedCopies: this.#failedCopies,
      trimmedChunks: this.#trimmedChunks
    }
  }

  /** Notes how a look ended. */
  looked(outcome: 'complete' | 'incomplete' | 'failed'): void {
    this.#looks?.add(1, { outcome })
  }

  /** Notes copies that were made. */
  copied(chunks: number, bytes: number): void {
    this.#copiedChunks += chunks
    this.#copiedBytes += bytes
    this.#copied?.add(chunks)
    this.#bytes?.add(bytes)
  }

  /** Notes copies that could not be made. */
  failed(copies: number): void {
    this.#failedCopies += copies
    this.#failed?.add(copies)
  }

  /** Notes copies that were taken away. */
  trimmed(chunks: number): void {
    this.#trimmedChunks += chunks
    this.#trimmed?.add(chunks)
  }
}

/** Lets operators see the figures as they are when they look; nothing before the first look. */
export function showRepairFigures(
  metrics: Metrics | undefined,
  figures: () => RepairFigures | undefined
): void {
  const gauge = (name: string, help: string, read: (of: RepairFigures) => number): void => {
    metrics?.gauge(`blobswarm_repair_${name}`, {
      help,
      read: () => {
        const known = figures()
        return known === undefined ? 0 : read(known)
      }
    })
  }
  gauge('chunks', 'Chunks of all images', ({ chunks }) => chunks)
  gauge(
    'under_replicated_chunks',
    'Chunks with fewer copies than wanted at live providers',
    ({ underReplicated }) => underReplicated
  )
  gauge(
    'unreachable_chunks',
    'Chunks that no live provider holds',
    ({ unreachable }) => unreachable
  )
  gauge('surplus_copies', 'Copies beyond those wanted', ({ surplus }) => surplus)
  gauge('pending_copies', 'Copies that are waited for', ({ pending }) => pending)
}
