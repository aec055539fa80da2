import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import type { ServedProvider } from '../../chunks/maintenance-types.ts'
import { Budget } from '../../lib/budget.ts'
import { MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import type { Metrics } from '../../lib/metrics.ts'
import { TokenBucket } from '../../lib/token-bucket.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { permitsProtocol } from '../rights.ts'
import type { Channel, PeerNode } from '../types.ts'
import { STORE_PROTOCOL } from './store.ts'
import { StoreConversation } from './store-conversation.ts'
import { type StoreLimits, StoreMetrics, type StoreRates } from './store-limits.ts'

export interface ServeStoreComponents {
  /** Where chunks are kept. Must verify what it is given before it stores it. */
  readonly provider: ServedProvider
  /** Checks who signed orders to delete. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface ServeStoreOptions {
  /** Bytes of puts that are being received and stored, of all peers together. @default 64 MiB */
  putBytes?: number
  /** The same for one stream. @default 16 MiB */
  streamPutBytes?: number
  /** Gets and look-ups that are being answered, of all peers together. @default 64 */
  maxReads?: number
  /** The same for one stream. @default 8 */
  streamMaxReads?: number
  /** Checks, copies and deletions that are being worked on, of all peers together. @default 16 */
  maxWorks?: number
  /** The same for one stream. @default 4 */
  streamMaxWorks?: number
  /** Bytes of chunks sent a second, to all peers together. @default unlimited */
  sendBytesPerSecond?: number | undefined
  /** Bytes of puts received a second, from all peers together. @default unlimited */
  receiveBytesPerSecond?: number | undefined
  /** How often a caller is told that its request is being worked on. @default 3000 ms */
  workingMs?: number
  /**
   * Time that a peer may take for one message, to send it or to read it, in milliseconds.
   *
   * @default 30000
   */
  partTimeoutMs?: number
}

/** Answers store/1 on a node from now on. */
export async function serveStore(
  node: PeerNode,
  components: ServeStoreComponents,
  options: ServeStoreOptions = {}
): Promise<void> {
  const server = new StoreServer(components, options)
  await node.serve(
    STORE_PROTOCOL,
    (channel) => server.serve(channel),
    (member) => permitsProtocol(STORE_PROTOCOL.id, member)
  )
}

/** The provider's side of store/1, for all of its peers. */
export class StoreServer {
  readonly #components: ServeStoreComponents
  readonly #metrics: StoreMetrics
  readonly #rates: StoreRates
  readonly #shared: StoreLimits
  readonly #ofStream: () => StoreLimits
  readonly #times: { readonly partTimeoutMs: number; readonly workingMs: number }

  constructor(components: ServeStoreComponents, options: ServeStoreOptions = {}) {
    const { putBytes = 64 * MIB, streamPutBytes = 16 * MIB } = options
    const { maxReads = 64, streamMaxReads = 8, maxWorks = 16, streamMaxWorks = 4 } = options
    const { sendBytesPerSecond, receiveBytesPerSecond } = options
    const { partTimeoutMs = 30_000, workingMs = 3000 } = options
    if (Math.min(putBytes, streamPutBytes) < MAX_CHUNK_BYTES) {
      throw new RangeError(`a store server needs room for one chunk of ${MAX_CHUNK_BYTES} bytes`)
    }
    const { clock, metrics } = components
    this.#components = components
    this.#metrics = new StoreMetrics(metrics)
    this.#rates = {
      send: new TokenBucket(clock, { perSecond: sendBytesPerSecond }),
      receive: new TokenBucket(clock, { perSecond: receiveBytesPerSecond })
    }
    this.#shared = limitsOf('', putBytes, maxReads, maxWorks)
    this.#ofStream = () =>
      limitsOf(' on one stream', streamPutBytes, streamMaxReads, streamMaxWorks)
    this.#times = { partTimeoutMs, workingMs }
  }

  /**
   * Answers one stream until the remote closes its side.
   *
   * @throws {ProtocolViolationError} if the remote sends what it may not.
   */
  async serve(channel: Channel): Promise<void> {
    const { provider, verifier, clock, logger } = this.#components
    const conversation = new StoreConversation({
      channel,
      provider,
      verifier,
      clock,
      logger: logger.forComponent('blobswarm:peer:store'),
      metrics: this.#metrics,
      limits: [this.#ofStream(), this.#shared],
      rates: this.#rates,
      ...this.#times
    })
    await conversation.run()
  }
}

function limitsOf(where: string, putBytes: number, reads: number, works: number): StoreLimits {
  return {
    putBytes: new Budget(putBytes, `bytes of puts${where}`),
    reads: new Budget(reads, `reads of chunks${where}`),
    works: new Budget(works, `checks, copies and deletions${where}`)
  }
}
