import type { ReadBuffers } from '../../chunks/read-buffers.ts'
import type { ChunkStore } from '../../chunks/store-types.ts'
import { Budget } from '../../lib/budget.ts'
import { KIB, MIB } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger, LoggerFactory } from '../../lib/logger.ts'
import type { Counter, Metrics } from '../../lib/metrics.ts'
import { TokenBucket } from '../../lib/token-bucket.ts'
import { MAX_PART_BYTES, type SwarmMessage } from '../protocols/swarm.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Precedence } from './precedence.ts'
import { RecentChunks } from './recent-chunks.ts'
import type { Spread } from './spread.ts'

export interface UploadsComponents {
  readonly store: ChunkStore
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** Take chunks back that were read from the store and are sent. */
  readonly readBuffers?: Pick<ReadBuffers, 'giveBack'> | undefined
}

export interface UploadsOptions {
  /** Bytes of chunks a second that this agent sends, of all images; undefined for no limit. @default undefined */
  readonly bytesPerSecond?: number | undefined
  /** Bytes of chunks that are read and not yet sent, of all neighbours; at least one chunk. @default 64 MiB */
  readonly maxMemoryBytes?: number
  /** Bytes of a chunk in one message. @default 256 KiB */
  readonly partBytes?: number
  /** Requests of one neighbour that may wait; more break the protocol. @default 512 */
  readonly maxPending?: number
}

/** One image as uploads see it. */
export interface UploadImage {
  readonly table: ChunkTable
  readonly spread: Spread
  /** Tells whether this agent announced the chunk. */
  isHeld(chunk: number): boolean
  /** The store turned out not to have a chunk that was announced. */
  lost(chunk: number): void
  /** All of a chunk went to a neighbour. */
  sent(peer: string, chunk: number): void
}

/** What a neighbour asked for. */
export type UploadRequest = Extract<SwarmMessage, { type: 'request' | 'any' }>

/** Sends chunks to neighbours: what all slots of this agent share, and a slot for each neighbour. */
export class Uploads {
  readonly store: ChunkStore
  readonly memory: Budget
  readonly limiter: TokenBucket
  /** Lets demanded chunks pass others between two parts. */
  readonly precedence: Precedence
  readonly log: Logger
  readonly partBytes: number
  readonly maxPending: number
  readonly sentBytes: Counter | undefined
  readonly readBuffers: Pick<ReadBuffers, 'giveBack'> | undefined
  /** Chunks that came last; these are not read from the store. */
  readonly recent = new RecentChunks()

  constructor(components: UploadsComponents, options: UploadsOptions = {}) {
    const { bytesPerSecond, maxMemoryBytes = 64 * MIB } = options
    const { partBytes = 256 * KIB, maxPending = 512 } = options
    if (!(partBytes > 0 && partBytes <= MAX_PART_BYTES)) {
      throw new RangeError(`partBytes must be from 1 to ${MAX_PART_BYTES}, not ${partBytes}`)
    }
    this.store = components.store
    this.readBuffers = components.readBuffers
    this.memory = new Budget(maxMemoryBytes, 'upload memory')
    this.limiter = new TokenBucket(components.clock, { perSecond: bytesPerSecond })
    this.precedence = new Precedence(components.clock)
    this.log = components.logger.forComponent('blobswarm:peer:uploads')
    this.partBytes = partBytes
    this.maxPending = maxPending
    this.sentBytes = components.metrics?.counter('blobswarm_peer_swarm_sent_bytes_total', {
      help: 'Bytes of chunks sent to neighbours'
    })
  }

  /** Changes the rate limit; it holds for what waits already, too. */
  setRate(bytesPerSecond: number | undefined): void {
    this.limiter.setRate(bytesPerSecond)
  }
}
