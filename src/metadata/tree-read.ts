import { isZeroChunk } from '../chunks/chunk-id.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { getExistingNodes } from './base-tree.ts'
import { InvalidNodeError, MetadataLimitError } from './errors.ts'
import type { Interval } from './geometry.ts'
import type { NodeStore } from './store-types.ts'
import type { RootRef } from './ticket-types.ts'
import type { Extent, LeafNode, NodeKey, TreeNode } from './tree-types.ts'
import type { ByteRange, VersionRef } from './types.ts'

/** Leaves that one chunk may be read through; each is one more round to the store. */
const MAX_LEAF_CHAIN = 65_536

/** A version to read: where its tree stands, and how long it is. */
export interface TreeSnapshot {
  /** undefined for a version without a tree, which reads as zeros. */
  readonly root: RootRef | undefined
  readonly bytes: number
  readonly chunkBytes: number
}

/** A chunk of a version that has its manifest. */
export interface SealedChunk {
  /** May be the zero chunk. */
  readonly chunk: ChunkId
  /** Bytes of the chunk; less than the blob's chunk size at the version's end, 0 past it. */
  readonly length: number
  readonly replicas: readonly ProviderId[]
}

/** A place to look at in the manifest of a version. */
export interface SealedPlace {
  readonly ref: VersionRef
  /** Chunk index. */
  readonly index: number
}

export interface ReadExtentsOptions extends AbortOptions {
  /**
   * Gives chunks of sealed versions, in the order of the places, and undefined where a version is
   * not sealed. Asked for places where a leaf is not full: first of the version that is read, then
   * of those that its leaves link to. What a sealed version has ends the search, so that the leaves
   * behind it need not exist any more. Without it every link is followed.
   */
  readonly sealed?:
    | ((
        places: readonly SealedPlace[],
        options: AbortOptions
      ) => Promise<(SealedChunk | undefined)[]>)
    | undefined
}

/** Part of a leaf that no fragment has been found for yet. */
interface Gap {
  readonly ref: VersionRef
  readonly index: number
  /** Within the chunk. */
  readonly start: number
  readonly end: number
}

/**
 * Finds what a version reads as: extents in order that cover the range up to the version's end,
 * without gaps or overlaps. Holes come as extents without a chunk, neighbouring ones as one. Each
 * tree level costs one round to the store; links into other blobs (clones) are followed. A leaf that
 * is not full links to an older leaf, which is one more round, unless a manifest can say (`sealed`).
 *
 * @throws {MetadataMissingError} if a node is nowhere.
 */
export async function readExtents(
  store: NodeStore,
  snapshot: TreeSnapshot,
  range: ByteRange,
  options: ReadExtentsOptions = {}
): Promise<Extent[]> {
  const { root, bytes, chunkBytes } = snapshot
  const start = Math.min(range.offset, bytes)
  const end = Math.min(range.offset + range.length, bytes)
  if (root === undefined) return fillHoles([], start, end)
  let level: (Interval & { ref: VersionRef })[] = [{ ref: root, offset: 0, span: root.span }]
  const meets = ({ offset, span }: Interval): boolean =>
    offset * chunkBytes < end && (offset + span) * chunkBytes > start
  level = level.filter(meets)
  while (level[0] !== undefined && level[0].span > 1) {
    const nodes = await getExistingNodes(store, level.map(keyOf), options)
    level = level.flatMap((place, at) => childrenOf(place, nodes[at])).filter(meets)
  }
  const gaps = level.map(({ ref, offset: index }) => ({
    ref,
    index,
    start: Math.max(0, start - index * chunkBytes),
    end: Math.min(chunkBytes, end - index * chunkBytes)
  }))
  const found = await new LeafReader({ store, root, chunkBytes }, options).read(gaps)
  return fillHoles(found, start, end)
}

function keyOf({ ref, offset, span }: Interval & { ref: VersionRef }): NodeKey {
  return { blob: ref.blob, version: ref.version, offset, span }
}

function childrenOf(
  { ref, offset, span }: Interval & { ref: VersionRef },
  node: TreeNode | undefined
): (Interval & { ref: VersionRef })[] {
  if (node?.kind !== 'inner') throw new InvalidNodeError(`a leaf over ${span} chunks`)
  const half = span / 2
  const children = []
  if (node.left !== undefined) {
    children.push({ ref: checkOlder(ref, node.left), offset, span: half })
  }
  if (node.right !== undefined) {
    children.push({ ref: checkOlder(ref, node.right), offset: offset + half, span: half })
  }
  return children
}

/** Links never lead to a newer version, so that reading ends. */
function checkOlder(from: VersionRef, to: VersionRef): VersionRef {
  if (from.blob === to.blob && to.version > from.version) {
    throw new InvalidNodeError(`version ${from.version} links to version ${to.version}`)
  }
  return to
}

interface LeafReaderParts {
  readonly store: NodeStore
  /** The version that is read. */
  readonly root: VersionRef
  readonly chunkBytes: number
}

/** Reads leaves and, for what they leave open, what is behind them. */
class LeafReader {
  readonly #parts: LeafReaderParts
  readonly #options: ReadExtentsOptions
  readonly #found: Extent[] = []

