import { Bitfield } from '../../chunks/bitfield.ts'
import type { Manifest } from '../../chunks/manifest.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { asBuffer } from '../../lib/bytes.ts'
import { nextTurn } from '../../lib/turn.ts'

const NONE = 0xffff_ffff
const CHUNKS_PER_TURN = 16_384
const ID_BYTES = 32

/**
 * Which chunks of an image differ. A chunk that occurs several times is fetched once, under its first
 * index; chunks of zeros are never fetched. Takes 16 bytes of memory a chunk.
 */
export class ChunkTable {
  readonly manifest: Manifest
  /** Number of different chunks without zeros. */
  readonly distinctCount: number
  /** 1 for each index under which a chunk is fetched; not to be changed. */
  readonly distinctField: Bitfield
  /** Bytes of all chunks of zeros, and their number. */
  readonly zeroBytes: number
  readonly zeroCount: number
  readonly #firsts: Uint32Array
  readonly #occurrences: Uint32Array

  private constructor(manifest: Manifest, firsts: Uint32Array, distinctField: Bitfield) {
    let [zeroBytes, zeroCount] = [0, 0]
    this.#occurrences = new Uint32Array(firsts.length)
    for (const [index, first] of firsts.entries()) {
      if (first === NONE) {
        zeroCount++
        zeroBytes += manifest.chunkLength(index)
      } else {
        this.#occurrences[first] = (this.#occurrences[first] ?? 0) + 1
      }
    }
    this.manifest = manifest
    this.#firsts = firsts
    this.distinctCount = distinctField.onesCount
    this.distinctField = distinctField
    this.zeroBytes = zeroBytes
    this.zeroCount = zeroCount
  }

  /** Makes the table of a manifest, letting other work in between. */
  static async build(manifest: Manifest): Promise<ChunkTable> {
    const { chunkCount } = manifest
    const firsts = new Uint32Array(chunkCount).fill(NONE)
    const distinct = new Bitfield(chunkCount)
    const finder = new FirstFinder(asBuffer(manifest.ids.bytes), chunkCount)
    for (let index = 0; index < chunkCount; index++) {
      if (index % CHUNKS_PER_TURN === CHUNKS_PER_TURN - 1) await nextTurn()
      if (manifest.ids.isZero(index)) continue
      const first = finder.firstOf(index)
      firsts[index] = first
      if (first === index) distinct.set(index)
    }
    return new ChunkTable(manifest, firsts, distinct)
  }

  get count(): number {
    return this.#firsts.length
  }

  /** Tells whether a chunk is fetched under this index: not zeros, and not seen at a lower one. */
  isDistinct(index: number): boolean {
    return this.#firsts[index] === index
  }

  /** The index under which the chunk at `index` is fetched; undefined for zeros. */
  firstOf(index: number): number | undefined {
    const first = this.#firsts[index]
    if (first === undefined) throw new RangeError(`chunk ${index} of ${this.count}`)
    return first === NONE ? undefined : first
  }

  /** How often the chunk first seen at `index` occurs. */
  occurrences(index: number): number {
    return this.#occurrences[index] ?? 0
  }

  id(index: number): ChunkId {
    return this.manifest.chunkId(index)
  }

  byteLength(index: number): number {
    return this.manifest.chunkLength(index)
  }

  /** @yields the indexes under which chunks are fetched, ascending. */
  *distinct(): Generator<number, void> {
    for (const [index, first] of this.#firsts.entries()) {
      if (first === index) yield index
    }
  }
}

/** An open-addressed hash table over packed ids, which are uniform already: 8 bytes a chunk. */
class FirstFinder {
  readonly #ids: Buffer
  readonly #slots: Uint32Array
  readonly #mask: number

  constructor(ids: Buffer, count: number) {
    let size = 16
    while (size < count * 2) size *= 2
    this.#ids = ids
    this.#slots = new Uint32Array(size).fill(NONE)
    this.#mask = size - 1
  }

  /** The lowest index asked about so far whose id is the one at `index`. */
  firstOf(index: number): number {
    const at = index * ID_BYTES
    for (let slot = this.#ids.readUInt32LE(at) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const other = this.#slots[slot] ?? NONE
      if (other === NONE) {
        this.#slots[slot] = index
        return index
      }
      const start = other * ID_BYTES
      if (this.#ids.compare(this.#ids, at, at + ID_BYTES, start, start + ID_BYTES) === 0)
        return other
    }
  }
}
