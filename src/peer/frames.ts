/**
 * Messages in a stream of bytes, as libp2p's other implementations frame them.
 *
 * ```text
 * frame
 *    1..8  length n of the message, unsigned varint: 7 bits a byte, least significant first,
 *          the high bit set on all but the last
 *       n  message
 * ```
 *
 * @see https://github.com/multiformats/unsigned-varint
 */
import { Uint8ArrayList } from 'uint8arraylist'
import { KIB } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import { dispose } from './disposable-memory.ts'

/** Puts the length before a message; the parts are not copied. */
export function encodeFrame(parts: readonly Uint8Array[]): Uint8ArrayList {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0)
  return new Uint8ArrayList(encodeVarint(length), ...parts)
}

/** Where messages are put together. */
export interface MessageMemory {
  /** Gives an array of exactly this length; what is in it is left over from earlier. */
  take(length: number): Uint8Array
}

/**
 * Finds messages in bytes that arrive in any cut, and frees the memory of those that it has copied, if they
 * allow that. Holds at most one message and what followed it.
 */
export class FrameDecoder {
  readonly #maxMessageBytes: number
  readonly #what: string
  readonly #memory: MessageMemory
  /** What has come and is not copied. */
  readonly #pieces: Uint8Array[] = []
  /** How much of the first piece is used. */
  #used = 0
  #pendingBytes = 0
  /** Length of the message that has begun. */
  #messageBytes: number | undefined
  #message: Uint8Array | undefined
  #filled = 0

  /** `what` names the protocol in errors. */
  constructor(maxMessageBytes: number, what: string, memory: MessageMemory = freshMemory) {
    this.#maxMessageBytes = maxMessageBytes
    this.#what = what
    this.#memory = memory
  }

  /** Tells whether bytes are left that are no whole message. */
  get isInsideMessage(): boolean {
    return this.#pendingBytes > 0 || this.#messageBytes !== undefined
  }

  /** Takes over the next bytes of the stream. */
  push(bytes: Uint8Array | Uint8ArrayList): void {
    this.#pendingBytes += bytes.byteLength
    for (const piece of bytes instanceof Uint8Array ? [bytes] : bytes) {
      if (piece.byteLength > 0) this.#pieces.push(piece)
    }
  }

  /**
   * Takes the next whole message, in an array of its own; undefined if more bytes are needed.
   *
   * @throws {MalformedError} if the length is too large or no number; the stream is then lost.
   */
  next(): Uint8Array | undefined {
    this.#messageBytes ??= this.#readLength()
    const messageBytes = this.#messageBytes
    if (messageBytes === undefined) return undefined
    if (this.#message === undefined) {
      // Whoever only announces a long message does not get the memory for it.
      if (this.#pendingBytes < Math.min(messageBytes, MAX_UNEARNED_BYTES)) return undefined
      this.#message = this.#memory.take(messageBytes)
      this.#filled = 0
    }
    while (this.#filled < messageBytes && this.#pendingBytes > 0) this.#copyPiece(this.#message)
    if (this.#filled < messageBytes) return undefined
    const message = this.#message
    this.#message = undefined
    this.#messageBytes = undefined
    return message
  }

  #copyPiece(message: Uint8Array): void {
    const [piece = new Uint8Array()] = this.#pieces
    const end = Math.min(piece.byteLength, this.#used + message.byteLength - this.#filled)
    const isWhole = this.#used === 0 && end === piece.byteLength
    message.set(isWhole ? piece : piece.subarray(this.#used, end), this.#filled)
    this.#filled += end - this.#used
    this.#use(end - this.#used)
  }

  /** Goes on by so many bytes, which the first piece has. */
  #use(bytes: number): void {
    this.#used += bytes
    this.#pendingBytes -= bytes
    const [piece] = this.#pieces
    if (piece === undefined || this.#used < piece.byteLength) return
    this.#pieces.shift()
    this.#used = 0
    // Before it in the same memory was the header of yamux, and nothing else.
    if (piece.buffer.byteLength - piece.byteLength <= YAMUX_HEADER_BYTES) dispose(piece)
  }

  #readLength(): number | undefined {
    let messageBytes = 0
    let count = 0
    for (const byte of this.#nextBytes()) {
      messageBytes += (byte & 0x7f) * 2 ** (7 * count)
      count++
      if (messageBytes > this.#maxMessageBytes) {
        this.#fail(`a message of ${messageBytes} bytes or more, at most ${this.#maxMessageBytes}`)
      }
      if (byte < 0x80) {
        for (; count > 0; count--) this.#use(1)
        return messageBytes
      }
      if (count === MAX_VARINT_BYTES) this.#fail('a length of more than 8 bytes')
    }
    return undefined
  }

  /**
   * Looks at what comes next.
   *
   * @yields bytes that are not used, at least as many as a length has.
   */
  *#nextBytes(): Generator<number> {
    let from = this.#used
    for (const piece of this.#pieces) {
      yield* piece.subarray(from, from + MAX_VARINT_BYTES)
      from = 0
    }
  }

  #fail(reason: string): never {
    throw new MalformedError(`stream of ${this.#what}`, reason)
  }
}

// 7 bits each: enough for every length that a number can hold exactly.
const MAX_VARINT_BYTES = 8

/** A message of more has memory only when this much of it has come. */
const MAX_UNEARNED_BYTES = 64 * KIB

const YAMUX_HEADER_BYTES = 12

const freshMemory: MessageMemory = { take: (length) => new Uint8Array(length) }

function encodeVarint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return Uint8Array.from(bytes)
}
