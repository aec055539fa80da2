import type { AbortOptions } from '../lib/abort-options.ts'
import type { Interval } from './geometry.ts'
import type { KeyedNode, NodeKey, TreeNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

/** A node of a published tree and places inside it that somebody wants to get down to. */
export interface TreePath<T extends Interval = Interval> {
  readonly from: NodeKey
  /** Disjoint, sorted, each inside the node's interval. */
  readonly to: readonly T[]
}

/** A store that goes down trees by itself, so that the way costs one call and not one a level. */
export interface PathStore {
  /**
   * Gives nodes on the ways, those at the places themselves not among them: as many as are at hand
   * from each start on without a gap. It may give none, and says nothing about those that it does
   * not give.
   */
  getPaths(paths: readonly TreePath[], options?: AbortOptions): Promise<KeyedNode[]>
}

/** What a walk met. */
export interface Walk<T extends Interval> {
  /** Nodes that were passed. */
  readonly nodes: readonly KeyedNode[]
  /** Where the walk stopped for want of a node. */
  readonly open: readonly TreePath<T>[]
}

/** Nodes that one answer of `readPaths` has at most. */
export const MAX_PATH_NODES = 1024

/**
 * Walks down paths as far as `known` gives nodes. Ways that end in a hole are at their end.
 *
 * @param arrive told which version's node stands at a place, for each place that was reached.
 * @throws {RangeError} for a place that is wider than the node it is looked for in.
 */
export function walkPaths<T extends Interval>(
  paths: readonly TreePath<T>[],
  known: (key: NodeKey) => TreeNode | undefined,
  arrive: (ref: VersionRef, place: T) => void = () => {}
): Walk<T> {
  const nodes: KeyedNode[] = []
  const open: TreePath<T>[] = []
  const ahead = paths.toReversed()
  for (let path = ahead.pop(); path !== undefined; path = ahead.pop()) {
    if (hasArrived(path, arrive)) continue
    const node = known(path.from)
    if (node === undefined) {
      open.push(path)
    } else {
      nodes.push({ key: path.from, node })
      ahead.push(...branches(path, node).toReversed())
    }
  }
  return { nodes, open }
}

/**
 * Goes down paths level by level, as far as `read` gives nodes and up to the limit.
 *
 * @returns nodes, each behind the one above it.
 */
export async function readPaths<N extends KeyedNode>(
  paths: readonly TreePath[],
  read: (keys: readonly NodeKey[]) => Promise<readonly (N | undefined)[]>
): Promise<N[]> {
  const found: N[] = []
  let level = paths.filter((path) => !hasArrived(path))
  while (level.length > 0 && found.length < MAX_PATH_NODES) {
    const asked = level.slice(0, MAX_PATH_NODES - found.length)
    const nodes = await read(asked.map(({ from }) => from))
    level = asked.flatMap((path, at) => {
      const there = nodes[at]
      if (there === undefined) return []
      found.push(there)
      return branches(path, there.node).filter((below) => !hasArrived(below))
    })
  }
  return found
}

/** Tells whether a path has come down to the place that was wanted. */
function hasArrived<T extends Interval>(
  { from, to }: TreePath<T>,
  arrive: (ref: VersionRef, place: T) => void = () => {}
): boolean {
  const first = to[0]
  if (first === undefined) return true
  if (first.span < from.span) return false
  if (first.span > from.span) {
    throw new RangeError(`interval ${first.offset}+${first.span} is above the published tree`)
  }
  arrive({ blob: from.blob, version: from.version }, first)
  return true
}

/** Goes down one level: the halves of a node that hold wanted places and are no holes. */
function branches<T extends Interval>({ from, to }: TreePath<T>, node: TreeNode): TreePath<T>[] {
  if (node.kind === 'leaf') return []
  const span = from.span / 2
  const middle = from.offset + span
  const cut = to.findIndex(({ offset }) => offset >= middle)
  const halves = [
    { ref: node.left, offset: from.offset, inside: cut === -1 ? to : to.slice(0, cut) },
    { ref: node.right, offset: middle, inside: cut === -1 ? [] : to.slice(cut) }
  ]
  return halves.flatMap(({ ref, offset, inside }) =>
    ref === undefined || inside.length === 0
      ? []
      : [{ from: { blob: ref.blob, version: ref.version, offset, span }, to: inside }]
  )
}
