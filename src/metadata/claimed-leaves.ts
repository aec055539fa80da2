import { isZeroChunk } from '../chunks/chunk-id.ts'
import { intersectRanges, subtractRanges } from '../lib/range-arithmetic.ts'
import { type Range, RangeSet } from '../lib/range-set.ts'
import { type LeafList, LeafListBuilder } from './leaf-list.ts'

/** What of a broken upload goes into the one that continues it. */
export interface ClaimedLeaves {
  /** The fragments, or the parts of them, that lie in what is claimed. */
  readonly leaves: LeafList
  /** Nothing had to be left out. */
  readonly isAll: boolean
  /** The first range that is claimed and not there. */
  readonly missing: Range | undefined
}

/**
 * Takes what a client says that it need not send again. The rest is left out even where it is
 * there, because the client sends it, or its file has become shorter since. A chunk of which only the
 * beginning is claimed counts as missing: nobody was told so, and a file that ended there would need
 * another chunk.
 *
 * @param claims in ascending order, without overlaps.
 */
export function claimLeaves(
  leaves: LeafList,
  claims: readonly Range[],
  chunkBytes: number
): ClaimedLeaves {
  const covered = coveredRanges(leaves, chunkBytes)
  const [missing] = subtractRanges(claims, covered)
  const [beyond] = subtractRanges(covered, claims)
  if (beyond === undefined) return { leaves, isAll: true, missing }
  const builder = new LeafListBuilder({ expectedFragments: leaves.fragmentCount })
  let cut = missing
  let first = 0 // claims before it end before the row
  for (let row = 0; row < leaves.fragmentCount; row++) {
    const range = rangeOf(leaves, row, chunkBytes)
    while ((claims[first]?.end ?? Infinity) <= range.start) first++
    const wanted = Array.from(intersectRanges([range], claimsFrom(claims, first, range.end)))
    for (const part of wanted) addPart(builder, leaves, { row, range, part })
    const [beginning] = wanted
    if (beginning?.start === range.start && beginning.end < range.end) cut ??= beginning
  }
  return { leaves: builder.build(), isAll: false, missing: cut }
}

function addPart(
  builder: LeafListBuilder,
  leaves: LeafList,
  { row, range, part }: { readonly row: number; readonly range: Range; readonly part: Range }
): void {
  const fragment = leaves.fragment(row)
  const skipped = part.start - range.start
  const chunkOffset = isZeroChunk(fragment.chunk) ? 0 : fragment.chunkOffset + skipped
  const length = part.end - part.start
  builder.add(leaves.index(row), { ...fragment, at: fragment.at + skipped, length, chunkOffset })
}

/** Where fragments are, in bytes of the file. */
export function coveredRanges(leaves: LeafList, chunkBytes: number): RangeSet {
  const covered = new RangeSet()
  for (let row = 0; row < leaves.fragmentCount; row++) {
    const { start, end } = rangeOf(leaves, row, chunkBytes)
    covered.add(start, end)
  }
  return covered
}

function* claimsFrom(claims: readonly Range[], first: number, before: number): Generator<Range> {
  for (let at = first; at < claims.length; at++) {
    const claim = claims[at]
    if (claim === undefined || claim.start >= before) return
    yield claim
  }
}

function rangeOf(leaves: LeafList, row: number, chunkBytes: number): Range {
  const { at, length } = leaves.fragment(row)
  const start = leaves.index(row) * chunkBytes + at
  return { start, end: start + length }
}
