/**
 * Both ends of a transfer in extended block mode. The header is drawn in mode-e-header.ts.
 *
 * @see GFD.020, section 3 (extended block mode)
 */
import { asBuffer } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import {
  decodeModeEHeader,
  MODE_E_CLOSE,
  MODE_E_EOD,
  MODE_E_EOF,
  MODE_E_HEADER_BYTES,
  MODE_E_RESTART,
  MODE_E_UNKNOWN_FLAGS,
  type ModeEHeader,
  modeEPayloadBytes
} from './mode-e-header.ts'

/** What a decoder finds on one connection. */
export interface BlockEvents {
  /** A piece of a block's payload: a view of the bytes that were pushed. */
  onPayload(offset: number, bytes: Uint8Array): void
  /** The number of connections that will send an EOD. */
  onEodCount(count: number): void
}

/**
 * Decodes the blocks of one connection for one file, up to its EOD. Payload is handed on in the
 * pieces in which it arrives; never more than a header is kept.
 */
export class BlockDecoder {
  readonly #events: BlockEvents
  readonly #header = Buffer.alloc(MODE_E_HEADER_BYTES)
  #headerBytes = 0
  #flags = 0
  #offset = 0
  #left = 0
  #hasBegun = false
  #isEnded = false

  constructor(events: BlockEvents) {
    this.#events = events
  }

  /** A header has come that makes sense. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** The EOD has been seen; whatever follows belongs to the next file. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  /** The sender closes this connection after the EOD. */
  get isClosing(): boolean {
    return (this.#flags & MODE_E_CLOSE) !== 0
  }

  /** The beginning of a header whose end has not come; a view. */
  get unfinishedHeader(): Uint8Array {
    return this.#header.subarray(0, this.#headerBytes)
  }

  /** In the middle of a header or a payload. */
  get isInsideBlock(): boolean {
    return this.#headerBytes > 0 || this.#left > 0
  }

  /**
   * Decodes what arrived.
   *
   * @returns how many of the bytes were for this file: all of them, except after the EOD.
   * @throws {MalformedError} if a header cannot be.
   */
  push(bytes: Uint8Array): number {
    let at = 0
    while (at < bytes.byteLength && !this.#isEnded) {
      at += this.#left > 0 ? this.#takePayload(bytes, at) : this.#takeHeader(bytes, at)
    }
    return at
  }

  #takePayload(bytes: Uint8Array, at: number): number {
    const piece = bytes.subarray(at, at + this.#left)
    const length = piece.byteLength
    if ((this.#flags & MODE_E_RESTART) === 0) this.#events.onPayload(this.#offset, piece)
    this.#offset += length
    this.#left -= length
    if (this.#left === 0) this.#endBlock()
    return length
  }

  #takeHeader(bytes: Uint8Array, at: number): number {
    const taken = asBuffer(bytes).copy(this.#header, this.#headerBytes, at)
    this.#headerBytes += taken
    if (this.#headerBytes < MODE_E_HEADER_BYTES) return taken
    this.#headerBytes = 0
    this.#startBlock(decodeModeEHeader(this.#header))
    return taken
  }

  #startBlock(header: ModeEHeader): void {
    this.#flags = header.flags
    this.#left = modeEPayloadBytes(header)
    this.#offset = header.offset
    if (this.#left > Number.MAX_SAFE_INTEGER - this.#offset) {
      throw new MalformedError('MODE E header', 'the block ends beyond what a file can have')
    }
    if (!this.#hasBegun && (header.flags & MODE_E_UNKNOWN_FLAGS) !== 0) {
      throw new MalformedError('MODE E header', `flags ${header.flags} mean nothing`)
    }
    this.#hasBegun = true
    if ((header.flags & MODE_E_EOF) !== 0) this.#events.onEodCount(header.offset)
    if (this.#left === 0) this.#endBlock()
  }

  #endBlock(): void {
    if ((this.#flags & MODE_E_EOD) !== 0) this.#isEnded = true
  }
}

/** Counts the EODs of one file: it is complete when as many were seen as its EOF announced. */
export class EodLedger {
  readonly #maxCount: number
  #seen = 0
  #expected: number | undefined

  /** @param maxCount the largest number of connections that a sender may announce. */
  constructor(maxCount: number) {
    this.#maxCount = maxCount
  }

  get seen(): number {
    return this.#seen
  }

  /** Undefined before the EOF. */
  get expected(): number | undefined {
    return this.#expected
  }

  get isComplete(): boolean {
    return this.#seen === this.#expected
  }

  /** Notes an EOF. @throws {MalformedError} for a second one, or a count that cannot be. */
  noteCount(count: number): void {
    if (this.#expected !== undefined) throw new MalformedError('transfer', 'a second EOF')
    if (count < 1 || count > this.#maxCount || count < this.#seen) {
      throw new MalformedError('transfer', `EOF announces ${count} EODs, ${this.#seen} were seen`)
    }
    this.#expected = count
  }

  /** Notes an EOD. @throws {MalformedError} if it is one more than announced. */
  noteEod(): void {
    this.#seen += 1
    if (this.#expected !== undefined && this.#seen > this.#expected) {
      throw new MalformedError('transfer', `${this.#seen} EODs, ${this.#expected} announced`)
    }
  }
}
