/**
 * Which chunks of an image somebody has. On the wire: bit 0 is the highest bit of byte 0.
 *
 * ```text
 * byte    0                 1                 …   ceil(count / 8) - 1
 *         0 1 2 3 4 5 6 7 | 8 9 10 11 …      |   … count-1, then 0 bits up to the byte's end
 * ```
 */

import { MalformedError } from '../lib/errors.ts'

const ONES_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0
  for (let rest = byte; rest > 0; rest >>= 1) ones += rest & 1
  return ones
})

const mask = (index: number): number => 0x80 >> (index & 7)

/** A fixed number of bits, all 0 at first. */
export class Bitfield {
  /** Number of bits. */
  readonly count: number
  /**
   * The same bits 32 at a time, for those who compare whole bitfields; not to be changed. Which bit of a word
   * is which is the machine's matter; padding is 0.
   */
  readonly words: Uint32Array
  readonly #bytes: Uint8Array
  #onesCount = 0

  constructor(count: number) {
    if (!Number.isSafeInteger(count) || count < 0 || count > 2 ** 32) {
      throw new RangeError(`a bitfield cannot have ${count} bits`)
    }
    this.count = count
    this.words = new Uint32Array(Math.ceil(count / 32))
    this.#bytes = new Uint8Array(this.words.buffer, 0, Math.ceil(count / 8))
  }

  /** Number of bits that are 1. */
  get onesCount(): number {
    return this.#onesCount
  }

  /** Number of bits that are 0. */
  get missingCount(): number {
    return this.count - this.#onesCount
  }

  /** Whether every bit is 1; true for a bitfield of no bits. */
  get hasAll(): boolean {
    return this.#onesCount === this.count
  }

  /** @throws {RangeError} if there is no such bit. */
  get(index: number): boolean {
    return (this.#byteOf(index) & mask(index)) !== 0
  }

  /** Makes a bit 1. @returns true if it was 0. @throws {RangeError} if there is no such bit. */
  set(index: number): boolean {
    const byte = this.#byteOf(index)
    if ((byte & mask(index)) !== 0) return false
    this.#bytes[Math.floor(index / 8)] = byte | mask(index)
    this.#onesCount++
    return true
  }

  /** Makes a bit 0. @returns true if it was 1. @throws {RangeError} if there is no such bit. */
  clear(index: number): boolean {
    const byte = this.#byteOf(index)
    if ((byte & mask(index)) === 0) return false
    this.#bytes[Math.floor(index / 8)] = byte & ~mask(index)
    this.#onesCount--
    return true
  }

  /** A bitfield of the bits that are 1 in this one and in another of the same size. */
  and(other: Bitfield): Bitfield {
    if (other.count !== this.count) throw new RangeError(`${this.count} and ${other.count} bits`)
    const both = new Bitfield(this.count)
    for (const [at, word] of this.words.entries()) {
      const common = word & (other.words[at] ?? 0)
      both.words[at] = common
      both.#onesCount += onesOfWord(common)
    }
    return both
  }

  /** Makes every bit 1. */
  setAll(): void {
    this.#bytes.fill(0xff)
    const used = this.count & 7
    if (used !== 0) this.#bytes[this.#bytes.length - 1] = 0xff << (8 - used)
    this.#onesCount = this.count
  }

  /** @yields the indexes of the 1 bits in ascending order. */
  *ones(): Generator<number, void> {
    for (const [at, byte] of this.#bytes.entries()) {
      if (byte !== 0) yield* bitsOf(byte, at * 8)
    }
  }

  /** @yields the indexes of the 0 bits in ascending order. */
  *missing(): Generator<number, void> {
    for (const [at, byte] of this.#bytes.entries()) {
      if (byte === 0xff) continue
      for (const index of bitsOf(~byte & 0xff, at * 8)) {
        if (index < this.count) yield index
      }
    }
  }

  /** Wire form, ceil(count / 8) bytes in an array of their own. */
  encode(): Uint8Array {
    return this.#bytes.slice()
  }

  /**
   * Reads the wire form of a bitfield of `count` bits.
   *
   * @throws {MalformedError} if the length is not the one of `count` bits or a padding bit is 1.
   */
  static decode(bytes: Uint8Array, count: number): Bitfield {
    const bitfield = new Bitfield(count)
    const wanted = bitfield.#bytes.length
    if (bytes.byteLength !== wanted) {
      throw new MalformedError('bitfield', `${bytes.byteLength} bytes for ${count} bits`)
    }
    const padding = 0xff >> (count & 7)
    if ((count & 7) !== 0 && ((bytes[wanted - 1] ?? 0) & padding) !== 0) {
      throw new MalformedError('bitfield', 'a padding bit is 1')
    }
    bitfield.#bytes.set(bytes)
    let ones = 0
    for (const byte of bytes) ones += ONES_OF_BYTE[byte] ?? 0
    bitfield.#onesCount = ones
    return bitfield
  }

  #byteOf(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.count) {
      throw new RangeError(`bit ${index} of ${this.count}`)
    }
    return this.#bytes[Math.floor(index / 8)] ?? 0
  }
}

function* bitsOf(byte: number, first: number): Generator<number, void> {
  for (let bit = 0; bit < 8; bit++) {
    if ((byte & (0x80 >> bit)) !== 0) yield first + bit
  }
}

/** How many of 32 bits are 1. */
export function onesOfWord(word: number): number {
  let ones = word - ((word >>> 1) & 0x5555_5555)
  ones = (ones & 0x3333_3333) + ((ones >>> 2) & 0x3333_3333)
  return Math.imul((ones + (ones >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
