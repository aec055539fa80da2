import { chunkId, chunkKey, isZeroChunk, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes, isAllZero, MIB, toHex } from '../lib/bytes.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import { nextTurn } from '../lib/turn.ts'
import { chunkLengthAt, meetsRanges } from './geometry.ts'
import { type LeafList, LeafListBuilder } from './leaf-list.ts'
import type { ManifestView } from './manifest-view.ts'
import { RecentReader } from './recent-reader.ts'
import type { SealRequest } from './sealing-types.ts'
import type { Fragment, LeafEntry } from './tree-types.ts'
import { coveredFrom0, fragmentsProblem } from './tree-write.ts'

/** Memory for chunks that are being merged. */
const MAX_MERGE_BYTES = 64 * MIB

/** Merges under way at a time, whatever the chunk size. */
const MAX_MERGES = 8

/** Leaves looked at before other work of the event loop comes in between. */
const LEAVES_PER_TURN = 1024

export interface SealChunksComponents {
  readonly reader: ChunkReader
  readonly writer: Pick<ChunkWriter, 'write'>
  readonly logger: Logger
}

/** A version on the way to its manifest. */
export interface Sealing {
  readonly request: SealRequest
  readonly leaves: LeafList
  /** Manifest of what the version was written over; undefined if it starts from nothing. */
  readonly parent: ManifestView | undefined
}

/**
 * Gives the whole chunks in which a version differs from its parent, as a list with one fragment a
 * leaf. What the writer brought in fragments is laid over the parent's chunk and stored; so is a
 * last chunk of the parent that is no longer the last. The result depends only on the request, the
 * leaf list, the parent and the bytes in the chunks, and is the same whoever seals.
 *
 * Entries that do not fit the version are left out, as they are when a repairer weaves the tree,
 * and what a fragment claims beyond the end of its chunk reads as zeros: a bad writer spoils its
 * own bytes but cannot keep its version, and all later ones, from being sealed.
 *
 * @throws {ChunkUnavailableError} if a chunk that has to be merged cannot be read now.
 */
export async function sealChunks(
  components: SealChunksComponents,
  sealing: Sealing,
  options: AbortOptions = {}
): Promise<LeafList> {
  const { request, leaves } = sealing
  const { chunkBytes } = request.description
  const sealed = new LeafListBuilder({ expectedFragments: leaves.leafCount })
  const merges = mergesOf(sealing, components.logger, (index, fragment) => {
    sealed.add(index, fragment)
  })
  // What was merged out of larger chunks has many leaves that take a part of each.
  const merging = { ...components, reader: new RecentReader(components.reader) }
  const limit = Math.max(1, Math.min(MAX_MERGES, MAX_MERGE_BYTES / chunkBytes / 2))
  await forEachConcurrently(
    merges,
    limit,
    async (entry, signal) => {
      const merged = await mergeChunk(merging, sealing, entry, { signal })
      if (merged !== undefined) sealed.add(entry.index, merged)
    },
    options
  )
  return sealed.build()
}

/**
 * Sorts leaves: those that are whole chunks go to `takeWhole`.
 *
 * @yields those that have to be merged.
 */
async function* mergesOf(
  sealing: Sealing,
  logger: Logger,
  takeWhole: (index: number, fragment: Fragment) => void
): AsyncGenerator<LeafEntry> {
  const { request, leaves } = sealing
  let padded = shortChunkOf(sealing)
  let turn = 0
  for (const entry of leaves) {
    if (++turn % LEAVES_PER_TURN === 0) await nextTurn()
    const { index, fragments } = entry
    const length = chunkLengthAt(request.bytes, request.description.chunkBytes, index)
    const isAllowed = meetsRanges(request.ranges, index, index + 1)
    const problem = isAllowed ? fragmentsProblem(fragments, length) : 'outside the ranges'
    if (problem !== undefined) {
      logger.error('leaf %d of version %d left out: %s', index, request.version, problem)
      continue
    }
    if (index === padded) padded = undefined
    const [first] = fragments
    if (first?.length === length && first.chunkOffset === 0) takeWhole(index, first)
    else yield entry
  }
  if (padded !== undefined) yield { index: padded, fragments: [] }
}

/** The last chunk of the parent, if it was short and has to be longer now. */
function shortChunkOf({ request, parent }: Sealing): number | undefined {
  if (parent === undefined || parent.chunkCount === 0) return undefined
  const last = parent.chunkCount - 1
  const now = chunkLengthAt(request.bytes, request.description.chunkBytes, last)
  return parent.chunkLength(last) < now ? last : undefined
}

/** @returns the merged chunk as a fragment; undefined if it is what the parent has. */
async function mergeChunk(
  components: SealChunksComponents,
  { request, parent }: Sealing,
  { index, fragments }: LeafEntry,
  options: AbortOptions
): Promise<Fragment | undefined> {
  const length = chunkLengthAt(request.bytes, request.description.chunkBytes, index)
  const merged = new Uint8Array(length)
  const base = await baseOf(parent, index, options)
  const isCovered = coveredFrom0(fragments) >= length
  if (!isCovered && base !== undefined && !isZeroChunk(base.id)) {
    const bytes = await components.reader.read(base.id, base.replicas, options)
    merged.set(bytes.subarray(0, length))
  }
  for (const ofChunk of Map.groupBy(fragments, ({ chunk }) => chunkKey(chunk)).values()) {
    await layOver(components, merged, ofChunk, options)
  }
  const id = isAllZero(merged) ? ZERO_CHUNK_ID : chunkId(merged)
  if (base !== undefined && equalBytes(base.id, id)) return undefined
  const isZero = isZeroChunk(id)
  const written = { stripe: request.description.blob, ...options }
  const replicas = isZero ? [] : await components.writer.write(id, merged, written)
  return { at: 0, length, chunk: id, chunkOffset: 0, replicas }
}

async function baseOf(
  parent: ManifestView | undefined,
  index: number,
  options: AbortOptions
): Promise<{ id: ChunkId; replicas: readonly ProviderId[] } | undefined> {
  if (parent === undefined || index >= parent.chunkCount) return undefined
  const id = await parent.chunkId(index, options)
  return { id, replicas: await parent.replicas(index, options) }
}

/** Copies the fragments of one chunk to their places. */
async function layOver(
  { reader, logger }: SealChunksComponents,
  merged: Uint8Array,
  fragments: readonly Fragment[],
  options: AbortOptions
): Promise<void> {
  const [first] = fragments
  if (first === undefined) return
  const isZero = isZeroChunk(first.chunk)
  const bytes = isZero ? new Uint8Array(0) : await reader.read(first.chunk, first.replicas, options)
  for (const { at, length, chunkOffset } of fragments) {
    const there = bytes.subarray(chunkOffset, chunkOffset + length)
    if (there.byteLength < length && !isZero) {
      logger.error('chunk %s ends before a fragment does', toHex(first.chunk).slice(0, 16))
    }
    merged.set(there, at)
    merged.fill(0, at + there.byteLength, at + length)
  }
}
