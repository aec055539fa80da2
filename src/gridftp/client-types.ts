import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Range } from '../lib/range-set.ts'
import type { FtpReply } from './reply-reader.ts'

export interface GridFtpClientComponents {
  readonly clock: Clock
  /** Gets commands and replies at level trace, without passwords. */
  readonly logger?: LoggerFactory | undefined
}

export interface GridFtpClientOptions {
  /**
   * How long nothing may move, neither data nor replies, before an operation fails; milliseconds.
   * @default 600_000
   */
  readonly idleTimeoutMs?: number | undefined
  /** Data connections that a server may open for one download. @default 64 */
  readonly maxDataConnections?: number | undefined
  /** Largest listing, in bytes. @default 16_777_216 */
  readonly maxListingBytes?: number | undefined
}

export interface OperationOptions {
  /** Aborting closes the client at once: the server sees a client that died. */
  readonly signal?: AbortSignal | undefined
}

/** How far a transfer is. */
export interface TransferProgress {
  readonly bytes: number
  /** Undefined when the server does not tell the size. */
  readonly totalBytes: number | undefined
}

export interface TransferOptions extends OperationOptions {
  /** `S`: stream mode, one connection. `E`: extended block mode. @default 'E' */
  readonly mode?: 'S' | 'E' | undefined
  /** Data connections in mode E, 1 to 64. @default 2 */
  readonly streams?: number | undefined
  /** Bytes of a block of an upload; each stream holds at most two. @default 1_048_576 */
  readonly blockBytes?: number | undefined
  readonly onProgress?: ((progress: TransferProgress) => void) | undefined
  /**
   * Of an upload in mode E: what the server has of one that broke, which is not sent again; in
   * ascending order, without overlaps, as `onDurable` of that one heard of it. @default nothing
   */
  readonly arrived?: readonly Range[] | undefined
  /** Of an upload in mode E: hears what would not have to be sent again, each range once. */
  readonly onDurable?: ((range: Range) => void) | undefined
  /** Hears each 1yz reply: that the transfer began, and its markers. */
  readonly onPreliminary?: ((reply: FtpReply) => void) | undefined
}

export interface TransferResult {
  readonly bytes: number
  /** What the server said at the end. */
  readonly reply: FtpReply
}
