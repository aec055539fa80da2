import { type FileLayer, writeFully } from '../lib/file-layer.ts'
import type { Logger } from '../lib/logger.ts'
import type { SegmentPaths } from './disk-layout.ts'
import {
  encodeSegmentIndex,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentRecord
} from './segment-format.ts'

/**
 * `filling → full → sealed → removed`: takes records, waits for its last flush, changes no more, is
 * gone.
 */
export type SegmentState = 'filling' | 'full' | 'sealed' | 'removed'

/** What is known of a segment in memory. */
export class Segment {
  readonly number: number
  readonly paths: SegmentPaths
  readonly nonce: Uint8Array
  state: SegmentState
  /** Where the next record goes. */
  endBytes = SEGMENT_HEADER_BYTES
  /** Where the next deletion goes; 0 if the file has to be made. */
  deadEndBytes = 0
  /** Some of it cannot be read, so it is kept for people instead of being compacted. */
  isDamaged = false
  #liveBytes = 0

  constructor(
    number: number,
    options: {
      readonly paths: SegmentPaths
      readonly nonce: Uint8Array
      readonly state: SegmentState
    }
  ) {
    this.number = number
    this.paths = options.paths
    this.nonce = options.nonce
    this.state = options.state
  }

  /** Bytes of records that are chunks of the store, or about to be. */
  get liveBytes(): number {
    return this.#liveBytes
  }

  /** Bytes of records that are not. */
  get deadBytes(): number {
    return this.endBytes - SEGMENT_HEADER_BYTES - this.#liveBytes
  }

  /** A record's chunk is held here. */
  addLive(record: Pick<SegmentRecord, 'bytes'>): void {
    this.#liveBytes += recordBytes(record.bytes)
  }

  /** A record's chunk is no longer held, or not here. */
  removeLive(record: Pick<SegmentRecord, 'bytes'>): void {
    this.#liveBytes -= recordBytes(record.bytes)
  }
}

/** Writes a segment's index, which only saves work at a start: a failure is no harm. */
export async function writeSegmentIndex(
  { files, log }: { readonly files: FileLayer; readonly log: Logger },
  segment: Segment,
  records: Iterable<SegmentRecord>
): Promise<void> {
  try {
    const { endBytes, nonce, paths } = segment
    const file = await files.open(paths.index, 'w')
    try {
      await writeFully(
        files,
        file,
        encodeSegmentIndex({ nonce, endBytes, records: Array.from(records) })
      )
    } finally {
      await files.close(file)
    }
  } catch (error) {
    log.info('%s has no index: %e', segment.paths.chunks, error)
  }
}
