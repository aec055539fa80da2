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
import { MalformedError } from '../lib/errors.ts'

/** Puts the length before a message; the parts are not copied. */
export function encodeFrame(parts: readonly Uint8Array[]): Uint8ArrayList {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0)
  return new Uint8ArrayList(encodeVarint(length), ...parts)
}

/** Finds messages in bytes that arrive in any cut. Holds at most one message and what followed it. */
export class FrameDecoder {
  readonly #maxMessageBytes: number
  readonly #what: string
  readonly #pending = new Uint8ArrayList()

  /** `what` names the protocol in errors. */
  constructor(maxMessageBytes: number, what: string) {
    this.#maxMessageBytes = maxMessageBytes
    this.#what = what
  }

  /** Tells whether bytes are left that are no whole message. */
  get isInsideMessage(): boolean {
    return this.#pending.byteLength > 0
  }

  /** Takes over the next bytes of the stream. */
  push(bytes: Uint8Array | Uint8ArrayList): void {
    this.#pending.append(bytes)
  }

  /**
   * Takes the next whole message, in an array of its own; undefined if more bytes are needed.
   *
   * @throws {MalformedError} if the length is too large or no number; the stream is then lost.
   */
  next(): Uint8Array | undefined {
    const header = this.#readLength()
    if (header === undefined) return undefined
    const end = header.byteLength + header.messageBytes
    if (this.#pending.byteLength < end) return undefined
    const message = new Uint8Array(header.messageBytes)
    let at = 0
    for (const part of this.#pending.sublist(header.byteLength, end)) {
      message.set(part, at)
      at += part.byteLength
    }
    this.#pending.consume(end)
    return message
  }

  #readLength(): { byteLength: number; messageBytes: number } | undefined {
    let messageBytes = 0
    const available = Math.min(this.#pending.byteLength, MAX_VARINT_BYTES)
    for (let at = 0; at < available; at++) {
      const byte = this.#pending.get(at)
      messageBytes += (byte & 0x7f) * 2 ** (7 * at)
      if (messageBytes > this.#maxMessageBytes) {
        this.#fail(`a message of ${messageBytes} bytes or more, at most ${this.#maxMessageBytes}`)
      }
      if (byte < 0x80) return { byteLength: at + 1, messageBytes }
    }
    if (available === MAX_VARINT_BYTES) this.#fail('a length of more than 8 bytes')
    return undefined
  }

  #fail(reason: string): never {
    throw new MalformedError(`stream of ${this.#what}`, reason)
  }
}

// 7 bits each: enough for every length that a number can hold exactly.
const MAX_VARINT_BYTES = 8

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
