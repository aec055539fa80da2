import { isZeroChunk } from '../chunks/chunk-id.ts'
import type { ProviderId } from '../chunks/types.ts'
import { MetadataLimitError } from './errors.ts'
import { joinRanges, MAX_CHUNKS, MAX_LEAF_FRAGMENTS } from './geometry.ts'
import { continues, type FragmentRow, joinRows, LeafColumns, overlayRows } from './leaf-columns.ts'
import { ReplicaSets } from './replica-sets.ts'
import type { Fragment, LeafEntry } from './tree-types.ts'
import type { ChunkRange } from './types.ts'

/**
 * Everything that one version writes: for each rewritten chunk index its fragments, in order of
 * index, 52 bytes of memory a fragment. Immutable. Equal content has equal pages
 * (leaf-list-codec.ts), whatever the order in which it was built.
 */
export class LeafList implements Iterable<LeafEntry> {
  /** Number of leaves, that is of different chunk indexes. */
  readonly leafCount: number
  readonly #columns: LeafColumns
  readonly #sets: ReplicaSets

  /** `columns` are sorted by index, then `at`, and canonical; use LeafListBuilder. */
  constructor(columns: LeafColumns, sets: ReplicaSets) {
    this.#columns = columns
    this.#sets = sets
    let leafCount = 0
    for (let row = 0; row < columns.count; row++) {
      if (row === 0 || columns.index(row) !== columns.index(row - 1)) leafCount++
    }
    this.leafCount = leafCount
  }

  get fragmentCount(): number {
    return this.#columns.count
  }

  /** Bytes of memory that the fragments take. */
  get memoryBytes(): number {
    return this.#columns.memoryBytes
  }

  /**
   * Walks the leaves in order of index.
   *
   * @yields leaves whose ids are views that must not be changed.
   */
  *[Symbol.iterator](): Generator<LeafEntry, void> {
    for (let row = 0; row < this.fragmentCount; ) {
      const index = this.#columns.index(row)
      const fragments: Fragment[] = []
      while (row < this.fragmentCount && this.#columns.index(row) === index) {
        fragments.push(this.fragment(row++))
      }
      yield { index, fragments }
    }
  }

  /** Chunk index of a row; rows count fragments from 0. */
  index(row: number): number {
    return this.#columns.index(row)
  }

  /** The fragment of a row. */
  fragment(row: number): Fragment {
    return fragmentOf(this.#columns.row(row), this.#sets)
  }

  /** Where the last fragment ends, in bytes from the start of the blob. */
  endBytes(chunkBytes: number): number {
    const last = this.fragmentCount - 1
    return last < 0 ? 0 : this.#columns.index(last) * chunkBytes + this.#columns.end(last)
  }

  /** Chunk indexes in the form of a ticket: sorted ranges, the nearest joined to at most 4,096. */
  ranges(): ChunkRange[] {
    return joinRanges(this.#runs())
  }

  /**
   * The same bytes `deltaBytes` further on, cut again on the grid: no data moves, a fragment that
   * now lies across a border becomes two that point into the same chunk.
   */
  shifted(deltaBytes: number, chunkBytes: number): LeafList {
    const builder = new LeafListBuilder({ expectedFragments: this.fragmentCount * 2 })
    for (let row = 0; row < this.fragmentCount; row++) {
      const fragment = this.fragment(row)
      let offset = this.#columns.index(row) * chunkBytes + fragment.at + deltaBytes
      for (let done = 0; done < fragment.length; ) {
        const index = Math.floor(offset / chunkBytes)
        const at = offset - index * chunkBytes
        const length = Math.min(fragment.length - done, chunkBytes - at)
        const isZero = isZeroChunk(fragment.chunk)
        const chunkOffset = isZero ? 0 : fragment.chunkOffset + done
        builder.add(index, { ...fragment, at, length, chunkOffset })
        done += length
        offset += length
      }
    }
    return builder.build()
  }

  /**
   * Walks the chunk indexes.
   *
   * @yields runs of neighbours, in order.
   */
  *#runs(): Generator<ChunkRange, void> {
    let start = 0
    let end = 0
    for (let row = 0; row < this.fragmentCount; row++) {
      const index = this.#columns.index(row)
      if (index > end) {
        yield { start, end }
        start = index
      }
      end = index + 1
    }
    yield { start, end }
  }
}

/**
 * Collects fragments in any order. Where fragments of one leaf overlap, the one that was added
 * later is seen. Can be built once.
 */
export class LeafListBuilder {
  readonly #columns: LeafColumns
  readonly #sets: ReplicaSets

  constructor(options: { readonly expectedFragments?: number } = {}) {
    const { expectedFragments = 64 } = options
    this.#columns = new LeafColumns(expectedFragments)
    this.#sets = new ReplicaSets()
  }

