import { MalformedError } from './errors.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB

/** Views any Uint8Array as a Buffer over the same memory, for Buffer's fast comparison and encodings. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Lower-case hexadecimal text of `bytes`. */
export function toHex(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('hex')
}

/** Parses hexadecimal text. @throws {MalformedError} if it is not an even number of hex digits. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) {
    throw new MalformedError('hexadecimal text', `"${text.slice(0, 80)}"`)
  }
  return new Uint8Array(Buffer.from(text, 'hex'))
}

/** Tells whether two arrays hold the same bytes. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.byteLength === right.byteLength && asBuffer(left).equals(right)
}

/** Joins arrays into a new one. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = Buffer.concat(parts)
  return new Uint8Array(joined.buffer, joined.byteOffset, joined.byteLength)
}

const ZEROS = Buffer.alloc(64 * KIB)

/** Tells whether every byte is 0. Compares 64 KiB at a time, so it costs a memcmp. */
export function isAllZero(bytes: Uint8Array): boolean {
  const buffer = asBuffer(bytes)
  for (let at = 0; at < buffer.byteLength; at += ZEROS.byteLength) {
    const end = Math.min(at + ZEROS.byteLength, buffer.byteLength)
    if (buffer.compare(ZEROS, 0, end - at, at, end) !== 0) return false
  }
  return true
}

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Writes big-endian fields one after the other into a growing array. */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(expectedBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(Math.max(16, expectedBytes))
  }

  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    const at = this.#claim(1) // before the buffer is looked at, which may be a new one then
    this.#buffer.writeUInt8(value, at)
    return this
  }

  u16(value: number): this {
    const at = this.#claim(2)
    this.#buffer.writeUInt16BE(value, at)
    return this
  }

  u32(value: number): this {
    const at = this.#claim(4)
    this.#buffer.writeUInt32BE(value, at)
    return this
  }

  /** Writes a safe integer as 8 bytes. @throws {RangeError} if it is not one or is negative. */
  u64(value: number): this {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a u64: ${value}`)
    const at = this.#claim(8)
    this.#buffer.writeBigUInt64BE(BigInt(value), at)
    return this
  }

  bytes(value: Uint8Array): this {
    const at = this.#claim(value.byteLength)
    this.#buffer.set(value, at)
    return this
  }

  /** Writes a u16 length and the UTF-8 bytes. @throws {RangeError} above 65,535 bytes. */
  text(value: string): this {
    const encoded = utf8.encode(value)
    return this.u16(encoded.byteLength).bytes(encoded)
  }

  /** The bytes written so far, in an array of their own. */
  finish(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(0, this.#length))
  }

  #claim(length: number): number {
    const at = this.#length
    const needed = at + length
    if (needed > this.#buffer.byteLength) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.byteLength * 2))
      larger.set(this.#buffer.subarray(0, at))
      this.#buffer = larger
    }
    this.#length = needed
    return at
  }
}

/** Reads big-endian fields in order. Every method throws {MalformedError} when the bytes run out. */
export class ByteReader {
  readonly #buffer: Buffer
  readonly #what: string
  #at = 0

  /** `what` names the thing being read in error messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.#buffer = asBuffer(bytes)
    this.#what = what
  }

  get remaining(): number {
    return this.#buffer.byteLength - this.#at
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#take(1))
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#take(2))
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#take(4))
  }

  u64(): number {
    const value = this.#buffer.readBigUInt64BE(this.#take(8))
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.fail(`${value} is not a safe integer`)
    return Number(value)
  }

  /** Copies the next `length` bytes. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return new Uint8Array(this.#buffer.subarray(at, at + length))
  }

  text(): string {
    const raw = this.bytes(this.u16())
    try {
      return strictUtf8.decode(raw)
    } catch (error) {
      throw new MalformedError(this.#what, 'text that is not UTF-8', { cause: error })
    }
  }

  /** Asserts that nothing is left. */
  end(): void {
    if (this.remaining > 0) this.fail(`${this.remaining} bytes too many`)
  }

  fail(reason: string): never {
    throw new MalformedError(this.#what, reason)
  }

  #take(length: number): number {
    if (length > this.remaining) {
      this.fail(`${length} bytes wanted at ${this.#at}, ${this.remaining} there`)
    }
    const at = this.#at
    this.#at += length
    return at
  }
}
