/**
 * `/blobswarm/store/1`: chunks to and from a provider. Many requests are in flight on one stream;
 * answers carry the number of their request and come in any order. Integers are big-endian.
 *
 * ```text
 * client → server
 *   put      1 (1) | request (4) | chunk id (32) | encoding (1) | length (4) | first part
 *   part     2 (1) | request (4) | next part
 *   has      3 (1) | request (4) | count (2) | count × chunk id (32)
 *   get      4 (1) | request (4) | chunk id (32)
 *   cancel   5 (1) | request (4)
 *
 * server → client
 *   stored   16 (1) | request (4)
 *   held     17 (1) | request (4) | count (2) | bitfield of the ids (chunks/bitfield.ts)
 *   chunk    18 (1) | request (4) | encoding (1) | length (4) | first part
 *   more     19 (1) | request (4) | next part
 *   absent   20 (1) | request (4)
 *   failure  21 (1) | request (4) | n (1) | code, ASCII (n) | message, UTF-8 (at most 2,000)
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
 * `put` needs the right to write, the others to read.
 */
import { Bitfield } from '../../chunks/bitfield.ts'
import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { ByteReader, ByteWriter, KIB } from '../../lib/bytes.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { ProtocolSpec } from '../types.ts'

/** Most bytes of a chunk in one message. */
export const MAX_PART_BYTES = 256 * KIB

/** Chunks that one `has` may ask for. */
export const MAX_HAS_IDS = 1024

const HEAD_BYTES = 64
const MAX_FAILURE_LENGTH = 2000
const ENCODING_RAW = 0

/** Id and limits of the protocol. */
export const STORE_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/store/1',
  maxMessageBytes: MAX_PART_BYTES + HEAD_BYTES,
  maxStreams: 8
}

const PUT = 1
const PART = 2
const HAS = 3
const GET = 4
const CANCEL = 5
const STORED = 16
const HELD = 17
const CHUNK = 18
const MORE = 19
const ABSENT = 20
const FAILURE = 21

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

/** What a server answers. Parts are views of the message. */
export type StoreAnswer =
  | { readonly kind: 'stored'; readonly request: number }
  | { readonly kind: 'held'; readonly request: number; readonly held: readonly boolean[] }
  | {
      readonly kind: 'chunk'
      readonly request: number
      /** Bytes of the whole chunk. */
      readonly length: number
      readonly part: Uint8Array
    }
  | { readonly kind: 'more'; readonly request: number; readonly part: Uint8Array }
  | { readonly kind: 'absent'; readonly request: number }
  | {
      readonly kind: 'failure'
      readonly request: number
      readonly code: string
      readonly message: string
    }

/** Encodes into parts to send one after the other; chunk bytes are not copied. */
export function encodeStoreRequest(message: StoreRequest): Uint8Array[] {
  const head = new ByteWriter(HEAD_BYTES)
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
    default:
      throw new MalformedError('store request', `unknown kind ${kind}`)
  }
}

/** Encodes into parts to send one after the other; chunk bytes are not copied. */
export function encodeStoreAnswer(message: StoreAnswer): Uint8Array[] {
  const head = new ByteWriter(HEAD_BYTES)
  switch (message.kind) {
    case 'stored':
      return [head.u8(STORED).u32(message.request).finish()]
    case 'held':
      head.u8(HELD).u32(message.request).u16(message.held.length)
      return [head.bytes(packBits(message.held)).finish()]
    case 'chunk':
      head.u8(CHUNK).u32(message.request).u8(ENCODING_RAW).u32(message.length)
      return [head.finish(), message.part]
    case 'more':
      return [head.u8(MORE).u32(message.request).finish(), message.part]
    case 'absent':
      return [head.u8(ABSENT).u32(message.request).finish()]
    case 'failure': {
      const code = Buffer.from(message.code, 'latin1')
      const text = Buffer.from(message.message).subarray(0, MAX_FAILURE_LENGTH)
      head.u8(FAILURE).u32(message.request).u8(code.byteLength).bytes(code).bytes(text)
      return [head.finish()]
    }
    default:
      throw new TypeError('not a store answer')
  }
}

/** @throws {MalformedError} */
export function decodeStoreAnswer(message: Uint8Array): StoreAnswer {
  const reader = new ByteReader(message, 'store answer')
  const kind = reader.u8()
  const request = reader.u32()
  switch (kind) {
    case STORED:
      reader.end()
      return { kind: 'stored', request }
    case HELD: {
      const count = reader.u16()
      if (count < 1 || count > MAX_HAS_IDS) reader.fail(`${count} answers`)
      return { kind: 'held', request, held: readBits(reader, count) }
    }
    case CHUNK: {
      const length = readLength(reader)
      return { kind: 'chunk', request, length, part: readPart(reader, message, length) }
    }
    case MORE:
      return { kind: 'more', request, part: readPart(reader, message, MAX_PART_BYTES) }
    case ABSENT:
      reader.end()
      return { kind: 'absent', request }
    case FAILURE:
      return readFailure(reader, request)
    default:
      throw new MalformedError('store answer', `unknown kind ${kind}`)
  }
}

/** Cuts a chunk into the parts that it travels in; views, not copies. */
export function partsOf(bytes: Uint8Array): Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / MAX_PART_BYTES)
  return Array.from({ length: count }, (_, at) =>
    bytes.subarray(at * MAX_PART_BYTES, (at + 1) * MAX_PART_BYTES)
  )
}

function readLength(reader: ByteReader): number {
  const encoding = reader.u8()
  if (encoding !== ENCODING_RAW) reader.fail(`encoding ${encoding}`)
  const length = reader.u32()
  if (length < 1 || length > MAX_CHUNK_BYTES) reader.fail(`a chunk of ${length} bytes`)
  return length
}

function readPart(reader: ByteReader, message: Uint8Array, atMost: number): Uint8Array {
  const { remaining } = reader
  if (remaining < 1 || remaining > Math.min(atMost, MAX_PART_BYTES)) {
    reader.fail(`a part of ${remaining} bytes`)
  }
  return message.subarray(message.byteLength - remaining)
}

function readFailure(reader: ByteReader, request: number): StoreAnswer {
  const code = Buffer.from(reader.bytes(reader.u8())).toString('latin1')
  if (!/^ERR_[A-Z_]{1,60}$/.test(code)) reader.fail('a failure without a code')
  if (reader.remaining > MAX_FAILURE_LENGTH) reader.fail('a failure text that is too long')
  const message = Buffer.from(reader.bytes(reader.remaining)).toString()
  return { kind: 'failure', request, code, message }
}

function packBits(bits: readonly boolean[]): Uint8Array {
  const field = new Bitfield(bits.length)
  for (const [at, bit] of bits.entries()) if (bit) field.set(at)
  return field.encode()
}

function readBits(reader: ByteReader, count: number): boolean[] {
  const field = Bitfield.decode(reader.bytes(Math.ceil(count / 8)), count)
  reader.end()
  return Array.from({ length: count }, (_, at) => field.get(at))
}
