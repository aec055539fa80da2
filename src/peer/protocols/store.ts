/**
 * `/blobswarm/store/1`: chunks to and from a provider. Many requests are in flight on one stream;
 * answers (store-answers.ts) carry the number of their request and come in any order. Integers are
 * big-endian.
 *
 * ```text
 * client → server
 *   put      1 (1) | request (4) | chunk id (32) | encoding (1) | length (4) | first part
 *   part     2 (1) | request (4) | next part
 *   has      3 (1) | request (4) | count (2) | count × chunk id (32)
 *   get      4 (1) | request (4) | chunk id (32)
 *   cancel   5 (1) | request (4)
 *   begin    6 (1) | request (4)
 *   list     7 (1) | request (4) | n (1) | collection, ASCII (n) | above this chunk id (32), or end
 *   collect  8 (1) | request (4) | signed order (metadata/signed.ts, peer/retirement-order.ts)
 *   holds    9 (1) | request (4) | count (2) | count × chunk id (32)
 *   check    10 (1) | request (4) | count (2) | count × chunk id (32)
 *   copy     11 (1) | request (4) | count (2) | count × chunk id (32) | n (1) | n × source
 *   trim     12 (1) | request (4) | signed order (metadata/signed.ts, peer/surplus-order.ts)
 *   source   text peer id | n (1) | n × text multiaddr; a text is a length (2) and UTF-8
 *
 * server → client
 *   stored   16 (1) | request (4)
 *   held     17 (1) | request (4) | count (2) | bitfield of the ids (chunks/bitfield.ts)
 *   chunk    18 (1) | request (4) | encoding (1) | length (4) | first part
 *   more     19 (1) | request (4) | next part
 *   absent   20 (1) | request (4)
 *   failure  21 (1) | request (4) | n (1) | code, ASCII (n) | message, UTF-8 (at most 2,000)
 *   begun    22 (1) | request (4) | n (1) | collection, ASCII (n)
 *   listed   23 (1) | request (4) | count (2) | count × chunk id (32), in order
 *   collected 24 (1) | request (4) | count (4) | bytes (8)
 *   checked  25 (1) | request (4) | count (2) | count × condition (1)
 *   working  26 (1) | request (4) | chunks that are done (2)
 *   condition 0 intact | 1 corrupt | 2 missing | 3 absent
 * ```
 *
 * A chunk travels in parts of at most 256 KiB; `length` is that of all parts together, 1 to 16 MiB.
 * The parts of one put follow each other with no other message in between, so that a server which
 * waits for room only ever waits for whole puts. The parts of chunks that are given may come
 * interleaved. `encoding` is 0 (raw); others are reserved (1: zstd).
 *
 * A put is answered when the chunk is as durable as the provider is set to make it, after its bytes
 * were checked against the id. One that cannot succeed is answered after its first message; what
 * comes of its other parts is passed over, and a client stops sending them. `cancel` may come amid
 * the parts of its put, which ends there. A client has at most 4 MiB of puts outstanding, or one
 * chunk that is larger. A server reads the next message only when it has room; it says `working`
 * now and then of a put that waits for room (0 done) or for its disk (1), of a check, copy, collect
 * and trim. `has` asks for at most 1,024 chunks. Each request gets one answer unless it was
 * cancelled; a cancelled one may still get it. `put` needs the right to write, `has` and `get` to
 * read.
 *
 * `holds` is `has` without a lease. `check` reads at most 256 chunks again and hashes them; what is
 * not intact is not held any more. `copy` has the provider fetch at most 256 chunks, verified, from
 * at most 16 sources with at most 16 addresses each, and says what it holds then: it needs the right
 * to write, or the role of a manager. `trim` deletes those of the order's chunks that have no lease:
 * it needs the role of a provider manager and the signature of one, and is answered by `collected`.
 *
 * An agent that is no provider answers `has`, `holds` and `get` from what it keeps for itself, gives
 * no leases, and refuses all else.
 *
 * `begin` opens a collection in place of any before, `list` tells what it may delete, at most 1,024
 * chunks, none when there are no more, and `collect` deletes those of the order's chunks that still
 * have no lease. They need the role of a version manager, and the order the signature of one. Only
 * `collect` and `trim` delete. The name of a collection has 1 to 64 printable characters.
 */
import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import type { ChunkSource } from '../../chunks/maintenance-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { ByteReader, ByteWriter } from '../../lib/bytes.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { SignedEnvelope } from '../../metadata/signature-types.ts'
import { decodeEnvelope, encodeEnvelope } from '../../metadata/signed.ts'
import type { ProtocolSpec } from '../types.ts'
import {
  ENCODING_RAW,
  MAX_HAS_IDS,
  MAX_PART_BYTES,
  MAX_WORK_IDS,
  readIds,
  readLastIds,
  readLength,
  readName,
  readPart,
  readSources,
  STORE_HEAD_BYTES,
  writeIds,
  writeName,
  writeSources
} from './store-fields.ts'

/** Id and limits of the protocol. */
export const STORE_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/store/1',
  maxMessageBytes: MAX_PART_BYTES + STORE_HEAD_BYTES,
  maxStreams: 8
}

