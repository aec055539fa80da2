import { secureBytes } from '../lib/random.ts'
import { CHUNK_ID_BYTES } from './chunk-id.ts'
import type { ChunkId } from './types.ts'

/** What a store knows of a chunk without reading it. */
export interface IndexEntry {
  readonly bytes: number
  /** Whether the bytes were hashed since this process has them. */
  readonly isVerified: boolean
  /** Where it lies (chunk-disk.ts). */
  readonly segment: number
  readonly offset: number
}

const SMALLEST_TABLE = 8
const MAX_FILL = 0.7

/**
 * Which chunks a store holds, in memory: 63 to 126 bytes a chunk, without an object for each. A
 * hash table for each first byte of the ids, so that growing one stops the process for a moment
 * only.
 */
export class ChunkIndex {
  readonly #seed: number
  readonly #tables: Table[]
  #count = 0
  #bytes = 0

  constructor(seed: number = Buffer.from(secureBytes(4)).readUInt32LE()) {
    this.#seed = seed
    this.#tables = Array.from({ length: 256 }, () => new Table(this.#seed, SMALLEST_TABLE))
  }

  get count(): number {
    return this.#count
  }

  /** Sum of the lengths. */
  get bytes(): number {
    return this.#bytes
  }

  has(id: ChunkId): boolean {
    return this.#tableOf(id).has(id)
  }

  get(id: ChunkId): IndexEntry | undefined {
    return this.#tableOf(id).entry(id)
  }

  /** Adds a chunk or replaces what is known of it. Chunks of 1 GiB and more do not fit. */
  set(id: ChunkId, entry: IndexEntry): void {
    const before = this.get(id)
    let table = this.#tableOf(id)
    if (before === undefined && table.isFull) {
      table = table.grown()
      this.#tables[id[0] ?? 0] = table
    }
    table.set(id, entry)
    this.#bytes += entry.bytes - (before?.bytes ?? 0)
    if (before === undefined) this.#count++
  }

  /** @returns what was known of the chunk, undefined if it was not there. */
  delete(id: ChunkId): IndexEntry | undefined {
    const entry = this.get(id)
    if (entry === undefined) return undefined
    this.#tableOf(id).delete(id)
    this.#count--
    this.#bytes -= entry.bytes
    return entry
  }

  /**
   * @param firstByte only ids that begin so. @default any
   * @yields every id; of those added or deleted meanwhile some.
   */
  *ids(firstByte?: number): Generator<ChunkId, void> {
    const [from, to] = firstByte === undefined ? [0, 255] : [firstByte, firstByte]
    for (let first = from; first <= to; first++) {
      const ids = this.#tables[first]?.ids() ?? []
      for (const id of ids) if (this.has(id)) yield id
    }
  }

  #tableOf(id: ChunkId): Table {
    return this.#tables[id[0] ?? 0] as Table
  }
}

/** A hash table with linear probing. A slot is free if its length is 0 as it is packed. */
class Table {
  readonly #seed: number
  readonly #mask: number
  readonly #ids: Uint8Array
  readonly #lengths: Uint32Array
  readonly #segments: Uint32Array
  readonly #offsets: Uint32Array
  #count = 0

  /** `slots` is a power of two. */
  constructor(seed: number, slots: number) {
    this.#seed = seed
    this.#mask = slots - 1
    this.#ids = new Uint8Array(slots * CHUNK_ID_BYTES)
    this.#lengths = new Uint32Array(slots)
    this.#segments = new Uint32Array(slots)
    this.#offsets = new Uint32Array(slots)
  }

  get isFull(): boolean {
    return this.#count + 1 > (this.#mask + 1) * MAX_FILL
  }

  has(id: ChunkId): boolean {
    return this.#lengths[this.#slotOf(id)] !== 0
  }

  entry(id: ChunkId): IndexEntry | undefined {
    const slot = this.#slotOf(id)
    const packed = this.#lengths[slot] ?? 0
    return packed === 0 ? undefined : this.#unpacked(packed, slot)
  }