  /** Number of fragments added. */
  get fragmentCount(): number {
    return this.#columns.count
  }

  /** A fragment as it is known now; fragments are numbered from 0 in the order of `add`. */
  fragment(number: number): Fragment {
    return fragmentOf(this.#columns.row(number), this.#sets)
  }

  /** A fragment and the index of its chunk. */
  placed(number: number): { readonly index: number; readonly fragment: Fragment } {
    return { index: this.#columns.index(number), fragment: this.fragment(number) }
  }

  /**
   * Adds a fragment.
   *
   * @returns a number for `setReplicas`.
   * @throws {RangeError} for an empty fragment, an offset or index out of range.
   */
  add(index: number, fragment: Fragment): number {
    const { at, length, chunk, chunkOffset, replicas } = fragment
    if (!Number.isInteger(index) || index < 0 || index >= MAX_CHUNKS) {
      throw new RangeError(`chunk index ${index}`)
    }
    if (!isU32(at) || !isU32(length) || !isU32(chunkOffset) || length === 0) {
      throw new RangeError(`fragment of ${length} bytes at ${at}, from ${chunkOffset}`)
    }
    const isZero = isZeroChunk(chunk)
    const set = isZero ? 0 : this.#sets.intern(replicas)
    return this.#columns.push({
      index,
      at,
      length,
      chunkOffset: isZero ? 0 : chunkOffset,
      set,
      id: chunk
    })
  }

  /**
   * Says where the chunk of a fragment was stored, when that becomes known. Not for the zero chunk.
   */
  setReplicas(fragment: number, replicas: readonly ProviderId[]): void {
    this.#columns.setReplicas(fragment, this.#sets.intern(replicas))
  }

  /** @throws {MetadataLimitError} if a leaf has more than MAX_LEAF_FRAGMENTS visible fragments. */
  build(): LeafList {
    if (isCanonical(this.#columns)) return new LeafList(this.#columns, this.#sets)
    return new LeafList(canonicalColumns(this.#columns), this.#sets)
  }
}

function fragmentOf(row: FragmentRow, sets: ReplicaSets): Fragment {
  const { at, length, chunkOffset, set, id } = row
  return { at, length, chunk: id, chunkOffset, replicas: sets.get(set) }
}

function isU32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < 2 ** 32
}

/**
 * Tells whether rows are sorted already and no two are in one leaf, as in an upload from start to
 * end.
 */
function isCanonical(columns: LeafColumns): boolean {
  for (let row = 1; row < columns.count; row++) {
    if (columns.index(row) <= columns.index(row - 1)) return false
  }
  return true
}

function canonicalColumns(columns: LeafColumns): LeafColumns {
  const order = orderByIndex(columns)
  const sorted = new LeafColumns(columns.count)
  for (let from = 0; from < order.length; ) {
    const first = order[from++] ?? 0
    const index = columns.index(first)
    const leaf = [columns.row(first)]
    for (; from < order.length && columns.index(order[from] ?? 0) === index; from++) {
      leaf.push(columns.row(order[from] ?? 0))
    }
    for (const row of visibleRows(leaf)) sorted.push(row)
  }
  return sorted
}

/**
 * Rows in order of index; equal ones in the order in which they were added, which decides who is
 * seen.
 */
function orderByIndex(columns: LeafColumns): Float64Array {
  const { count } = columns
  if (count * MAX_CHUNKS > Number.MAX_SAFE_INTEGER) {
    const rows = Float64Array.from({ length: count }, (_, row) => row)
    return rows.toSorted(
      (left, right) => columns.index(left) - columns.index(right) || left - right
    )
  }
  // Numbers sort ten times as fast as with a comparison: index and row in one.
  const keys = Float64Array.from({ length: count }, (_, row) => columns.index(row) * count + row)
  return keys.toSorted().map((key) => key % count)
}

function visibleRows(leaf: readonly FragmentRow[]): readonly FragmentRow[] {
  if (leaf.length === 1) return leaf
  const byPlace = leaf.toSorted((left, right) => left.at - right.at)
  const visible = areDisjoint(byPlace) ? joinRows(byPlace) : overlayRows(leaf)
  if (visible.length > MAX_LEAF_FRAGMENTS) {
    throw new MetadataLimitError('fragments of a leaf', visible.length, MAX_LEAF_FRAGMENTS)
  }
  return visible
}

function areDisjoint(rows: readonly FragmentRow[]): boolean {
  return rows.every((row, place) => {
    const before = rows[place - 1]
    return before === undefined || before.at + before.length <= row.at
  })
}

/** Tells whether `next` may follow `row` in a canonical list. */
export function mayFollow(row: FragmentRow, next: FragmentRow): boolean {
  if (next.index !== row.index) return next.index > row.index
  return next.at >= row.at + row.length && !continues(row, next)
}
