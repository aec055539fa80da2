import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { MAX_COLLECTED_IDS } from '../../chunks/local-provider.ts'
import type { CopyCondition } from '../../chunks/maintenance-types.ts'
import type { Collected } from '../../chunks/provider-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { ByteReader, ByteWriter } from '../../lib/bytes.ts'
import { MalformedError } from '../../lib/errors.ts'
import {
  ENCODING_RAW,
  MAX_HAS_IDS,
  MAX_PART_BYTES,
  packBits,
  readBits,
  readConditions,
  readLength,
  readName,
  readPart,
  STORE_HEAD_BYTES,
  writeConditions,
  writeName
} from './store-fields.ts'

const MAX_FAILURE_LENGTH = 2000

const STORED = 16
const HELD = 17
const CHUNK = 18
const MORE = 19
const ABSENT = 20
const FAILURE = 21
const BEGUN = 22
const LISTED = 23
const COLLECTED = 24
const CHECKED = 25
const WORKING = 26

/** What a server answers, in the form that store.ts draws. Parts are views of the message. */
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
  | { readonly kind: 'begun'; readonly request: number; readonly collection: string }
  | { readonly kind: 'listed'; readonly request: number; readonly ids: readonly ChunkId[] }
  | { readonly kind: 'collected'; readonly request: number; readonly collected: Collected }
  | {
      readonly kind: 'checked'
      readonly request: number
      readonly conditions: readonly CopyCondition[]
    }
  | { readonly kind: 'working'; readonly request: number; readonly doneCount: number }

/** Encodes into parts to send one after the other; chunk bytes are not copied. */
export function encodeStoreAnswer(message: StoreAnswer): Uint8Array[] {
  const head = new ByteWriter(STORE_HEAD_BYTES)
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
    case 'begun':
      return [writeName(head.u8(BEGUN).u32(message.request), message.collection).finish()]
    case 'listed':
      head.u8(LISTED).u32(message.request).u16(message.ids.length)
      for (const id of message.ids) head.bytes(id)
      return [head.finish()]
    case 'collected': {
      const { count, bytes } = message.collected
      return [head.u8(COLLECTED).u32(message.request).u32(count).u64(bytes).finish()]
    }
    case 'checked':
      head.u8(CHECKED).u32(message.request)
      return [writeConditions(head, message.conditions).finish()]
    case 'working':
      return [head.u8(WORKING).u32(message.request).u16(message.doneCount).finish()]
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
    case HELD:
      return { kind: 'held', request, held: readBits(reader, MAX_HAS_IDS) }
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
    case BEGUN: {
      const collection = readName(reader)
      reader.end()
      return { kind: 'begun', request, collection }
    }
    case LISTED: {
      const count = reader.u16()
      if (count > MAX_COLLECTED_IDS) reader.fail(`${count} ids`)
      const ids = Array.from({ length: count }, () => reader.bytes(CHUNK_ID_BYTES))
      reader.end()
      return { kind: 'listed', request, ids }
    }
    case COLLECTED: {
      const collected = { count: reader.u32(), bytes: reader.u64() }
      reader.end()
      return { kind: 'collected', request, collected }
    }
    case CHECKED:
      return { kind: 'checked', request, conditions: readConditions(reader) }
    case WORKING: {
      const doneCount = reader.u16()
      reader.end()
      return { kind: 'working', request, doneCount }
    }
    default:
      throw new MalformedError('store answer', `unknown kind ${kind}`)
  }
}

function readFailure(reader: ByteReader, request: number): StoreAnswer {
  const code = Buffer.from(reader.bytes(reader.u8())).toString('latin1')
  if (!/^ERR_[A-Z_]{1,60}$/.test(code)) reader.fail('a failure without a code')
  if (reader.remaining > MAX_FAILURE_LENGTH) reader.fail('a failure text that is too long')
  const message = Buffer.from(reader.bytes(reader.remaining)).toString()
  return { kind: 'failure', request, code, message }
}
