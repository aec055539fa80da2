/**
 * Requests and answers over one channel, many in flight; what the `version`, `tree` and `providers`
 * protocols are made of. The client numbers its requests; answers may come in any order. Integers
 * are big-endian, bodies are one canonical CBOR message each (codec.ts).
 *
 * ```text
 * request   1 (1) | id (4) | n (1) | method, ASCII (n) | body (the rest)     client → server
 * cancel    4 (1) | id (4)                                                   client → server
 * answer    2 (1) | id (4) | body (the rest)                                 server → client
 * failure   3 (1) | id (4) | n (1) | code, ASCII (n) | message, UTF-8 (the rest, at most 2,000)
 * ```
 *
 * A request is answered or fails exactly once, also after a cancel; a client ignores what comes for
 * a request that it has given up. Codes of failures are those of docs/errors.md.
 */
import type { z } from 'zod'
import { ByteReader, ByteWriter } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import { defineMessage, type MessageCodec } from './codec.ts'

const REQUEST = 1
const ANSWER = 2
const FAILURE = 3
const CANCEL = 4

const MAX_NAME_LENGTH = 64
const MAX_FAILURE_LENGTH = 2000
const utf8Encoder = new TextEncoder()
const utf8Decoder = new TextDecoder()

/** One method of a protocol: its name and what goes each way. */
export interface RpcMethod<Request, Answer> {
  readonly name: string
  readonly request: MessageCodec<Request>
  readonly answer: MessageCodec<Answer>
  /** Time for its answer, in milliseconds; undefined for the client's own default. */
  readonly timeoutMs: number | undefined
  /**
   * True if the server holds it until something happens; such ones do not take the slots of others.
   */
  readonly isLong: boolean
}

/** The type of what a method is asked with. */
export type RequestOf<M> = M extends { request: MessageCodec<infer Request> } ? Request : never
/** The type of what a method answers. */
export type AnswerOf<M> = M extends { answer: MessageCodec<infer Answer> } ? Answer : never

/** What a method is made of. */
export interface MethodShape<Q extends z.ZodType, A extends z.ZodType> {
  readonly request: Q
  readonly answer: A
  readonly timeoutMs?: number
  readonly isLong?: boolean
  /** Longest request and answer, in bytes. */
  readonly maxBytes: number
}

/** Makes a method out of the schemas of its messages. */
export function defineMethod<Q extends z.ZodType, A extends z.ZodType>(
  name: string,
  shape: MethodShape<Q, A>
): RpcMethod<z.infer<Q>, z.infer<A>> {
  const { maxBytes } = shape
  return {
    name,
    request: defineMessage(shape.request, { name: `${name} request`, maxBytes }),
    answer: defineMessage(shape.answer, { name: `${name} answer`, maxBytes }),
    timeoutMs: shape.timeoutMs,
    isLong: shape.isLong ?? false
  }
}

/**
 * Bytes that a frame adds to its body at most; a protocol's message limit is its body's plus this.
 */
export const RPC_OVERHEAD_BYTES = 6 + MAX_NAME_LENGTH

/** One message, either way. Bodies are views of the message. */
export type RpcFrame =
  | {
      readonly kind: 'request'
      readonly id: number
      readonly method: string
      readonly body: Uint8Array
    }
  | { readonly kind: 'answer'; readonly id: number; readonly body: Uint8Array }
  | {
      readonly kind: 'failure'
      readonly id: number
      readonly code: string
      readonly message: string
    }
  | { readonly kind: 'cancel'; readonly id: number }

/** Encodes a frame into parts to send one after the other; the body is not copied. */
export function encodeFrame(frame: RpcFrame): Uint8Array[] {
  const head = new ByteWriter(RPC_OVERHEAD_BYTES)
  switch (frame.kind) {
    case 'request':
      return [withName(head.u8(REQUEST).u32(frame.id), frame.method).finish(), frame.body]
    case 'answer':
      return [head.u8(ANSWER).u32(frame.id).finish(), frame.body]
    case 'failure':
      return [
        withName(head.u8(FAILURE).u32(frame.id), frame.code).finish(),
        utf8Encoder.encode(frame.message).subarray(0, MAX_FAILURE_LENGTH)
      ]
    case 'cancel':
      return [head.u8(CANCEL).u32(frame.id).finish()]
    default:
      throw new TypeError('not an RPC frame')
  }
}

/** @throws {MalformedError} */
export function decodeFrame(message: Uint8Array): RpcFrame {
  const reader = new ByteReader(message, 'RPC frame')
  const kind = reader.u8()
  const id = reader.u32()
  switch (kind) {
    case REQUEST:
      return { kind: 'request', id, method: readName(reader), body: rest(message, reader) }
    case ANSWER:
      return { kind: 'answer', id, body: rest(message, reader) }
    case FAILURE: {
      const code = readName(reader)
      const text = rest(message, reader)
      if (text.byteLength > MAX_FAILURE_LENGTH) reader.fail('a failure text that is too long')
      return { kind: 'failure', id, code, message: utf8Decoder.decode(text) }
    }
    case CANCEL:
      reader.end()
      return { kind: 'cancel', id }
    default:
      throw new MalformedError('RPC frame', `unknown kind ${kind}`)
  }
}

function withName(writer: ByteWriter, text: string): ByteWriter {
  const bytes = utf8Encoder.encode(text)
  if (!isName(text)) throw new RangeError(`not a name for the wire: ${text.slice(0, 80)}`)
  return writer.u8(bytes.byteLength).bytes(bytes)
}

function readName(reader: ByteReader): string {
  const text = utf8Decoder.decode(reader.bytes(reader.u8()))
  if (!isName(text)) reader.fail('a name with other characters than letters, digits and _')
  return text
}

function isName(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && /^[A-Za-z]\w*$/.test(text)
}

function rest(message: Uint8Array, reader: ByteReader): Uint8Array {
  return message.subarray(message.byteLength - reader.remaining)
}
