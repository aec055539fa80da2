import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import type { CollectableProvider } from '../../chunks/types.ts'
import { Budget } from '../../lib/budget.ts'
import { MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import type { Verifier } from '../../metadata/types.ts'
import type { Channel, PeerNode } from '../types.ts'
import { STORE_PROTOCOL } from './store.ts'
import { StoreConversation, type StoreLimits } from './store-conversation.ts'

export interface ServeStoreComponents {
  /** Where chunks are kept. Must verify what it is given before it stores it. */
  readonly provider: CollectableProvider
  /** Checks that orders to delete are a version manager's. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: LoggerFactory
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
    (member) => member.rights.has('read')
  )
}

/** The provider's side of store/1, for all of its peers. */
export class StoreServer {
  readonly #components: ServeStoreComponents
  readonly #shared: StoreLimits
  readonly #options: Required<ServeStoreOptions>

  constructor(components: ServeStoreComponents, options: ServeStoreOptions = {}) {
    const {
      putBytes = 64 * MIB,
      streamPutBytes = 16 * MIB,
      maxReads = 64,
      streamMaxReads = 8,
      partTimeoutMs = 30_000
    } = options
    if (Math.min(putBytes, streamPutBytes) < MAX_CHUNK_BYTES) {
      throw new RangeError(`a store server needs room for one chunk of ${MAX_CHUNK_BYTES} bytes`)
    }
    this.#components = components
    this.#options = { putBytes, streamPutBytes, maxReads, streamMaxReads, partTimeoutMs }
    this.#shared = {
      putBytes: new Budget(putBytes, 'bytes of puts'),
      reads: new Budget(maxReads, 'reads of chunks')
    }
  }

  /**
   * Answers one stream until the remote closes its side.
   *
   * @throws {ProtocolViolationError} if the remote sends what it may not.
   */
  async serve(channel: Channel): Promise<void> {
    const { streamPutBytes, streamMaxReads, partTimeoutMs } = this.#options
    const own: StoreLimits = {
      putBytes: new Budget(streamPutBytes, 'bytes of puts on one stream'),
      reads: new Budget(streamMaxReads, 'reads on one stream')
    }
    const { provider, verifier, clock, logger } = this.#components
    const conversation = new StoreConversation({
      channel,
      provider,
      verifier,
      clock,
      logger: logger.forComponent('blobswarm:peer:store'),
      limits: [own, this.#shared],
      partTimeoutMs
    })
    await conversation.run()
  }
}
