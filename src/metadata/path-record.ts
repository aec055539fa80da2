/**
 * Which blob a path named and which version was its newest, signed by the version manager (purpose
 * `path`), so that images can be found by their paths while it does not answer. Integers are
 * big-endian.
 *
 * ```text
 *    0  1    format, 1
 *    1  32   blob id
 *   33  8    version
 *   41  8    sequence: when it was signed, milliseconds since the epoch; a higher one replaces a lower one
 *   49       path: length u16, UTF-8
 * ```
 */

import { chunkId } from '../chunks/chunk-id.ts'
import { ByteReader, ByteWriter, fromHex, toHex } from '../lib/bytes.ts'
import { UntrustedSignatureError } from './errors.ts'
import type { SignedEnvelope, Signer, Verifier } from './signature-types.ts'
import type { NamedRecord } from './store-types.ts'
import type { BlobId, Version } from './types.ts'

const FORMAT = 1
const BLOB_ID_BYTES = 32

/** What a path stood for at some time. */
export interface PathRecord {
  readonly path: string
  readonly blob: BlobId
  readonly version: Version
  /** When it was signed, milliseconds since the epoch. */
  readonly sequence: number
}

/** Name of a path's record in a RecordStore; of the same length for any path. */
export function pathRecordName(path: string): string {
  return `path/${toHex(chunkId(Buffer.from(path)))}`
}

export function encodePathRecord({ path, blob, version, sequence }: PathRecord): Uint8Array {
  const writer = new ByteWriter(128).u8(FORMAT).bytes(fromHex(blob)).u64(version)
  return writer.u64(sequence).text(path).finish()
}

/** @throws {MalformedError} if it is anything but what `encodePathRecord` writes. */
export function decodePathRecord(bytes: Uint8Array): PathRecord {
  const reader: ByteReader = new ByteReader(bytes, 'path record')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const blob = toHex(reader.bytes(BLOB_ID_BYTES))
  const version = reader.u64()
  const sequence = reader.u64()
  const path = reader.text()
  reader.end()
  return { path, blob, version, sequence }
}

/** Signs a record and puts it under its name. */
export function signPathRecord(signer: Signer, record: PathRecord): NamedRecord {
  return {
    name: pathRecordName(record.path),
    sequence: record.sequence,
    purpose: 'path',
    envelope: signer.sign('path', encodePathRecord(record))
  }
}

/**
 * Reads a record and checks who signed it, and that it is about the path that was asked for.
 *
 * @throws {UntrustedSignatureError} if the signature does not hold or it is another path's record.
 * @throws {MalformedError} if what was signed is no path record.
 */
export function verifyPathRecord(
  verifier: Verifier,
  envelope: SignedEnvelope,
  path: string
): PathRecord {
  const record = decodePathRecord(envelope.payload)
  verifier.verify('path', envelope, record.sequence)
  if (record.path === path) return record
  throw new UntrustedSignatureError(`the record of ${record.path} in place of ${path}`)
}
