import type { Budget } from '../../lib/budget.ts'
import type { Counter, Metrics } from '../../lib/metrics.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'

/** Room for the bytes of puts, and slots for what reads and what takes long. */
export interface StoreLimits {
  readonly putBytes: Budget
  readonly reads: Budget
  /** Checks, copies and deletions. */
  readonly works: Budget
}

/** How fast chunks go each way, all peers together; they take turns by the chunk. */
export interface StoreRates {
  readonly send: TokenBucket
  readonly receive: TokenBucket
}

/** What an operator is told about a server of store/1. */
export class StoreMetrics {
  readonly #chunks: Counter | undefined
  readonly #bytes: Counter | undefined
  readonly #refused: Counter | undefined

  constructor(metrics: Metrics | undefined) {
    this.#chunks = metrics?.counter('blobswarm_peer_store_chunks_total', {
      help: 'Chunks that other agents put here or got from here',
      labels: ['direction']
    })
    this.#bytes = metrics?.counter('blobswarm_peer_store_bytes_total', {
      help: 'Bytes of these chunks',
      labels: ['direction']
    })
    this.#refused = metrics?.counter('blobswarm_peer_store_refused_puts_total', {
      help: 'Puts that were refused before their bytes were received',
      labels: ['code']
    })
  }

  /** A chunk was received and stored, or given. */
  moved(direction: 'received' | 'sent', bytes: number): void {
    this.#chunks?.add(1, { direction })
    this.#bytes?.add(bytes, { direction })
  }

  /** A put was refused, for lack of room or of rights. */
  refused(code: string): void {
    this.#refused?.add(1, { code })
  }
}
