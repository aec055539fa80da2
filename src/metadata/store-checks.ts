import { verifyChunk } from '../chunks/chunk-id.ts'
import { equalBytes } from '../lib/bytes.ts'
import { nextTurn } from '../lib/turn.ts'
import { MetadataLimitError, RecordConflictError, UntrustedSignatureError } from './errors.ts'
import { decodeLocation, locationRecordName } from './location.ts'
import { encodeKeyedNode, MAX_BATCH_NODES } from './node-codec.ts'
import type { OpenedProofs } from './opened-proofs.ts'
import { decodePathRecord, pathRecordName } from './path-record.ts'
import type { Verifier } from './signature-types.ts'
import type { NamedRecord, Page } from './store-types.ts'
import type { NodeProof } from './ticket-types.ts'
import { checkProven } from './tickets.ts'
import type { KeyedNode } from './tree-types.ts'
import { decodeVersionRecord, versionRecordName } from './version-record.ts'

/** Bytes of a page; a manifest page of 1,024 ids has 32 KiB, a leaf-list root up to 512. */
export const MAX_PAGE_BYTES = 1024 * 1024

/** Pages or records that one call may carry. */
export const MAX_BATCH_PAGES = 1024

/** Nodes that are checked without a break; they take a few milliseconds. */
const NODES_A_TURN = 512

/**
 * Checks nodes that a metadata provider is asked to keep: the limits of a batch, and that the proof
 * holds. Other work of the event loop comes in between.
 *
 * @returns each node with its key as `encodeKeyedNode` gives them.
 * @throws {MetadataLimitError | UntrustedSignatureError | MalformedError | InvalidNodeError}
 */
export async function checkNodePut(
  proofs: OpenedProofs,
  nodes: readonly KeyedNode[],
  proof: NodeProof
): Promise<Uint8Array[]> {
  checkCount('nodes of a batch', nodes.length, MAX_BATCH_NODES)
  const opened = proofs.open(proof)
  const all: Uint8Array[] = []
  for (let from = 0; from < nodes.length; from += NODES_A_TURN) {
    if (from > 0) await nextTurn()
    const some = nodes.slice(from, from + NODES_A_TURN)
    const encoded = some.map(encodeKeyedNode)
    checkProven(opened, some, encoded)
    all.push(...encoded)
  }
  return all
}

/** @throws {MetadataLimitError | ChunkMismatchError} */
export function checkPagePut(pages: readonly Page[]): void {
  checkCount('pages of a batch', pages.length, MAX_BATCH_PAGES)
  for (const { id, bytes } of pages) {
    checkCount('bytes of a page', bytes.byteLength, MAX_PAGE_BYTES)
    verifyChunk(id, bytes)
  }
}

/**
 * Checks that a manager signed the records and that what they say of themselves is what was signed.
 *
 * @throws {MetadataLimitError | UntrustedSignatureError | MalformedError}
 */
export function checkRecordPut(verifier: Verifier, records: readonly NamedRecord[]): void {
  checkCount('records of a batch', records.length, MAX_BATCH_PAGES)
  for (const { name, sequence, purpose, envelope } of records) {
    verifier.verify(purpose, envelope)
    const signed = signedName(purpose, envelope.payload)
    if (signed.name !== name || signed.sequence !== sequence) {
      throw new UntrustedSignatureError(`${signed.name} in place of ${name}, or of its sequence`)
    }
  }
}

/** Name and sequence that follow from what was signed. A version's record never changes. */
function signedName(
  purpose: NamedRecord['purpose'],
  payload: Uint8Array
): Pick<NamedRecord, 'name' | 'sequence'> {
  if (purpose === 'location') {
    const { page, sequence } = decodeLocation(payload)
    return { name: locationRecordName(page), sequence }
  }
  if (purpose === 'version-record') {
    const { blob, version } = decodeVersionRecord(payload)
    return { name: versionRecordName(blob, version), sequence: 1 }
  }
  if (purpose === 'path') {
    const { path, sequence } = decodePathRecord(payload)
    return { name: pathRecordName(path), sequence }
  }
  throw new UntrustedSignatureError(`a signature for ${purpose} is no record`)
}

/**
 * Tells whether a record takes the place of what is there. The certificate beside a signature may
 * change; what was signed may not.
 *
 * @throws {RecordConflictError} if another record has the same sequence.
 */
export function replaces(record: NamedRecord, there: NamedRecord | undefined): boolean {
  if (there === undefined || there.sequence < record.sequence) return true
  if (there.sequence > record.sequence) return false
  const isSame =
    there.purpose === record.purpose && equalBytes(there.envelope.payload, record.envelope.payload)
  if (!isSame) throw new RecordConflictError(record.name, record.sequence)
  return false
}

function checkCount(what: string, actual: number, limit: number): void {
  if (actual > limit) throw new MetadataLimitError(what, actual, limit)
}
