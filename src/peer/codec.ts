/**
 * Messages in CBOR (RFC 8949), shaped and bounded by zod schemas. Encoding is canonical: shortest
 * integers, map keys sorted, no indefinite lengths, so that equal values are equal bytes. Decoding
 * takes nothing else but the order of keys for granted: no duplicates, tags, NaN, undefined or bigints.
 */
import { decode as decodeCbor, encode as encodeCbor } from 'cborg'
import { z } from 'zod'
import { MIB } from '../lib/bytes.ts'
import { LimitExceededError, MalformedError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'

/** Turns values of one type into bytes and back. */
export interface MessageCodec<T> {
  /** @throws {LimitExceededError} if the bytes would be more than the codec's limit. */
  encode(value: T): Uint8Array
  /** Byte strings in the result are copies. @throws {MalformedError} for anything but one whole, valid message. */
  decode(bytes: Uint8Array): T
}

export interface MessageOptions {
  /** What the message is called in errors. @default 'message' */
  name?: string
  /** Longer messages are refused both ways, in bytes. @default 1 MiB */
  maxBytes?: number
}

const ENCODE_OPTIONS = { ignoreUndefinedProperties: true }

const DECODE_OPTIONS = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true
}

/** Makes the codec of a message whose values `schema` accepts. Absent properties are left out. */
export function defineMessage<S extends z.ZodType>(
  schema: S,
  options: MessageOptions = {}
): MessageCodec<z.infer<S>> {
  const { name = 'message', maxBytes = MIB } = options
  return {
    encode(value) {
      const bytes = encodeCbor(value, ENCODE_OPTIONS)
      if (bytes.byteLength > maxBytes) throw new LimitExceededError(`size of ${name}`, maxBytes)
      return bytes
    },
    decode(bytes) {
      if (bytes.byteLength > maxBytes) {
        throw new MalformedError(name, `${bytes.byteLength} bytes, at most ${maxBytes}`)
      }
      const parsed = schema.safeParse(parseCbor(bytes, name))
      if (parsed.success) return parsed.data
      const [issue] = parsed.error.issues
      const where = issue?.path.map(String).join('.') || 'value'
      throw new MalformedError(name, `${where}: ${issue?.message.slice(0, 200)}`)
    }
  }
}

function parseCbor(bytes: Uint8Array, name: string): unknown {
  try {
    // A view of a plain array: from a Buffer, cborg would slice views instead of copies.
    const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return decodeCbor(plain, DECODE_OPTIONS)
  } catch (thrown) {
    // Also a stack that ran out over deep nesting: RangeError.
    const error = toError(thrown)
    throw new MalformedError(name, error.message.slice(0, 200), { cause: error })
  }
}

/** A byte string of exactly `length` bytes. */
export function exactBytes(length: number): z.ZodType<Uint8Array> {
  return z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.byteLength === length,
    `must be ${length} bytes`
  )
}

/** A byte string of at most `maxBytes` bytes. */
export function boundedBytes(maxBytes: number): z.ZodType<Uint8Array> {
  return z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.byteLength <= maxBytes,
    `must be at most ${maxBytes} bytes`
  )
}

/** Text of at most `maxLength` UTF-16 units. */
export function boundedText(maxLength: number) {
  return z.string().max(maxLength)
}

/** An integer from 0 to 2^53 - 1. */
export const naturalNumber = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER)
