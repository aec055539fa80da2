/**
 * Arithmetic of the segment tree: which chunks bytes fall into, and which version owns which node.
 * Nothing here stores or waits.
 *
 * A tree of span S (a power of two, in chunks) has one possible node for every dyadic interval of
 * [0, S). Which of them a version has follows from what is known of it when it is assigned, so that
 * others can refer to its nodes before they exist.
 *
 * @see BlobSeer, JPDC 71(2), 2011; the growth spine and the holes are additions.
 */
import { MetadataLimitError } from './errors.ts'
import type { AssignedVersion } from './ticket-types.ts'
import type { ByteRange, ChunkRange } from './types.ts'

/** Ranges that a ticket may list; beyond that, the nearest neighbours are joined. */
export const MAX_TICKET_RANGES = 4096

/**
 * Fragments that one leaf may have; who writes more in one chunk merges them into one chunk
 * first.
 */
export const MAX_LEAF_FRAGMENTS = 4096

/** Chunks that a blob may have. */
export const MAX_CHUNKS = 2 ** 32

/**
 * Largest number of chunks of a version that replaces everything. Each of them has a leaf, those in
 * gaps too, which takes 100 bytes of the writer's memory and 50 µs while it is published; so one byte
 * at a place far away would cost as much as an image that ends there.
 */
export const MAX_REPLACED_CHUNKS = 2 ** 22

/** Levels of the largest tree: spans 2^0 to 2^32. */
export const MAX_LEVEL = 32

/** Half-open dyadic interval `[offset, offset + span)` of chunks: the place of a tree node. */
export interface Interval {
  readonly offset: number
  readonly span: number
}

/**
 * What a version has at a place: a node of its own, a hole (what was there is cut off, so nothing
 * older may be looked for), or whatever the versions below it have.
 */
export type Ownership = 'owned' | 'hole' | 'older'

/** Number of chunks that `bytes` take. */
export function chunksOf(bytes: number, chunkBytes: number): number {
  return Math.ceil(bytes / chunkBytes)
}

/** Bytes of chunk `index` in a blob of `bytes`; 0 past the end. */
export function chunkLengthAt(bytes: number, chunkBytes: number, index: number): number {
  return Math.max(0, Math.min(chunkBytes, bytes - index * chunkBytes))
}

/** Smallest tree span that holds `chunks`. @throws {MetadataLimitError} above MAX_CHUNKS. */
export function spanFor(chunks: number): number {
  if (chunks > MAX_CHUNKS) throw new MetadataLimitError('number of chunks', chunks, MAX_CHUNKS)
  let span = 1
  while (span < chunks) span *= 2
  return span
}

/** Tells whether the interval can be the place of a tree node at all. */
export function isDyadic(offset: number, span: number): boolean {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset >= MAX_CHUNKS) return false
  return span >= 1 && span <= MAX_CHUNKS && Number.isInteger(Math.log2(span)) && offset % span === 0
}

/** The chunks that a range of bytes touches; empty for an empty range. */
export function chunkRangeOf(range: ByteRange, chunkBytes: number): ChunkRange {
  const start = Math.floor(range.offset / chunkBytes)
  if (range.length === 0) return { start, end: start }
  return { start, end: Math.ceil((range.offset + range.length) / chunkBytes) }
}

/** The bytes of a range of chunks, whether or not the blob is that long. */
export function byteRangeOf(range: ChunkRange, chunkBytes: number): ByteRange {
  const offset = range.start * chunkBytes
  return { offset, length: Math.max(0, range.end - range.start) * chunkBytes }
}

/**
 * Brings ranges into the form of a ticket: sorted, without empty ones, touching and overlapping
 * ones joined, and then those with the smallest gaps between them joined until at most `limit`
 * are left.
 */
export function joinRanges(
  ranges: Iterable<ChunkRange>,
  limit: number = MAX_TICKET_RANGES
): ChunkRange[] {
  const sorted = Array.from(ranges)
    .filter(({ start, end }) => start < end)
    .toSorted((a, b) => a.start - b.start)
  const joined = joinNearer(sorted, 0)
  if (joined.length <= limit) return joined
  const gaps = Float64Array.from(
    joined.slice(1),
    (range, at) => range.start - (joined[at]?.end ?? 0)
  )
  const widest = gaps.toSorted()[joined.length - limit - 1] ?? 0
  // Of gaps that are just that wide only some may close, so those that are narrower go first.
  let spare = limit - 1 - gaps.filter((gap) => gap > widest).length
  return joinNearer(joined, widest, (gap) => gap < widest || spare-- <= 0)
}

/** Joins neighbours with at most `widest` chunks between them, where `mayJoin` agrees. */
function joinNearer(
  sorted: readonly ChunkRange[],
  widest: number,
  mayJoin: (gap: number) => boolean = () => true
): ChunkRange[] {
  const joined: ChunkRange[] = []
  for (const range of sorted) {
    const last = joined.at(-1)
    const gap = last === undefined ? Number.POSITIVE_INFINITY : range.start - last.end
    if (last !== undefined && gap <= widest && mayJoin(gap)) {
      joined[joined.length - 1] = { start: last.start, end: Math.max(last.end, range.end) }
    } else {
      joined.push(range)
    }
  }
  return joined
}

/** Tells whether ranges have the form that `joinRanges` gives and end by `endChunk`. */
export function areTicketRanges(ranges: readonly ChunkRange[], endChunk: number): boolean {
  if (ranges.length > MAX_TICKET_RANGES) return false
  let free = 0
  for (const { start, end } of ranges) {
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) return false
    if (start < free || end <= start || end > endChunk) return false
    free = end + 1
  }
  return true
}

/** Number of the first range that ends after chunk `start`. O(log ranges). */
function firstAfter(ranges: readonly ChunkRange[], start: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ranges[middle]?.end ?? 0) > start) high = middle
    else low = middle + 1
  }
  return low
}

/** Tells whether `[start, end)` meets one of the sorted, disjoint ranges. O(log ranges). */
export function meetsRanges(ranges: readonly ChunkRange[], start: number, end: number): boolean {
  const first = ranges[firstAfter(ranges, start)]
  return first !== undefined && first.start < end
}

/** Number of chunks of `[start, end)` that the sorted, disjoint ranges cover. */
export function coveredChunks(ranges: readonly ChunkRange[], start: number, end: number): number {
  let covered = 0
  for (let at = firstAfter(ranges, start); at < ranges.length; at++) {
    const range = ranges[at]
    if (range === undefined || range.start >= end) break
    covered += Math.min(range.end, end) - Math.max(range.start, start)
  }
  return covered
}

/**
 * Tells what version `u` has at `[offset, offset + span)`.
 *
 * It owns its root, even if it writes nothing; where its tree has grown, the spine of intervals
 * between the old root and the new one, because otherwise nothing would link to the old root; and
 * every interval that meets its ranges. A version that truncates has holes past its end: old
 * bytes must not reappear when a later version grows again.
 */
export function ownership(
  u: AssignedVersion,
  chunkBytes: number,
  offset: number,
  span: number
): Ownership {
  if (offset + span <= u.span) {
    if (span === u.span) return 'owned'
    if (meetsRanges(u.ranges, offset, offset + span)) return 'owned'
    const hasGrown = u.previousSpan > 0 && u.previousSpan < u.span
    if (hasGrown && offset === 0 && span > u.previousSpan) return 'owned'
  }
  return u.truncates && offset >= chunksOf(u.bytes, chunkBytes) ? 'hole' : 'older'
}
