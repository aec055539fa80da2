/**
 * How chunks lie in segments. All numbers are big-endian, all offsets count from the beginning of
 * the segment's file.
 *
 * ```text
 * NNNNNNNN.chunks   "BSWSEG1\n" 8 | nonce 8 | records, one after the other
 *   record          "CHNK" 4 | encoding 1 (0: as it is) | 0 3 | length 4 | id 32 | crc 4 | bytes
 *                   crc: CRC-32 of nonce, offset of the record (4 bytes) and the fields before it
 * NNNNNNNN.index    "BSWIDX1\n" 8 | nonce 8 | end 4 | count 4 | count × entry | BLAKE3 of all that 32
 *   entry           id 32 | offset of the record 4 | length 4
 * NNNNNNNN.dead     "BSWDEL1\n" 8 | nonce 8 | n × deletion
 *   deletion        offset of the record 4 | crc 4: CRC-32 of nonce and offset
 * ```
 *
 * The index saves reading a segment at the start: it tells what lies before `end`. It is written
 * when a segment is full and when the store stops, and need not be durable: if it is not whole,
 * the records themselves are read. A nonce is made with each segment, so that a file that is left
 * over from another segment of the same number is known.
 */

import { crc32 } from 'node:zlib'
import { blake3 } from '../lib/blake3.ts'
import { asBuffer, equalBytes } from '../lib/bytes.ts'
import { CHUNK_ID_BYTES } from './chunk-id.ts'
import type { ChunkId } from './types.ts'

/** Length of a segment's nonce. */
export const NONCE_BYTES = 8
/** What stands before the records, and before the deletions. */
export const SEGMENT_HEADER_BYTES = 16
/** What stands before a chunk's bytes. */
export const RECORD_HEADER_BYTES = 48
/** Length of a deletion. */
export const DELETION_BYTES = 8

const SEGMENT_MAGIC = Buffer.from('BSWSEG1\n')
const INDEX_MAGIC = Buffer.from('BSWIDX1\n')
const DEAD_MAGIC = Buffer.from('BSWDEL1\n')
const RECORD_MAGIC = Buffer.from('CHNK')
const INDEX_HEADER_BYTES = 24
const INDEX_ENTRY_BYTES = 40
const CHECK_BYTES = 32
const ID_AT = 12
const CRC_AT = 44

/** A chunk in a segment. */
export interface SegmentRecord {
  readonly id: ChunkId
  /** Of the record, not of its bytes. */
  readonly offset: number
  /** Of the chunk. */
  readonly bytes: number
}

/** What a segment's index tells. */
export interface SegmentIndex {
  /** The segment's. */
  readonly nonce: Uint8Array
  /** Where the records end that it tells of. */
  readonly endBytes: number
  readonly records: readonly SegmentRecord[]
}

/** An index as it is read: a million records as objects at once would take much memory. */
export interface DecodedSegmentIndex extends Omit<SegmentIndex, 'records'> {
  /** Made anew each time; the ids are views. */
  readonly records: Iterable<SegmentRecord>
}

/** Length of a record for a chunk of so many bytes. */
export function recordBytes(chunkBytes: number): number {
  return RECORD_HEADER_BYTES + chunkBytes
}

export function encodeSegmentHeader(nonce: Uint8Array): Uint8Array {
  return Buffer.concat([SEGMENT_MAGIC, nonce])
}

export function encodeDeadHeader(nonce: Uint8Array): Uint8Array {
  return Buffer.concat([DEAD_MAGIC, nonce])
}

/** @returns the nonce; undefined if this is no segment. */
export function decodeSegmentHeader(header: Uint8Array): Uint8Array | undefined {
  return nonceAfter(SEGMENT_MAGIC, header)
}

/** Writes the header of a record that lies at `record.offset` into `target`, from `at`. */
export function writeRecordHeader(
  target: Buffer,
  at: number,
  nonce: Uint8Array,
  { id, offset, bytes }: SegmentRecord
): void {
  target.set(RECORD_MAGIC, at)
  target.writeUInt32BE(0, at + 4)
  target.writeUInt32BE(bytes, at + 8)
  target.set(id, at + ID_AT)
  const checked = target.subarray(at, at + CRC_AT)
  target.writeUInt32BE(crc32(checked, crcOf(nonce, offset)), at + CRC_AT)
}