  set(id: ChunkId, { bytes, isVerified, segment, offset }: IndexEntry): void {
    const slot = this.#slotOf(id)
    if (this.#lengths[slot] === 0) this.#count++
    this.#lengths[slot] = pack(bytes, isVerified)
    this.#segments[slot] = segment
    this.#offsets[slot] = offset
    this.#ids.set(id, slot * CHUNK_ID_BYTES)
  }

  /** Removes an id that is there and moves those after it up, so that no gap cuts them off. */
  delete(id: ChunkId): void {
    let gap = this.#slotOf(id)
    this.#lengths[gap] = 0
    this.#count--
    for (let slot = this.#after(gap); this.#lengths[slot] !== 0; slot = this.#after(slot)) {
      const home = this.#homeOf(this.#idAt(slot))
      // It may move up to the gap if that is not before its home, going round.
      if (((slot - home) & this.#mask) < ((slot - gap) & this.#mask)) continue
      this.#copy(this, slot, gap)
      this.#lengths[slot] = 0
      gap = slot
    }
  }

  /** A table of twice the size with the same entries. */
  grown(): Table {
    const larger = new Table(this.#seed, (this.#mask + 1) * 2)
    for (const [slot, packed] of this.#lengths.entries()) {
      if (packed === 0) continue
      larger.#copy(this, slot, larger.#slotOf(this.#idAt(slot)))
      larger.#count++
    }
    return larger
  }

  /** Copies of all ids. */
  ids(): ChunkId[] {
    const ids: ChunkId[] = []
    for (const [slot, packed] of this.#lengths.entries()) {
      if (packed !== 0) ids.push(this.#idAt(slot).slice())
    }
    return ids
  }

  #copy(from: Table, slot: number, to: number): void {
    this.#ids.set(from.#idAt(slot), to * CHUNK_ID_BYTES)
    this.#lengths[to] = from.#lengths[slot] ?? 0
    this.#segments[to] = from.#segments[slot] ?? 0
    this.#offsets[to] = from.#offsets[slot] ?? 0
  }

  #unpacked(packed: number, slot: number): IndexEntry {
    return {
      bytes: Math.floor(packed / 4),
      isVerified: (packed & 2) !== 0,
      segment: this.#segments[slot] ?? 0,
      offset: this.#offsets[slot] ?? 0
    }
  }

  /** Where the id is, or the free slot where it belongs. */
  #slotOf(id: ChunkId): number {
    let slot = this.#homeOf(id)
    while (this.#lengths[slot] !== 0 && !this.#isAt(slot, id)) slot = this.#after(slot)
    return slot
  }

  /**
   * From four bytes of the id, which are random already; the seed hides the order from who made
   * them.
   */
  #homeOf(id: ChunkId): number {
    const word = (id[1] ?? 0) | ((id[2] ?? 0) << 8) | ((id[3] ?? 0) << 16) | ((id[4] ?? 0) << 24)
    const mixed = Math.imul(word ^ this.#seed, 0x9e_37_79_b1)
    return (mixed ^ (mixed >>> 15)) & this.#mask
  }

  #isAt(slot: number, id: ChunkId): boolean {
    const start = slot * CHUNK_ID_BYTES
    for (let at = 0; at < CHUNK_ID_BYTES; at++) {
      if (this.#ids[start + at] !== id[at]) return false
    }
    return true
  }

  #idAt(slot: number): ChunkId {
    return this.#ids.subarray(slot * CHUNK_ID_BYTES, (slot + 1) * CHUNK_ID_BYTES)
  }

  #after(slot: number): number {
    return (slot + 1) & this.#mask
  }
}

/** Length × 4, plus 2 if verified, plus 1 so that it is never 0. */
function pack(bytes: number, isVerified: boolean): number {
  return bytes * 4 + (isVerified ? 3 : 1)
}
