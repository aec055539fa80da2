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
 * ```
 *
 * A chunk travels in parts of at most 256 KiB; `length` is that of all parts together, 1 to 16 MiB.
 * The parts of one put follow each other with no other message in between, so that a server which
 * waits for room only ever waits for whole puts. The parts of chunks that are given may come
 * interleaved. `encoding` is 0 (raw); others are reserved (1: zstd).
 *
 * A put is answered when the chunk is as durable as the provider is set to make it, after its bytes
 * were checked against the id. A client has at most 4 MiB of puts outstanding, or one chunk that is
 * larger. A server reads the next message only when it has room. `has` asks for at most 1,024
 * chunks. Each request gets one answer unless it was cancelled; a cancelled one may still get it.
 * `put` needs the right to write, `has` and `get` to read.
 *
 * `begin` opens a collection in place of any before, `list` tells what it may delete, at most 1,024
 * chunks, none when there are no more, and `collect` deletes those of the order's chunks that still
 * have no lease. They need the role of a version manager, and the order the signature of one. There
 * is no other way to delete. The name of a collection has 1 to 64 printable characters.
 */
import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { ByteReader, ByteWriter, KIB } from '../../lib/bytes.ts'
import { MalformedError } from '../../lib/errors.ts'
import { decodeEnvelope, encodeEnvelope } from '../../metadata/signed.ts'
import type { SignedEnvelope } from '../../metadata/types.ts'
import type { ProtocolSpec } from '../types.ts'

/** Most bytes of a chunk in one message. */
export const MAX_PART_BYTES = 256 * KIB

/** Chunks that one `has` may ask for. */
export const MAX_HAS_IDS = 1024

/** Bytes of a message beside a part; longer ones make room as they are written. */
export const STORE_HEAD_BYTES = 64

/** The only way in which chunks are encoded so far. */
export const ENCODING_RAW = 0

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

const COLLECTION_NAME = /^[!-~]{1,64}$/

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

/** Tells whether a text can be the name of a collection. */
export function isCollectionName(text: string): boolean {
  return COLLECTION_NAME.test(text)
}

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
      head.u8(HAS).u32(message.request).u16(message.ids.length)
      for (const id of message.ids) head.bytes(id)
      return [head.finish()]
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
    case HAS: {
      const count = reader.u16()
      if (count < 1 || count > MAX_HAS_IDS) reader.fail(`${count} ids`)
      const ids = Array.from({ length: count }, () => reader.bytes(CHUNK_ID_BYTES))
      reader.end()
      return { kind: 'has', request, ids }
    }
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
    default:
      throw new MalformedError('store request', `unknown kind ${kind}`)
  }
}

/** Cuts a chunk into the parts that it travels in; views, not copies. */
export function partsOf(bytes: Uint8Array): Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / MAX_PART_BYTES)
  return Array.from({ length: count }, (_, at) =>
    bytes.subarray(at * MAX_PART_BYTES, (at + 1) * MAX_PART_BYTES)
  )
}

/** Reads encoding and length of a chunk. @throws {MalformedError} */
export function readLength(reader: ByteReader): number {
  const encoding = reader.u8()
  if (encoding !== ENCODING_RAW) reader.fail(`encoding ${encoding}`)
  const length = reader.u32()
  if (length < 1 || length > MAX_CHUNK_BYTES) reader.fail(`a chunk of ${length} bytes`)
  return length
}

/** Reads the part that a message ends with, as a view. @throws {MalformedError} */
export function readPart(reader: ByteReader, message: Uint8Array, atMost: number): Uint8Array {
  const { remaining } = reader
  if (remaining < 1 || remaining > Math.min(atMost, MAX_PART_BYTES)) {
    reader.fail(`a part of ${remaining} bytes`)
  }
  return message.subarray(message.byteLength - remaining)
}

/** Writes the name of a collection. */
export function writeName(writer: ByteWriter, name: string): ByteWriter {
  const text = Buffer.from(name, 'latin1')
  return writer.u8(text.byteLength).bytes(text)
}

/** Reads the name of a collection. @throws {MalformedError} */
export function readName(reader: ByteReader): string {
  const name = Buffer.from(reader.bytes(reader.u8())).toString('latin1')
  if (!isCollectionName(name)) reader.fail('a name that no collection has')
  return name
}
