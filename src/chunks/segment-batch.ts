import { KIB, MIB } from '../lib/bytes.ts'
import type { ChunkPlace } from './chunk-disk.ts'
import type { Segment } from './segment.ts'
import {
  RECORD_HEADER_BYTES,
  recordBytes,
  type SegmentRecord,
  writeRecordHeader
} from './segment-format.ts'
import type { ChunkId } from './types.ts'

/** Bytes of records that are written together, unless a single one is longer. */
export const BATCH_BYTES = 8 * MIB

/** Shorter chunks are copied: a part of its own costs more. */
const MAX_COPIED_BYTES = 16 * KIB

/** A chunk that waits for its place in a segment. */
export interface PendingRecord {
  readonly id: ChunkId
  readonly bytes: Uint8Array
  readonly isDurable: boolean
  readonly resolve: (place: ChunkPlace) => void
  readonly reject: (error: Error) => void
}

/** What a segment still takes. */
export interface BatchRoom {
  readonly bytes: number
  readonly records: number
}

/** Which records a batch has, and what is written for them. */
export interface SegmentBatch {
  readonly records: readonly SegmentRecord[]
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
}

/** How many of those that wait, in order, go into one batch: at least one. */
export function countOfBatch(pending: readonly PendingRecord[], room: BatchRoom): number {
  let bytes = 0
  let count = 0
  for (const each of pending) {
    bytes += recordBytes(each.bytes.byteLength)
    const fits = bytes <= Math.min(BATCH_BYTES, room.bytes) && count < room.records
    if (count > 0 && !fits) break
    count++
  }
  return count
}

/** How much of `buffer` a batch needs: for all headers, and for chunks that are soon copied. */
export function bufferBytesOf(pending: readonly PendingRecord[]): number {
  return pending.reduce((sum, { bytes }) => sum + RECORD_HEADER_BYTES + copiedBytes(bytes), 0)
}

/** Puts records together for the segment's end, in parts that are views of `buffer` or the chunks. */
export function encodeBatch(
  buffer: Buffer,
  segment: Segment,
  pending: readonly PendingRecord[]
): SegmentBatch {
  const records: SegmentRecord[] = []
  const parts: Uint8Array[] = []
  let offset = segment.endBytes
  let [from, to] = [0, 0]
  for (const { id, bytes } of pending) {
    const record = { id: id.slice(), offset, bytes: bytes.byteLength }
    writeRecordHeader(buffer, to, segment.nonce, record)
    records.push(record)
    offset += recordBytes(bytes.byteLength)
    to += RECORD_HEADER_BYTES
    if (copiedBytes(bytes) > 0) {
      buffer.set(bytes, to)
      to += bytes.byteLength
    } else if (bytes.byteLength > 0) {
      parts.push(buffer.subarray(from, to), bytes)
      from = to
    }
  }
  if (to > from) parts.push(buffer.subarray(from, to))
  return { records, parts, bytes: offset - segment.endBytes }
}

function copiedBytes({ byteLength }: Uint8Array): number {
  return byteLength <= MAX_COPIED_BYTES ? byteLength : 0
}
