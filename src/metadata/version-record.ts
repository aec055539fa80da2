/**
 * The sealed form of a version, which a version manager signs (purpose `version-record`). Integers
 * are big-endian.
 *
 * ```text
 *    0   1  format, 1
 *    1  32  blob id
 *   33   8  version
 *   41   8  bytes
 *   49   1  log2 of chunkBytes, 16 … 24
 *   50   1  hash: multihash code of chunk and page ids (0x1e, BLAKE3-256)
 *   51  32  id of the manifest root
 *   83   8  time of publication, milliseconds since the epoch
 *   91   1  1 if a parent follows, else 0
 *  [92  32  parent: blob id
 *  124   8  parent: version]
 *         2  length n of the note, at most 1,024
 *         n  note, UTF-8
 * ```
 */

import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import { checkChunkBytes } from '../chunks/chunk-size.ts'
import { ByteReader, ByteWriter, fromHex, toHex } from '../lib/bytes.ts'
import { MetadataLimitError, UntrustedSignatureError } from './errors.ts'
import type { SignedVersionRecord, VersionRecord } from './sealing-types.ts'
import type { SignedEnvelope, Signer, Verifier } from './signature-types.ts'
import type { BlobId, Version, VersionRef } from './types.ts'

/** Bytes of a version's note in UTF-8. */
export const MAX_NOTE_BYTES = 1024

const FORMAT = 1
const BLOB_ID_BYTES = 32

/** Name of a version's record in a RecordStore. */
export function versionRecordName(blob: BlobId, version: Version): string {
  return `version/${blob}/${version}`
}

/** @throws {MetadataLimitError} if the note is longer than MAX_NOTE_BYTES. */
export function encodeVersionRecord(record: VersionRecord): Uint8Array {
  const noteBytes = Buffer.byteLength(record.note)
  if (noteBytes > MAX_NOTE_BYTES) throw new MetadataLimitError('bytes of a note', noteBytes, 1024)
  checkChunkBytes(record.chunkBytes)
  const writer = new ByteWriter(160 + noteBytes)
    .u8(FORMAT)
    .bytes(fromHex(record.blob))
    .u64(record.version)
    .u64(record.bytes)
    .u8(Math.log2(record.chunkBytes))
    .u8(record.hashCode)
    .bytes(record.manifestRoot)
    .u64(record.timeMs)
    .u8(record.parent === undefined ? 0 : 1)
  if (record.parent !== undefined) {
    writer.bytes(fromHex(record.parent.blob)).u64(record.parent.version)
  }
  return writer.text(record.note).finish()
}

/** @throws {MalformedError} if it is anything but what `encodeVersionRecord` writes. */
export function decodeVersionRecord(bytes: Uint8Array): VersionRecord {
  const reader = new ByteReader(bytes, 'version record')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const blob = toHex(reader.bytes(BLOB_ID_BYTES))
  const version = reader.u64()
  const size = reader.u64()
  const chunkBytesLog2 = reader.u8()
  if (chunkBytesLog2 < 16 || chunkBytesLog2 > 24) reader.fail(`chunk size 2^${chunkBytesLog2}`)
  const hashCode = reader.u8()
  const manifestRoot = reader.bytes(CHUNK_ID_BYTES)
  const timeMs = reader.u64()
  const parent = decodeParent(reader)
  const note = reader.text()
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES) reader.fail('a note of more than 1,024 bytes')
  reader.end()
  const chunkBytes = 2 ** chunkBytesLog2
  return { blob, version, bytes: size, chunkBytes, hashCode, manifestRoot, parent, timeMs, note }
}

/** Signs a record. */
export function signRecord(signer: Signer, record: VersionRecord): SignedVersionRecord {
  return { record, envelope: signer.sign('version-record', encodeVersionRecord(record)) }
}

/**
 * Reads a record and checks who signed it, and that it is about the version that was asked for.
 *
 * @throws {UntrustedSignatureError} if the signature does not hold or it is another version's
 *   record.
 * @throws {MalformedError} if what was signed is not a version record.
 */
export function verifyRecord(
  verifier: Verifier,
  envelope: SignedEnvelope,
  expected?: VersionRef
): SignedVersionRecord {
  const record = decodeVersionRecord(envelope.payload)
  verifier.verify('version-record', envelope, record.timeMs)
  if (expected === undefined) return { record, envelope }
  if (record.blob !== expected.blob || record.version !== expected.version) {
    throw new UntrustedSignatureError(
      `record of ${versionRecordName(record.blob, record.version)} in place of ` +
        versionRecordName(expected.blob, expected.version)
    )
  }
  return { record, envelope }
}

function decodeParent(reader: ByteReader): VersionRef | undefined {
  const isThere = reader.u8()
  if (isThere > 1) reader.fail(`parent flag ${isThere}`)
  if (isThere === 0) return undefined
  return { blob: toHex(reader.bytes(BLOB_ID_BYTES)), version: reader.u64() }
}

/** Opens a record that was verified when it was taken in. @throws {MalformedError} */
export function openedRecord(envelope: SignedEnvelope): SignedVersionRecord {
  return { record: decodeVersionRecord(envelope.payload), envelope }
}
