import type { AbortOptions } from '../lib/abort-options.ts'

/**
 * BLAKE3-256 of a chunk's plain bytes, 32 bytes. Pages and leaf lists are named the same way. The
 * reserved ZERO_CHUNK_ID (32 zero bytes) names a chunk of zeros of any length, which is never
 * stored, sent or read from a disk.
 */
export type ChunkId = Uint8Array

/** A provider is named by its libp2p peer id in text form. */
export type ProviderId = string

/** How a block of bytes is handed over. */
export interface WriteBlockOptions extends AbortOptions {
  /**
   * The array is only lent: when the call has resolved, its owner uses it again.
   *
   * @default false: it is given away
   */
  readonly isLent?: boolean | undefined
}
