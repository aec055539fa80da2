import { CHUNK_ID_BYTES, isZeroChunk } from '../chunks/chunk-id.ts'
import type { ChunkId } from '../chunks/types.ts'
import { equalBytes } from '../lib/bytes.ts'

/** One fragment as a row: what `Fragment` says, with the number of its replica set. */
export interface FragmentRow {
  readonly index: number
  readonly at: number
  readonly length: number
  readonly chunkOffset: number
  readonly set: number
  readonly id: ChunkId
}

/**
 * Fragments in packed columns, 52 bytes each: a million of them are 52 MB where objects would be
 * ten times that. Grows as needed.
 */
export class LeafColumns {
  #count = 0
  #index: Uint32Array
  #at: Uint32Array
  #length: Uint32Array
  #chunkOffset: Uint32Array
  #set: Uint32Array
  #ids: Uint8Array

  constructor(expectedRows = 64) {
    const rows = Math.max(16, expectedRows)
    this.#index = new Uint32Array(rows)
    this.#at = new Uint32Array(rows)
    this.#length = new Uint32Array(rows)
    this.#chunkOffset = new Uint32Array(rows)
    this.#set = new Uint32Array(rows)
    this.#ids = new Uint8Array(rows * CHUNK_ID_BYTES)
  }

  get count(): number {
    return this.#count
  }

  /** Bytes of memory that the columns take. */
  get memoryBytes(): number {
    return this.#index.byteLength * 5 + this.#ids.byteLength
  }

  /** Adds a row at the end. @returns its number. */
  push(row: FragmentRow): number {
    if (this.#count === this.#index.length) this.#grow()
    const at = this.#count++
    this.#index[at] = row.index
    this.#at[at] = row.at
    this.#length[at] = row.length
    this.#chunkOffset[at] = row.chunkOffset
    this.#set[at] = row.set
    this.#ids.set(row.id, at * CHUNK_ID_BYTES)
    return at
  }

  /** Changes the replica set of a row. */
  setReplicas(row: number, set: number): void {
    this.#set[row] = set
  }

  index(row: number): number {
    return this.#index[row] ?? 0
  }

  at(row: number): number {
    return this.#at[row] ?? 0
  }

  /** Where the fragment ends within its leaf. */
  end(row: number): number {
    return this.at(row) + (this.#length[row] ?? 0)
  }

  /** The row as an object; `id` is a view that must not be changed. */
  row(row: number): FragmentRow {
    return {
      index: this.#index[row] ?? 0,
      at: this.#at[row] ?? 0,
      length: this.#length[row] ?? 0,
      chunkOffset: this.#chunkOffset[row] ?? 0,
      set: this.#set[row] ?? 0,
      id: this.#ids.subarray(row * CHUNK_ID_BYTES, (row + 1) * CHUNK_ID_BYTES)
    }
  }

  #grow(): void {
    const rows = this.#index.length * 2
    this.#index = grown(this.#index, rows)
    this.#at = grown(this.#at, rows)
    this.#length = grown(this.#length, rows)
    this.#chunkOffset = grown(this.#chunkOffset, rows)
    this.#set = grown(this.#set, rows)
    const ids = new Uint8Array(rows * CHUNK_ID_BYTES)
    ids.set(this.#ids)
    this.#ids = ids
  }
}

function grown(column: Uint32Array, rows: number): Uint32Array {
  const larger = new Uint32Array(rows)
  larger.set(column)
  return larger
}

/** Tells whether `next` goes on exactly where `row` ends, in its leaf and in its chunk. */
export function continues(row: FragmentRow, next: FragmentRow): boolean {
  if (row.index !== next.index || row.at + row.length !== next.at || row.set !== next.set) {
    return false
  }
  if (!equalBytes(row.id, next.id)) return false
  return isZeroChunk(row.id) || row.chunkOffset + row.length === next.chunkOffset
}

/**
 * Lays rows of one leaf over each other, later ones on top, and gives what can be seen of them, in
 * order of `at`, with neighbours that continue each other joined.
 */
export function overlayRows(rows: readonly FragmentRow[]): FragmentRow[] {
  let visible: FragmentRow[] = []
  for (const row of rows) {
    const end = row.at + row.length
    const last = visible.at(-1)
    if (last === undefined || last.at + last.length <= row.at) {
      visible.push(row)
      continue
    }
    const around = visible.flatMap((below) => [
      clip(below, 0, row.at),
      clip(below, end, below.at + below.length)
    ])
    visible = [...around.filter((piece) => piece.length > 0), row].toSorted((a, b) => a.at - b.at)
  }
  return joinRows(visible)
}

/** Joins neighbours that continue each other. */
export function joinRows(rows: readonly FragmentRow[]): FragmentRow[] {
  const joined: FragmentRow[] = []
  for (const row of rows) {
    const last = joined.at(-1)
    if (last !== undefined && continues(last, row)) {
      joined[joined.length - 1] = { ...last, length: last.length + row.length }
    } else {
      joined.push(row)
    }
  }
  return joined
}

/** The part of a row within `[start, end)` of its leaf; of length 0 if there is none. */
function clip(row: FragmentRow, start: number, end: number): FragmentRow {
  const at = Math.max(row.at, start)
  const length = Math.max(0, Math.min(row.at + row.length, end) - at)
  const chunkOffset = isZeroChunk(row.id) ? 0 : row.chunkOffset + at - row.at
  return { ...row, at, length, chunkOffset }
}