  constructor(parts: LeafReaderParts, options: ReadExtentsOptions) {
    this.#parts = parts
    this.#options = options
  }

  /** @returns sorted extents. */
  async read(gaps: readonly Gap[]): Promise<Extent[]> {
    let open = gaps
    for (let depth = 0; open.length > 0; depth++) {
      if (depth > MAX_LEAF_CHAIN) {
        throw new MetadataLimitError('leaves behind one chunk', depth, MAX_LEAF_CHAIN)
      }
      open = await this.#readLeaves(open)
      const { root } = this.#parts
      if (depth === 0) open = await this.#takeSealed(open, () => root)
      open = await this.#takeSealed(open, ({ ref }) => ref)
    }
    return this.#found.toSorted((a, b) => a.offset - b.offset)
  }

  /** @returns what is to be looked for in older leaves. */
  async #readLeaves(gaps: readonly Gap[]): Promise<Gap[]> {
    const { store } = this.#parts
    // Several gaps of one leaf share one look-up.
    const leaves = new Map<string, NodeKey>()
    for (const { ref, index } of gaps) {
      const key = { blob: ref.blob, version: ref.version, offset: index, span: 1 }
      leaves.set(nameOf(ref, index), key)
    }
    const nodes = await getExistingNodes(store, Array.from(leaves.values()), this.#options)
    const byName = new Map(Array.from(leaves.keys(), (name, at) => [name, nodes[at]]))
    return gaps.flatMap((gap) => {
      const node = byName.get(nameOf(gap.ref, gap.index))
      if (node?.kind !== 'leaf') throw new InvalidNodeError(`no leaf at chunk ${gap.index}`)
      return readLeaf(gap, node, this.#parts.chunkBytes, this.#found)
    })
  }

  /** Takes what sealed versions have. @returns the gaps of those that are not sealed. */
  async #takeSealed(gaps: readonly Gap[], versionOf: (gap: Gap) => VersionRef): Promise<Gap[]> {
    const { sealed, signal } = this.#options
    if (sealed === undefined || gaps.length === 0) return [...gaps]
    const places = new Map<string, SealedPlace>()
    for (const gap of gaps) {
      const ref = versionOf(gap)
      places.set(nameOf(ref, gap.index), { ref, index: gap.index })
    }
    const chunks = await sealed(Array.from(places.values()), { signal })
    const byName = new Map(Array.from(places.keys(), (name, at) => [name, chunks[at]]))
    return gaps.filter((gap) => {
      const chunk = byName.get(nameOf(versionOf(gap), gap.index))
      if (chunk !== undefined) this.#takeChunk(gap, chunk)
      return chunk === undefined
    })
  }

  /** Fills a gap from a whole chunk; past the end of a short one are zeros. */
  #takeChunk({ index, start, end }: Gap, { chunk, length, replicas }: SealedChunk): void {
    const until = Math.min(end, length)
    if (start >= until || isZeroChunk(chunk)) return
    this.#found.push({
      offset: index * this.#parts.chunkBytes + start,
      length: until - start,
      chunk,
      chunkOffset: start,
      replicas
    })
  }
}

function nameOf(ref: VersionRef, index: number): string {
  return `${ref.blob}/${ref.version}/${index}`
}

/**
 * Adds what a leaf has of a gap to `found`.
 *
 * @returns what is to be looked for in the older leaf.
 */
function readLeaf(gap: Gap, leaf: LeafNode, chunkBytes: number, found: Extent[]): Gap[] {
  const { index } = gap
  const open: Gap[] = []
  const leaveOpen = (start: number, end: number): void => {
    if (start >= end || leaf.previous === undefined) return
    if (leaf.previous.blob === gap.ref.blob && leaf.previous.version === gap.ref.version) {
      throw new InvalidNodeError(`the leaf of chunk ${index} links to itself`)
    }
    open.push({ ref: checkOlder(gap.ref, leaf.previous), index, start, end })
  }
  let at = gap.start
  for (const fragment of leaf.fragments) {
    const start = Math.max(fragment.at, gap.start)
    const end = Math.min(fragment.at + fragment.length, gap.end)
    if (start >= end) continue
    leaveOpen(at, start)
    found.push({
      offset: index * chunkBytes + start,
      length: end - start,
      chunk: fragment.chunk,
      chunkOffset: fragment.chunkOffset + start - fragment.at,
      replicas: fragment.replicas
    })
    at = end
  }
  leaveOpen(at, gap.end)
  return open
}

/** Puts holes between sorted extents so that they cover `[start, end)`. */
function fillHoles(found: readonly Extent[], start: number, end: number): Extent[] {
  const extents: Extent[] = []
  let at = start
  const hole = (until: number): void => {
    if (until <= at) return
    extents.push({
      offset: at,
      length: until - at,
      chunk: undefined,
      chunkOffset: 0,
      replicas: []
    })
  }
  for (const extent of found) {
    hole(extent.offset)
    extents.push(extent)
    at = extent.offset + extent.length
  }
  hole(end)
  return extents
}
