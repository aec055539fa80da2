import { chunksOf, type Interval, meetsRanges } from './geometry.ts'
import type { AssignedVersion } from './ticket-types.ts'
import type { ChunkRange } from './types.ts'

/**
 * Tells which nodes of a version nobody reads any more once only the tree of a later version `r`
 * stays: those in whose place some version above it, up to `r`, has a node of its own or a hole.
 * Every other node hangs in the tree of `r`.
 *
 * The versions above are added one by one, from `r` downwards, so that one pass answers for every
 * version between two trees that stay: before version v is asked about, all of (v, r] is added.
 * Spans never shrink from version to version, so of the rules of `ownership` only these are left
 * to look at: the ranges of the versions above, roots as wide as theirs, and where they cut off.
 */
export class SupersededNodes {
  readonly #chunkBytes: number
  readonly #spans = new Set<number>()
  #ranges: readonly ChunkRange[] = []
  /** First chunk that some version has cut off. */
  #cutAt = Number.POSITIVE_INFINITY

  /** @param chunkBytes bytes of a chunk of the blob. */
  constructor(chunkBytes: number) {
    this.#chunkBytes = chunkBytes
  }

  /** Adds the next lower version. O(ranges). */
  add({ ranges, span, bytes, truncates }: AssignedVersion): void {
    this.#ranges = unionOf(this.#ranges, ranges)
    this.#spans.add(span)
    if (truncates) this.#cutAt = Math.min(this.#cutAt, chunksOf(bytes, this.#chunkBytes))
  }

  /**
   * Tells whether the node of the version below all that were added is superseded. O(log ranges).
   */
  has({ offset, span }: Interval): boolean {
    if (offset >= this.#cutAt) return true
    if (offset === 0 && this.#spans.has(span)) return true
    return meetsRanges(this.#ranges, offset, offset + span)
  }
}

/** Joins two sorted lists of disjoint ranges into one. O(ranges). */
function unionOf(left: readonly ChunkRange[], right: readonly ChunkRange[]): readonly ChunkRange[] {
  if (left.length === 0) return right
  if (right.length === 0) return left
  const union: { start: number; end: number }[] = []
  const [ours, theirs] = [left.values(), right.values()]
  let a = ours.next().value
  let b = theirs.next().value
  while (a !== undefined || b !== undefined) {
    const isOurs = b === undefined || (a !== undefined && a.start <= b.start)
    const next = isOurs ? a : b
    if (isOurs) a = ours.next().value
    else b = theirs.next().value
    if (next === undefined) break
    const last = union.at(-1)
    if (last !== undefined && next.start <= last.end) last.end = Math.max(last.end, next.end)
    else union.push({ start: next.start, end: next.end })
  }
  return union
}
