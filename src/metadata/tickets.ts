/**
 * Tickets and the proofs beside tree nodes. Integers are big-endian.
 *
 * ```text
 * ticket (signed for the purpose `ticket`)
 *    0   1  format, 1
 *    1  32  blob id
 *   33   1  log2 of chunkBytes, 0 … 24
 *   34  32  leaf list: id of its root page
 *   66   8  lease: milliseconds since the epoch
 *   74      assigned (the version itself)
 *        1  1 if a base follows, else 0
 *      [32  base: blob id
 *        8  base: version
 *        1  base: log2 of its span]
 *        2  length n of the writer's peer id, 1 … 128
 *        n  writer's peer id, UTF-8
 *        2  versions in flight, at most 1,024
 *           in flight × assigned, oldest first
 *
 * assigned
 *    0   8  version
 *    8   8  bytes
 *   16   1  log2 of span
 *   17   1  log2 of the previous span; 255 if there was none
 *   18   1  1 if it truncates, else 0
 *   19   2  ranges r
 *   21  8r  r × (u32 first chunk · u32 number of chunks − 1)
 *
 * nodes (signed for the purpose `nodes`)
 *    0   1  format, 1
 *    1   4  count, at most 8,192
 *    5      count × 32: BLAKE3 of encoded key and encoded node, each
 * ```
 *
 * A proof lists the digest of every node of a batch, so the same proof also stands beside any
 * part of it: batches are cut by owner when they are put, and again when owners change.
 */
import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import { BLAKE3_BYTES, blake3 } from '../lib/blake3.ts'
import { asBuffer, ByteReader, ByteWriter } from '../lib/bytes.ts'
import { InvalidNodeError, UntrustedSignatureError } from './errors.ts'
import { areTicketRanges, chunksOf, MAX_LEVEL } from './geometry.ts'
import { checkNodes } from './node-check.ts'
import { encodeKeyedNode, MAX_BATCH_NODES, readBlobId, writeBlobId } from './node-codec.ts'
import type { SignedEnvelope, Signer, Verifier } from './signature-types.ts'
import type { AssignedVersion, NodeProof, RootRef, SignedTicket, Ticket } from './ticket-types.ts'
import type { KeyedNode } from './tree-types.ts'
import type { ChunkRange } from './types.ts'

/** Versions of a blob that may be in flight at once. */
export const MAX_IN_FLIGHT_VERSIONS = 1024

/** Ranges that a ticket's versions in flight may have together: 2 MiB of its bytes. */
export const MAX_IN_FLIGHT_RANGES = 262_144

const FORMAT = 1
const NO_LEVEL = 255
const MAX_CHUNK_LEVEL = 24
const MAX_WRITER_BYTES = 128

/** Encodes a ticket; equal tickets have equal bytes. */
export function encodeTicket(ticket: Ticket): Uint8Array {
  const writer = new ByteWriter(256 + ticket.inFlight.length * 64).u8(FORMAT)
  writeBlobId(writer, ticket.blob)
  writer.u8(Math.log2(ticket.chunkBytes)).bytes(ticket.leafList).u64(ticket.leaseUntilMs)
  writeAssigned(writer, ticket)
  writer.u8(ticket.base === undefined ? 0 : 1)
  if (ticket.base !== undefined) {
    writeBlobId(writer, ticket.base.blob)
    writer.u64(ticket.base.version).u8(Math.log2(ticket.base.span))
  }
  writer.text(ticket.writer).u16(ticket.inFlight.length)
  for (const lower of ticket.inFlight) writeAssigned(writer, lower)
  return writer.finish()
}

/** Decodes a ticket. @throws {MalformedError} for anything that `encodeTicket` does not write. */
export function decodeTicket(bytes: Uint8Array): Ticket {
  const reader = new ByteReader(bytes, 'ticket')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const blob = readBlobId(reader)
  const chunkBytes = readPowerOfTwo(reader, MAX_CHUNK_LEVEL)
  const leafList = reader.bytes(CHUNK_ID_BYTES)
  const leaseUntilMs = reader.u64()
  const assigned = readAssigned(reader, chunkBytes)
  const base = readBase(reader)
  const writer = reader.text()
  if (writer === '' || writer.length > MAX_WRITER_BYTES) reader.fail('writer of no or many bytes')
  const count = reader.u16()
  if (count > MAX_IN_FLIGHT_VERSIONS) reader.fail(`${count} versions in flight`)
  const inFlight: AssignedVersion[] = []
  let newest = base?.blob === blob ? base.version : 0
  for (let at = 0; at < count; at++) {
    const lower = readAssigned(reader, chunkBytes)
    if (lower.version !== newest + 1) reader.fail(`version ${lower.version} after ${newest}`)
    newest = lower.version
    inFlight.push(lower)
  }
  if (assigned.version !== newest + 1) reader.fail(`version ${assigned.version} after ${newest}`)
  reader.end()
  return { ...assigned, blob, chunkBytes, writer, leafList, inFlight, base, leaseUntilMs }
}

/** Signs a ticket, as the version manager. */
export function signTicket(signer: Signer, ticket: Ticket): SignedTicket {
  return { ticket, envelope: signer.sign('ticket', encodeTicket(ticket)) }
}

/**
 * Reads a ticket and checks that a version manager signed it.
 *
 * @throws {UntrustedSignatureError | MalformedError}
 */
export function verifyTicket(verifier: Verifier, envelope: SignedEnvelope): SignedTicket {
  verifier.verify('ticket', envelope)
  return { ticket: decodeTicket(envelope.payload), envelope }
}