/** Reads the header of the record at `offset`. @returns undefined if there is none. */
export function readRecordHeader(
  header: Uint8Array,
  nonce: Uint8Array,
  offset: number
): SegmentRecord | undefined {
  const buffer = asBuffer(header)
  if (buffer.byteLength < RECORD_HEADER_BYTES) return undefined
  if (!equalBytes(buffer.subarray(0, 4), RECORD_MAGIC) || buffer.readUInt32BE(4) !== 0) {
    return undefined
  }
  const crc = crc32(buffer.subarray(0, CRC_AT), crcOf(nonce, offset))
  if (buffer.readUInt32BE(CRC_AT) !== crc) return undefined
  const id = Uint8Array.from(buffer.subarray(ID_AT, ID_AT + CHUNK_ID_BYTES))
  return { id, offset, bytes: buffer.readUInt32BE(8) }
}

export function encodeSegmentIndex({ nonce, endBytes, records }: SegmentIndex): Uint8Array {
  const end = INDEX_HEADER_BYTES + records.length * INDEX_ENTRY_BYTES
  const encoded = Buffer.alloc(end + CHECK_BYTES)
  encoded.set(INDEX_MAGIC)
  encoded.set(nonce, INDEX_MAGIC.byteLength)
  encoded.writeUInt32BE(endBytes, 16)
  encoded.writeUInt32BE(records.length, 20)
  let at = INDEX_HEADER_BYTES
  for (const { id, offset, bytes } of records) {
    encoded.set(id, at)
    encoded.writeUInt32BE(offset, at + CHUNK_ID_BYTES)
    encoded.writeUInt32BE(bytes, at + CHUNK_ID_BYTES + 4)
    at += INDEX_ENTRY_BYTES
  }
  encoded.set(blake3(encoded.subarray(0, end)), end)
  return encoded
}

/** @returns undefined if it is not a whole index. */
export function decodeSegmentIndex(encoded: Uint8Array): DecodedSegmentIndex | undefined {
  const buffer = asBuffer(encoded)
  const end = buffer.byteLength - CHECK_BYTES
  if (end < INDEX_HEADER_BYTES) return undefined
  const nonce = nonceAfter(INDEX_MAGIC, buffer)
  if (nonce === undefined) return undefined
  const count = buffer.readUInt32BE(20)
  if (end !== INDEX_HEADER_BYTES + count * INDEX_ENTRY_BYTES) return undefined
  if (!equalBytes(blake3(buffer.subarray(0, end)), buffer.subarray(end))) return undefined
  const records = { [Symbol.iterator]: () => indexEntries(buffer.subarray(0, end)) }
  return { nonce, endBytes: buffer.readUInt32BE(16), records }
}

function* indexEntries(encoded: Buffer): Generator<SegmentRecord, void> {
  for (let at = INDEX_HEADER_BYTES; at < encoded.byteLength; at += INDEX_ENTRY_BYTES) {
    const offset = encoded.readUInt32BE(at + CHUNK_ID_BYTES)
    const bytes = encoded.readUInt32BE(at + CHUNK_ID_BYTES + 4)
    yield { id: encoded.subarray(at, at + CHUNK_ID_BYTES), offset, bytes }
  }
}

/** Encodes deletions of the records at these offsets. */
export function encodeDeletions(nonce: Uint8Array, offsets: readonly number[]): Uint8Array {
  const encoded = Buffer.alloc(offsets.length * DELETION_BYTES)
  for (const [at, offset] of offsets.entries()) {
    encoded.writeUInt32BE(offset, at * DELETION_BYTES)
    encoded.writeUInt32BE(crcOf(nonce, offset), at * DELETION_BYTES + 4)
  }
  return encoded
}

/** Offsets of deleted records; what is no deletion of this segment's is passed over. */
export function decodeDeletions(encoded: Uint8Array, nonce: Uint8Array): Set<number> {
  const buffer = asBuffer(encoded)
  const offsets = new Set<number>()
  const actual = nonceAfter(DEAD_MAGIC, buffer)
  if (actual === undefined || !equalBytes(actual, nonce)) return offsets
  const end = buffer.byteLength - DELETION_BYTES
  for (let at = SEGMENT_HEADER_BYTES; at <= end; at += DELETION_BYTES) {
    const offset = buffer.readUInt32BE(at)
    if (buffer.readUInt32BE(at + 4) === crcOf(nonce, offset)) offsets.add(offset)
  }
  return offsets
}

function nonceAfter(magic: Buffer, header: Uint8Array): Uint8Array | undefined {
  const end = magic.byteLength + NONCE_BYTES
  if (header.byteLength < end) return undefined
  if (!equalBytes(header.subarray(0, magic.byteLength), magic)) return undefined
  return Uint8Array.from(header.subarray(magic.byteLength, end))
}

function crcOf(nonce: Uint8Array, offset: number): number {
  const seed = Buffer.alloc(NONCE_BYTES + 4)
  seed.set(nonce)
  seed.writeUInt32BE(offset, NONCE_BYTES)
  return crc32(seed)
}
