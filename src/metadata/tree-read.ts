import type { AbortOptions } from '../chunks/types.ts'
import { getExistingNodes } from './base-tree.ts'
import { InvalidNodeError, MetadataLimitError } from './errors.ts'
import type { Interval } from './geometry.ts'
import type {
  ByteRange,
  Extent,
  LeafNode,
  NodeKey,
  NodeRef,
  NodeStore,
  RootRef,
  TreeNode
} from './types.ts'

/** Leaves that one chunk may be read through; each is one more round to the store. */
const MAX_LEAF_CHAIN = 65_536

/** A version to read: where its tree stands, and how long it is. */
export interface TreeSnapshot {
  /** undefined for a version without a tree, which reads as zeros. */
  readonly root: RootRef | undefined
  readonly bytes: number
  readonly chunkBytes: number
}

/** Part of a leaf that no fragment has been found for yet. */
interface Gap {
  readonly ref: NodeRef
  readonly index: number
  /** Within the chunk. */
  readonly start: number
  readonly end: number
}

/**
 * Finds what a version reads as: extents in order that cover the range up to the version's end,
 * without gaps or overlaps. Holes come as extents without a chunk, neighbouring ones as one. Each
 * tree level costs one round to the store; links into other blobs (clones) are followed.
 *
 * @throws {MetadataMissingError} if a node is nowhere.
 */
export async function readExtents(
  store: NodeStore,
  snapshot: TreeSnapshot,
  range: ByteRange,
  options: AbortOptions = {}
): Promise<Extent[]> {
  const { root, bytes, chunkBytes } = snapshot
  const start = Math.min(range.offset, bytes)
  const end = Math.min(range.offset + range.length, bytes)
  if (root === undefined) return fillHoles([], start, end)
  let level: (Interval & { ref: NodeRef })[] = [{ ref: root, offset: 0, span: root.span }]
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
  const found = await readLeaves(store, gaps, chunkBytes, options)
  return fillHoles(found, start, end)
}

function keyOf({ ref, offset, span }: Interval & { ref: NodeRef }): NodeKey {
  return { blob: ref.blob, version: ref.version, offset, span }
}

function childrenOf(
  { ref, offset, span }: Interval & { ref: NodeRef },
  node: TreeNode | undefined
): (Interval & { ref: NodeRef })[] {
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
function checkOlder(from: NodeRef, to: NodeRef): NodeRef {
  if (from.blob === to.blob && to.version > from.version) {
    throw new InvalidNodeError(`version ${from.version} links to version ${to.version}`)
  }
  return to
}

/** Reads leaves and, for what they leave open, the older leaves behind them. */
async function readLeaves(
  store: NodeStore,
  gaps: readonly Gap[],
  chunkBytes: number,
  options: AbortOptions
): Promise<Extent[]> {
  const found: Extent[] = []
  let open = gaps
  for (let depth = 0; open.length > 0; depth++) {
    if (depth > MAX_LEAF_CHAIN) {
      throw new MetadataLimitError('leaves behind one chunk', depth, MAX_LEAF_CHAIN)
    }
    // Several gaps of one leaf share one look-up.
    const leaves = new Map<string, NodeKey>()
    for (const { ref, index } of open) {
      const key = { blob: ref.blob, version: ref.version, offset: index, span: 1 }
      leaves.set(nameOf(ref, index), key)
    }
    const nodes = await getExistingNodes(store, Array.from(leaves.values()), options)
    const byName = new Map(Array.from(leaves.keys(), (name, at) => [name, nodes[at]]))
    open = open.flatMap((gap) => {
      const node = byName.get(nameOf(gap.ref, gap.index))
      if (node?.kind !== 'leaf') throw new InvalidNodeError(`no leaf at chunk ${gap.index}`)
      return readLeaf(gap, node, chunkBytes, found)
    })
  }
  return found.toSorted((a, b) => a.offset - b.offset)
}

function nameOf(ref: NodeRef, index: number): string {
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