/**
 * Signs a batch of nodes, as the writer that the ticket names or as a version manager that
 * repairs.
 */
export function proveNodes(
  signer: Signer,
  ticket: SignedEnvelope,
  nodes: readonly KeyedNode[]
): NodeProof {
  if (nodes.length > MAX_BATCH_NODES) throw new RangeError(`a batch of ${nodes.length} nodes`)
  const writer = new ByteWriter(5 + nodes.length * BLAKE3_BYTES).u8(FORMAT).u32(nodes.length)
  for (const node of nodes) writer.bytes(blake3(encodeKeyedNode(node)))
  return { ticket, nodes: signer.sign('nodes', writer.finish()) }
}

/** A proof whose signatures hold. */
export interface OpenedProof {
  readonly ticket: Ticket
  /** Digests that it lists. */
  readonly digests: ReadonlySet<string>
}

/**
 * Checks the signatures of a proof: the ticket is a version manager's, and its writer (or that
 * version manager, in repair) signed the nodes.
 *
 * @throws {UntrustedSignatureError | MalformedError}
 */
export function openProof(verifier: Verifier, proof: NodeProof): OpenedProof {
  const manager = verifier.verify('ticket', proof.ticket)
  const ticket = decodeTicket(proof.ticket.payload)
  const putter = verifier.verify('nodes', proof.nodes)
  if (putter !== ticket.writer && putter !== manager) {
    throw new UntrustedSignatureError(`nodes by ${putter}, the ticket is for ${ticket.writer}`)
  }
  return { ticket, digests: readDigests(proof.nodes.payload) }
}

/**
 * Checks that a proof lists these nodes, which may be a part of the batch it was made for, and that
 * each of them follows from the ticket. `encoded` saves encoding them again.
 *
 * @throws {InvalidNodeError}
 */
export function checkProven(
  { ticket, digests }: OpenedProof,
  nodes: readonly KeyedNode[],
  encoded: readonly Uint8Array[] = nodes.map(encodeKeyedNode)
): void {
  for (const bytes of encoded) {
    if (!digests.has(asBuffer(blake3(bytes)).toString('latin1'))) {
      throw new InvalidNodeError('a node that its proof does not list')
    }
  }
  checkNodes(ticket, nodes)
}

/**
 * Checks at once that a proof holds for these nodes.
 *
 * @returns the ticket.
 * @throws {UntrustedSignatureError | MalformedError | InvalidNodeError}
 */
export function verifyNodes(
  verifier: Verifier,
  proof: NodeProof,
  nodes: readonly KeyedNode[]
): Ticket {
  const opened = openProof(verifier, proof)
  checkProven(opened, nodes)
  return opened.ticket
}

function readDigests(payload: Uint8Array): Set<string> {
  const reader = new ByteReader(payload, 'proof of nodes')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const count = reader.u32()
  if (count > MAX_BATCH_NODES) reader.fail(`${count} nodes`)
  const digests = new Set<string>()
  for (let at = 0; at < count; at++) {
    digests.add(asBuffer(reader.bytes(BLAKE3_BYTES)).toString('latin1'))
  }
  reader.end()
  return digests
}

function writeAssigned(writer: ByteWriter, assigned: AssignedVersion): void {
  const { version, bytes, span, previousSpan, truncates, ranges } = assigned
  writer.u64(version).u64(bytes).u8(Math.log2(span))
  writer.u8(previousSpan === 0 ? NO_LEVEL : Math.log2(previousSpan)).u8(truncates ? 1 : 0)
  writer.u16(ranges.length)
  for (const { start, end } of ranges) writer.u32(start).u32(end - start - 1)
}

function readAssigned(reader: ByteReader, chunkBytes: number): AssignedVersion {
  const version = reader.u64()
  if (version < 1) reader.fail('version 0')
  const bytes = reader.u64()
  const span = readPowerOfTwo(reader, MAX_LEVEL)
  const previousLevel = reader.u8()
  if (previousLevel > MAX_LEVEL && previousLevel !== NO_LEVEL) reader.fail('previous span')
  const previousSpan = previousLevel === NO_LEVEL ? 0 : 2 ** previousLevel
  const flag = reader.u8()
  if (flag > 1) reader.fail(`flag ${flag}`)
  const truncates = flag === 1
  const ranges: ChunkRange[] = []
  const count = reader.u16()
  for (let at = 0; at < count; at++) {
    const start = reader.u32()
    ranges.push({ start, end: start + reader.u32() + 1 })
  }
  const endChunk = chunksOf(bytes, chunkBytes)
  if (endChunk > span || previousSpan > span) reader.fail('a span that does not fit')
  if (!areTicketRanges(ranges, endChunk)) reader.fail('ranges out of order')
  const ownsAll = endChunk === 0 || (ranges[0]?.start === 0 && ranges[0].end === endChunk)
  if (truncates && !ownsAll) reader.fail('a truncating version that does not own all')
  return { version, ranges, bytes, span, previousSpan, truncates }
}

function readBase(reader: ByteReader): RootRef | undefined {
  const isThere = reader.u8()
  if (isThere > 1) reader.fail(`base flag ${isThere}`)
  if (isThere === 0) return undefined
  const blob = readBlobId(reader)
  const version = reader.u64()
  return { blob, version, span: readPowerOfTwo(reader, MAX_LEVEL) }
}

function readPowerOfTwo(reader: ByteReader, maxLevel: number): number {
  const level = reader.u8()
  if (level > maxLevel) reader.fail(`level ${level}`)
  return 2 ** level
}
