import { secureBytes } from '../lib/random.ts'

/** Bytes of a key that are looked at; the shortest key. */
export const KEY_PREFIX_BYTES = 16

const TABLES = 256
const SMALLEST_TABLE = 8
const MAX_FILL = 0.8
const GROWTH = 1.5

/** The compared bytes of a key as four numbers; each set has one for its own use. */
type Words = [number, number, number, number]

/**
 * A set of hashes (chunk ids, page ids), of which it keeps the first 16 bytes: two hashes that
 * begin the same count as one, which no 128 bits of a good hash do by chance. 20 to 30 bytes of
 * memory a key without an object for each. It consists of 256 tables that grow one by one, so that
 * the process never stops for long. Whoever chooses the keys cannot crowd them into one place,
 * because a secret of the set decides where they go.
 */
export class KeySet {
  readonly #seed: number
  readonly #words: Words = [0, 0, 0, 0]
  #tables: (Table | undefined)[] = []
  #size = 0

  constructor(seed: number = Buffer.from(secureBytes(4)).readUInt32LE()) {
    this.#seed = seed
  }

  /** Number of keys. */
  get size(): number {
    return this.#size
  }

  /**
   * Adds a key of at least 16 bytes; the array is not kept.
   *
   * @returns true if it was not in the set before.
   * @throws {RangeError} if the key is shorter.
   */
  add(key: Uint8Array): boolean {
    const hash = this.#read(key)
    const at = hash % TABLES
    let table = (this.#tables[at] ??= new Table(this.#seed, SMALLEST_TABLE))
    if (table.has(this.#words, hash)) return false
    if (table.isFull) {
      table = table.grown()
      this.#tables[at] = table
    }
    table.add(this.#words, hash)
    this.#size++
    return true
  }

  /** @throws {RangeError} if the key is shorter than 16 bytes. */
  has(key: Uint8Array): boolean {
    const hash = this.#read(key)
    return this.#tables[hash % TABLES]?.has(this.#words, hash) ?? false
  }

  /** Takes all keys out and gives their memory back. */
  clear(): void {
    this.#tables = []
    this.#size = 0
  }

  /** Takes the key apart. @returns its hash, unsigned. */
  #read(key: Uint8Array): number {
    if (key.byteLength < KEY_PREFIX_BYTES) {
      throw new RangeError(`a key has at least ${KEY_PREFIX_BYTES} bytes, not ${key.byteLength}`)
    }
    for (let word = 0; word < 4; word++) this.#words[word] = readWord(key, word * 4)
    return hashOf(this.#words, this.#seed)
  }
}

/** A hash table with linear probing. Four zero words mark a free slot. */
class Table {
  readonly #seed: number
  readonly #slots: number
  readonly #keys: Uint32Array
  #count = 0
  #hasZero = false

  constructor(seed: number, slots: number) {
    this.#seed = seed
    this.#slots = slots
    this.#keys = new Uint32Array(slots * 4)
  }

  get isFull(): boolean {
    return this.#count + 1 > this.#slots * MAX_FILL
  }

  has(words: Words, hash: number): boolean {
    if (isZero(words)) return this.#hasZero
    return !this.#isFree(this.#slotOf(words, hash))
  }

  /** Adds a key that is not there; the table must not be full. */
  add(words: Words, hash: number): void {
    if (isZero(words)) this.#hasZero = true
    else this.#keys.set(words, this.#slotOf(words, hash) * 4)
    this.#count++
  }

  /** A larger table with the same keys. */
  grown(): Table {
    const larger = new Table(this.#seed, Math.ceil(this.#slots * GROWTH))
    for (let slot = 0; slot < this.#slots; slot++) {
      if (this.#isFree(slot)) continue
      const words = this.#wordsAt(slot)
      larger.add(words, hashOf(words, this.#seed))
    }
    if (this.#hasZero) larger.add([0, 0, 0, 0], 0)
    return larger
  }

  /** Where the key is, or the free slot where it belongs. */
  #slotOf(words: Words, hash: number): number {
    // The low bits have chosen the table already.
    let slot = Math.floor((Math.floor(hash / TABLES) * this.#slots) / (2 ** 32 / TABLES))
    while (!this.#isFree(slot) && !this.#isAt(slot, words)) {
      slot = slot + 1 === this.#slots ? 0 : slot + 1
    }
    return slot
  }

  #isAt(slot: number, words: Words): boolean {
    const start = slot * 4
    return (
      this.#keys[start] === words[0] &&
      this.#keys[start + 1] === words[1] &&
      this.#keys[start + 2] === words[2] &&
      this.#keys[start + 3] === words[3]
    )
  }

  #isFree(slot: number): boolean {
    return this.#isAt(slot, NO_KEY)
  }

  #wordsAt(slot: number): Words {
    const [a = 0, b = 0, c = 0, d = 0] = this.#keys.subarray(slot * 4, slot * 4 + 4)
    return [a, b, c, d]
  }
}

const NO_KEY: Words = [0, 0, 0, 0]

// By index and not taken apart: iterators would be most of the work.
function isZero(words: Words): boolean {
  return (words[0] | words[1] | words[2] | words[3]) === 0
}

function readWord(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
  return (low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0
}

/** Mixes all words, so that keys which differ in few bytes do not crowd one place. */
function hashOf(words: Words, seed: number): number {
  let hash = seed
  for (let at = 0; at < words.length; at++) {
    hash = Math.imul(hash ^ (words[at] ?? 0), 0x9e_37_79_b1)
    hash ^= hash >>> 15
  }
  hash = Math.imul(hash, 0x85_eb_ca_6b)
  return (hash ^ (hash >>> 13)) >>> 0
}
