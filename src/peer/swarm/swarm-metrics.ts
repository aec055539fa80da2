import type { Counter, Histogram, Metrics } from '../../lib/metrics.ts'
import type { AskReason } from './ask-reason.ts'
import type { SwarmEvent } from './events.ts'

const CHUNK_SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]
const FIRST_CHUNK_SECONDS = [0.03, 0.1, 0.3, 1, 3, 10, 30]
const DOWNLOAD_SECONDS = [0.3, 1, 3, 10, 30, 100, 300, 1000, 3000]

/** Counts what the swarms of all images do; fed with their events. */
export class SwarmMetrics {
  readonly #requests: Counter
  readonly #chunkSeconds: Histogram
  readonly #wastedBytes: Counter
  readonly #left: Counter
  readonly #silences: Counter
  readonly #downloads: Counter
  readonly #downloadSeconds: Histogram
  readonly #firstChunkSeconds: Histogram
  readonly #waitingSeconds: Counter
  readonly #stuck: Counter

  constructor(metrics: Metrics) {
    this.#requests = metrics.counter('blobswarm_peer_swarm_requests_total', {
      help: 'Chunks asked of neighbours, by why that neighbour was asked',
      labels: ['reason']
    })
    this.#chunkSeconds = metrics.histogram('blobswarm_peer_swarm_chunk_seconds', {
      help: 'From a request to the last byte of its chunk',
      labels: ['from'],
      buckets: CHUNK_SECONDS
    })
    this.#wastedBytes = metrics.counter('blobswarm_peer_swarm_wasted_bytes_total', {
      help: 'Bytes of chunks that came for nothing: not needed any more, or wrong',
      labels: ['reason']
    })
    this.#left = metrics.counter('blobswarm_peer_swarm_neighbours_left_total', {
      help: 'Neighbours that are none any more, by reason',
      labels: ['reason']
    })
    this.#silences = metrics.counter('blobswarm_peer_swarm_silences_total', {
      help: 'Times that a neighbour was silent for too long and lost its requests'
    })
    this.#downloads = metrics.counter('blobswarm_peer_swarm_downloads_total', {
      help: 'Downloads of images that have ended',
      labels: ['outcome']
    })
    this.#downloadSeconds = metrics.histogram('blobswarm_peer_swarm_download_seconds', {
      help: 'Time of whole downloads',
      buckets: DOWNLOAD_SECONDS
    })
    this.#firstChunkSeconds = metrics.histogram('blobswarm_peer_swarm_first_chunk_seconds', {
      help: 'From the start of a download to its first chunk',
      buckets: FIRST_CHUNK_SECONDS
    })
    this.#waitingSeconds = metrics.counter('blobswarm_peer_swarm_waiting_seconds_total', {
      help: 'Time in which downloads got nothing, by what they waited for',
      labels: ['reason']
    })
    this.#stuck = metrics.counter('blobswarm_peer_swarm_stuck_total', {
      help: 'Times that a download got nothing for so long that all was looked for anew'
    })
  }

  asked(reason: AskReason): void {
    this.#requests.add(1, { reason })
  }

  count(event: SwarmEvent): void {
    switch (event.event) {
      case 'chunk-received':
        this.#chunkSeconds.observe(event.ms / 1000, { from: event.from })
        break
      case 'chunk-rejected':
        this.#wastedBytes.add(event.bytes, {
          reason: event.reason === 'wrong bytes' ? 'wrong' : 'duplicate'
        })
        break
      case 'neighbour-left':
        this.#left.add(1, { reason: event.reason })
        break
      case 'neighbour-silent':
        this.#silences.add(1)
        break
      case 'download-finished':
        this.#downloads.add(1, { outcome: 'finished' })
        this.#downloadSeconds.observe(event.ms / 1000)
        if (event.firstChunkMs !== undefined) {
          this.#firstChunkSeconds.observe(event.firstChunkMs / 1000)
        }
        break
      case 'download-failed':
        this.#downloads.add(1, { outcome: 'failed' })
        break
      case 'download-waited':
        this.#waitingSeconds.add(event.ms / 1000, { reason: event.reason })
        break
      case 'download-stuck':
        this.#stuck.add(1)
        break
      case 'chunk-sent':
      case 'neighbour-joined':
      case 'download-started':
      case 'download-waiting':
        break
    }
  }
}
