import type { Counter, Gauge, Metrics } from '../lib/metrics.ts'
import type { CollectionReport } from './collection-types.ts'

/** What operators see of collections. */
export class CollectionMetrics {
  readonly #collections: Counter | undefined
  readonly #collected: Counter | undefined
  readonly #bytes: Counter | undefined
  readonly #seconds: Gauge | undefined
  readonly #missed: Gauge | undefined
  readonly #live: Gauge | undefined

  constructor(metrics: Metrics | undefined) {
    this.#collections = metrics?.counter('blobswarm_metadata_collections_total', {
      help: 'Collections by how they ended: done, failed',
      labels: ['outcome']
    })
    this.#collected = metrics?.counter('blobswarm_metadata_collected_total', {
      help: 'What collections deleted, each copy counted: chunks, nodes, pages, records',
      labels: ['kind']
    })
    this.#bytes = metrics?.counter('blobswarm_metadata_collected_bytes_total', {
      help: 'Bytes that collections freed at providers'
    })
    this.#seconds = metrics?.gauge('blobswarm_metadata_collection_seconds', {
      help: 'How long the last collection took'
    })
    this.#missed = metrics?.gauge('blobswarm_metadata_collection_missed', {
      help: 'Providers that the last collection could not ask'
    })
    this.#live = metrics?.gauge('blobswarm_metadata_live_chunks', {
      help: 'Chunks of versions that stay, as of the last collection'
    })
  }

  /** Notes a collection that was no dry run. */
  note(report: CollectionReport): void {
    const { chunks, nodes, pages, records } = report
    this.#collections?.add(1, { outcome: 'done' })
    for (const [kind, { count }] of Object.entries({ chunks, nodes, pages, records })) {
      this.#collected?.add(count, { kind })
    }
    this.#bytes?.add(chunks.bytes)
    this.#seconds?.set(report.seconds)
    this.#missed?.set(report.missed.length)
    this.#live?.set(report.liveChunks)
  }

  /** Notes a collection that could not be finished. */
  noteFailure(): void {
    this.#collections?.add(1, { outcome: 'failed' })
  }
}