const PUT = 1
const PART = 2
const HAS = 3
const GET = 4
const CANCEL = 5
const BEGIN = 6
const LIST = 7
const COLLECT = 8
const HOLDS = 9
const CHECK = 10
const COPY = 11
const TRIM = 12

/** What a client sends. Parts are views of the message. */
export type StoreRequest =
  | {
      readonly kind: 'put'
      readonly request: number
      readonly id: ChunkId
      /** Bytes of the whole chunk. */
      readonly length: number
      readonly part: Uint8Array
    }
  | { readonly kind: 'part'; readonly request: number; readonly part: Uint8Array }
  | { readonly kind: 'has'; readonly request: number; readonly ids: readonly ChunkId[] }
  | { readonly kind: 'get'; readonly request: number; readonly id: ChunkId }
  | { readonly kind: 'cancel'; readonly request: number }
  | { readonly kind: 'begin'; readonly request: number }
  | {
      readonly kind: 'list'
      readonly request: number
      readonly collection: string
      readonly after: ChunkId | undefined
    }
  | { readonly kind: 'collect'; readonly request: number; readonly order: SignedEnvelope }
  | { readonly kind: 'holds'; readonly request: number; readonly ids: readonly ChunkId[] }
  | { readonly kind: 'check'; readonly request: number; readonly ids: readonly ChunkId[] }
  | {
      readonly kind: 'copy'
      readonly request: number
      readonly ids: readonly ChunkId[]
      readonly sources: readonly ChunkSource[]
    }
  | { readonly kind: 'trim'; readonly request: number; readonly order: SignedEnvelope }

/** Encodes into parts to send one after the other; chunk bytes are not copied. */
export function encodeStoreRequest(message: StoreRequest): Uint8Array[] {
  const head = new ByteWriter(STORE_HEAD_BYTES)
  switch (message.kind) {
    case 'put':
      head.u8(PUT).u32(message.request).bytes(message.id).u8(ENCODING_RAW).u32(message.length)
      return [head.finish(), message.part]
    case 'part':
      return [head.u8(PART).u32(message.request).finish(), message.part]
    case 'has':
      return [writeIds(head.u8(HAS).u32(message.request), message.ids).finish()]
    case 'get':
      return [head.u8(GET).u32(message.request).bytes(message.id).finish()]
    case 'cancel':
      return [head.u8(CANCEL).u32(message.request).finish()]
    case 'begin':
      return [head.u8(BEGIN).u32(message.request).finish()]
    case 'list':
      writeName(head.u8(LIST).u32(message.request), message.collection)
      return [head.bytes(message.after ?? new Uint8Array(0)).finish()]
    case 'collect':
      return [head.u8(COLLECT).u32(message.request).finish(), encodeEnvelope(message.order)]
    case 'holds':
      return [writeIds(head.u8(HOLDS).u32(message.request), message.ids).finish()]
    case 'check':
      return [writeIds(head.u8(CHECK).u32(message.request), message.ids).finish()]
    case 'copy':
      writeIds(head.u8(COPY).u32(message.request), message.ids)
      return [writeSources(head, message.sources).finish()]
    case 'trim':
      return [head.u8(TRIM).u32(message.request).finish(), encodeEnvelope(message.order)]
    default:
      throw new TypeError('not a store request')
  }
}

/** @throws {MalformedError} */
export function decodeStoreRequest(message: Uint8Array): StoreRequest {
  const reader = new ByteReader(message, 'store request')
  const kind = reader.u8()
  const request = reader.u32()
  switch (kind) {
    case PUT: {
      const id = reader.bytes(CHUNK_ID_BYTES)
      const length = readLength(reader)
      return { kind: 'put', request, id, length, part: readPart(reader, message, length) }
    }
    case PART:
      return { kind: 'part', request, part: readPart(reader, message, MAX_PART_BYTES) }
    case HAS:
      return { kind: 'has', request, ids: readLastIds(reader, MAX_HAS_IDS) }
    case GET: {
      const id = reader.bytes(CHUNK_ID_BYTES)
      reader.end()
      return { kind: 'get', request, id }
    }
    case CANCEL:
      reader.end()
      return { kind: 'cancel', request }
    case BEGIN:
      reader.end()
      return { kind: 'begin', request }
    case LIST: {
      const collection = readName(reader)
      const after = reader.remaining === 0 ? undefined : reader.bytes(CHUNK_ID_BYTES)
      reader.end()
      return { kind: 'list', request, collection, after }
    }
    case COLLECT:
      return { kind: 'collect', request, order: decodeEnvelope(reader.bytes(reader.remaining)) }
    case HOLDS:
      return { kind: 'holds', request, ids: readLastIds(reader, MAX_HAS_IDS) }
    case CHECK:
      return { kind: 'check', request, ids: readLastIds(reader, MAX_WORK_IDS) }
    case COPY: {
      const ids = readIds(reader, MAX_WORK_IDS)
      return { kind: 'copy', request, ids, sources: readSources(reader) }
    }
    case TRIM:
      return { kind: 'trim', request, order: decodeEnvelope(reader.bytes(reader.remaining)) }
    default:
      throw new MalformedError('store request', `unknown kind ${kind}`)
  }
}
