import { chunkId, isZeroChunk, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import { ChunkUnavailableError } from '../chunks/errors.ts'
import { MAX_MANIFEST_CHILDREN } from '../chunks/manifest.ts'
import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { isAllZero, MIB, toHex } from '../lib/bytes.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { LeafListBuilder } from './leaf-list.ts'
import type { ManifestView } from './manifest-view.ts'
import type { Fragment } from './tree-types.ts'
import type { ByteRange } from './types.ts'

/** Memory for beginnings of chunks that become chunks of their own. */
const MAX_CUT_BYTES = 64 * MIB

/** Chunks that are cut at the same time, whatever their size. */
const MAX_CUTS = 8

export interface MergeSources {
  readonly reader: ChunkReader
  readonly writer: ChunkWriter
  /** Takes what is merged. */
  readonly leaves: LeafListBuilder
}

/** A range of a version, and where it is to go. */
export interface MergedRange {
  readonly source: ManifestView
  /** Clipped to the source. */
  readonly range: ByteRange
  /** Where the range begins in the blob that is written. */
  readonly at: number
  /** Chunk size of the blob that is written. */
  readonly chunkBytes: number
}

/** Part of a source chunk that falls into one chunk of the target. */
interface Piece {
  /** Index of the target's chunk. */
  readonly index: number
  readonly fragment: Fragment
  /** The fragment looks like the whole of its chunk, but the chunk goes on. */
  readonly isCut: boolean
}

/**
 * Adds the leaves of a write that takes its bytes from another version by reference: leaves point
 * to the source's chunks, and every one of them has got a lease when it is added. Bytes move only
 * for a piece that begins with its chunk and with the target's chunk and ends before the former:
 * it is stored as a chunk of its own, because a leaf that starts at the start of a chunk and
 * fills its place is taken for that chunk when the version is sealed.
 *
 * @returns how many bytes of the range the source has.
 * @throws {ChunkUnavailableError} for a chunk that no provider has any more.
 */
export async function addMergedLeaves(
  components: MergeSources,
  merged: MergedRange,
  options: AbortOptions = {}
): Promise<number> {
  const { source, range } = merged
  const start = Math.min(range.offset, source.bytes)
  const end = Math.min(range.offset + range.length, source.bytes)
  const { leaves } = components
  const limit = Math.max(1, Math.min(MAX_CUTS, MAX_CUT_BYTES / source.chunkBytes))
  for (let from = start; from < end; ) {
    const page = Math.floor(from / source.chunkBytes / MAX_MANIFEST_CHILDREN)
    const pageEnd = (page + 1) * MAX_MANIFEST_CHILDREN * source.chunkBytes
    const to = Math.min(end, pageEnd)
    const pieces = await piecesOf(components, merged, { from, to }, options)
    const cuts = pieces.filter(({ isCut }) => isCut)
    for (const { index, fragment, isCut } of pieces) if (!isCut) leaves.add(index, fragment)
    await forEachConcurrently(
      cuts,
      limit,
      async ({ index, fragment }, signal) => {
        leaves.add(index, await cutOff(components, fragment, { signal }))
      },
      options
    )
    from = to
  }
  return end - start
}

/** Cuts bytes `from` to `to` of the source, which one manifest page lists, on the target's grid. */
async function piecesOf(
  { writer }: MergeSources,
  { source, range, at, chunkBytes }: MergedRange,
  { from, to }: { readonly from: number; readonly to: number },
  options: AbortOptions
): Promise<Piece[]> {
  const first = Math.floor(from / source.chunkBytes)
  const indexes = Array.from(
    { length: Math.ceil(to / source.chunkBytes) - first },
    (_, step) => first + step
  )
  const ids = await Promise.all(indexes.map((index) => source.chunkId(index, options)))
  const hints = await Promise.all(indexes.map((index) => source.replicas(index, options)))
  const holders = await locateAll(writer, ids, hints, options)
  return indexes.flatMap((index, step) => {
    const chunk = { id: ids[step] ?? ZERO_CHUNK_ID, replicas: holders[step] ?? [] }
    const origin = index * source.chunkBytes
    const length = source.chunkLength(index)
    const clip = { start: Math.max(from - origin, 0), end: Math.min(to - origin, length) }
    const place = { origin: origin - range.offset + at, chunkBytes, length }
    return Array.from(cutOnGrid(chunk, clip, place))
  })
}

/**
 * Asks the providers where chunks are, which gives each a lease: first those that have them as far
 * as is known, then, for what they lack, everybody.
 */
async function locateAll(
  writer: ChunkWriter,
  ids: readonly ChunkId[],
  hints: readonly (readonly ProviderId[])[],
  options: AbortOptions
): Promise<(readonly ProviderId[])[]> {
  const holders = await writer.locate(ids, { ...options, among: hints })
  const missing = ids.flatMap((id, at) => {
    return isZeroChunk(id) || (holders[at]?.length ?? 0) > 0 ? [] : [{ id, at }]
  })
  if (missing.length === 0) return holders
  const found = await writer.locate(
    missing.map(({ id }) => id),
    options
  )
  for (const [step, { id, at }] of missing.entries()) {
    const now = found[step] ?? []
    if (now.length === 0) throw new ChunkUnavailableError(toHex(id), hints[at] ?? [])
    holders[at] = now
  }
  return holders
}

/**
 * Cuts a part of a chunk on the grid of the target.
 *
 * @param place where the chunk would begin in the target, and its whole length.
 * @yields at least one piece.
 */
function* cutOnGrid(
  { id, replicas }: { readonly id: ChunkId; readonly replicas: readonly ProviderId[] },
  clip: { readonly start: number; readonly end: number },
  place: { readonly origin: number; readonly chunkBytes: number; readonly length: number }
): Generator<Piece> {
  const { origin, chunkBytes, length: whole } = place
  const isZero = isZeroChunk(id)
  for (let chunkOffset = clip.start; chunkOffset < clip.end; ) {
    const offset = origin + chunkOffset
    const index = Math.floor(offset / chunkBytes)
    const at = offset - index * chunkBytes
    const length = Math.min(clip.end - chunkOffset, chunkBytes - at)
    const isCut = !isZero && at === 0 && chunkOffset === 0 && length < whole
    const where = isZero ? { chunkOffset: 0, replicas: [] } : { chunkOffset, replicas }
    yield { index, fragment: { at, length, chunk: id, ...where }, isCut }
    chunkOffset += length
  }
}

/** Stores the beginning of a chunk as a chunk of its own. */
async function cutOff(
  { reader, writer }: MergeSources,
  { at, length, chunk, replicas }: Fragment,
  options: AbortOptions
): Promise<Fragment> {
  const bytes = (await reader.read(chunk, replicas, options)).slice(0, length)
  if (isAllZero(bytes)) return { at, length, chunk: ZERO_CHUNK_ID, chunkOffset: 0, replicas: [] }
  const id = chunkId(bytes)
  return { at, length, chunk: id, chunkOffset: 0, replicas: await writer.write(id, bytes, options) }
}
