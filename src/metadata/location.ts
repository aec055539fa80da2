/**
 * Where the chunks of one manifest page are, signed by a version manager (purpose `location`).
 * Integers are big-endian.
 *
 * ```text
 *    0  1    format, 1
 *    1  32   id of the manifest page
 *   33  8    sequence; a higher one replaces a lower one
 *   41       replica table (replica-sets.ts)
 *      2     chunks n of the page, at most 1,024
 *      2 n   number of each chunk's replica set, the empty one for the zero chunk
 * ```
 */

import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import { MAX_MANIFEST_CHILDREN } from '../chunks/manifest.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import { ByteReader, ByteWriter, equalBytes, toHex } from '../lib/bytes.ts'
import { MetadataLimitError, UntrustedSignatureError } from './errors.ts'
import { decodeReplicaTable, ReplicaTable, sortedReplicas } from './replica-sets.ts'
import type { LocationRecord } from './sealing-types.ts'
import type { SignedEnvelope, Signer, Verifier } from './signature-types.ts'
import type { NamedRecord } from './store-types.ts'

const FORMAT = 1

/** Name of a page's location record in a RecordStore. */
export function locationRecordName(page: ChunkId): string {
  return `location/${toHex(page)}`
}

/** Encodes a record; the order of the providers in a set does not matter. */
export function encodeLocation(record: LocationRecord): Uint8Array {
  const count = record.replicas.length
  if (count > MAX_MANIFEST_CHILDREN) {
    throw new MetadataLimitError('chunks of a location record', count, MAX_MANIFEST_CHILDREN)
  }
  const table = new ReplicaTable()
  const numbers = record.replicas.map((set) => table.number(sortedReplicas(set)))
  const writer = new ByteWriter(512 + count * 2).u8(FORMAT).bytes(record.page).u64(record.sequence)
  table.encodeTo(writer)
  writer.u16(count)
  for (const number of numbers) writer.u16(number)
  return writer.finish()
}

/** @throws {MalformedError} if it is anything but what `encodeLocation` writes. */
export function decodeLocation(bytes: Uint8Array): LocationRecord {
  const reader: ByteReader = new ByteReader(bytes, 'location record')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const page = reader.bytes(CHUNK_ID_BYTES)
  const sequence = reader.u64()
  const sets = decodeReplicaTable(reader)
  const count = reader.u16()
  if (count > MAX_MANIFEST_CHILDREN) reader.fail(`${count} chunks`)
  const replicas: (readonly ProviderId[])[] = []
  let used = 0
  for (let at = 0; at < count; at++) {
    const number = reader.u16()
    const set = sets[number]
    if (set === undefined || number > used) reader.fail(`replica set ${number}`)
    if (number === used) used++
    replicas.push(set)
  }
  if (used !== sets.length) reader.fail('replica sets that no chunk names')
  reader.end()
  return { page, sequence, replicas }
}

/** Signs a record and puts it under its name. */
export function signLocation(signer: Signer, record: LocationRecord): NamedRecord {
  return {
    name: locationRecordName(record.page),
    sequence: record.sequence,
    purpose: 'location',
    envelope: signer.sign('location', encodeLocation(record))
  }
}

/**
 * Reads a record and checks who signed it, and that it is about the page that was asked for.
 *
 * @throws {UntrustedSignatureError} if the signature does not hold or it is another page's record.
 * @throws {MalformedError} if what was signed is not a location record.
 */
export function verifyLocation(
  verifier: Verifier,
  envelope: SignedEnvelope,
  page: ChunkId
): LocationRecord {
  verifier.verify('location', envelope)
  const record = decodeLocation(envelope.payload)
  if (!equalBytes(record.page, page)) {
    throw new UntrustedSignatureError(
      `${locationRecordName(record.page)} in place of ${locationRecordName(page)}`
    )
  }
  return record
}
