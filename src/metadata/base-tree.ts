import type { AbortOptions } from '../chunks/types.ts'
import { MetadataMissingError } from './errors.ts'
import type { Interval } from './geometry.ts'
import type { NodeKey, NodeRef, NodeStore, RootRef, TreeNode } from './types.ts'

interface Place extends Interval {
  readonly ref: NodeRef
}

interface Wanted extends Interval {
  /** Where the answer goes. */
  readonly slot: number
}

/** A node on the way down and the intervals that lie inside it, sorted. */
interface Path {
  readonly place: Place
  readonly wanted: readonly Wanted[]
}

/** Keys in one request to the store. */
const MAX_KEYS_PER_GET = 1024

/** Nodes near the root that are kept between look-ups. */
const MAX_CACHED_NODES = 4096

/**
 * Gets nodes that must be there, in requests of bounded size.
 *
 * @throws {MetadataMissingError} if one is nowhere.
 */
export async function getExistingNodes(
  store: NodeStore,
  keys: readonly NodeKey[],
  options: AbortOptions = {}
): Promise<TreeNode[]> {
  const nodes: TreeNode[] = []
  for (let at = 0; at < keys.length; at += MAX_KEYS_PER_GET) {
    const part = keys.slice(at, at + MAX_KEYS_PER_GET)
    const found = await store.getNodes(part, options)
    for (const [i, key] of part.entries()) {
      const node = found[i]
      if (node === undefined) throw new MetadataMissingError(describeKey(key))
      nodes.push(node)
    }
  }
  return nodes
}

function describeKey(key: NodeKey): string {
  return `tree node ${key.blob.slice(0, 16)}/${key.version}/${key.offset}/${key.span}`
}

/**
 * A published tree as writers above it see it: which node stands at an interval. Nodes are
 * fetched level by level, all that a level needs at once, and those near the root are kept.
 */
export class BaseTree {
  readonly #store: NodeStore
  readonly #root: RootRef | undefined
  readonly #cache = new Map<string, TreeNode>()

  constructor(store: NodeStore, root: RootRef | undefined) {
    this.#store = store
    this.#root = root
  }

  /**
   * Finds the nodes at disjoint intervals; undefined where there is a hole. One round to the
   * store for each level that is not kept yet.
   *
   * @throws {MetadataMissingError} if a node of the tree is nowhere.
   */
  async resolve(
    wanted: readonly Interval[],
    options: AbortOptions = {}
  ): Promise<(NodeRef | undefined)[]> {
    options.signal?.throwIfAborted()
    const found: (NodeRef | undefined)[] = wanted.map(() => undefined)
    const root = this.#root
    if (root === undefined || wanted.length === 0) return found
    const sorted = wanted
      .map(({ offset, span }, slot) => ({ offset, span, slot }))
      .filter(({ offset }) => offset < root.span)
      .toSorted((a, b) => a.offset - b.offset)
    const top: Place = { ref: root, offset: 0, span: root.span }
    let level: Path[] = sorted.length === 0 ? [] : [{ place: top, wanted: sorted }]
    while (level.length > 0) {
      const open = level.filter((path) => !arrive(path, found))
      const nodes = await this.#fetch(
        open.map(({ place }) => place),
        options
      )
      level = open.flatMap((path, at) => split(path, nodes[at]))
    }
    return found
  }

  async #fetch(places: readonly Place[], options: AbortOptions): Promise<TreeNode[]> {
    const keys = places.map(({ ref, offset, span }) => ({
      blob: ref.blob,
      version: ref.version,
      offset,
      span
    }))
    const names = keys.map((key) => `${key.blob}/${key.version}/${key.offset}/${key.span}`)
    const missing = keys.filter((_key, at) => !this.#cache.has(names[at] ?? ''))
    const fetched = (await getExistingNodes(this.#store, missing, options)).values()
    return names.map((name) => {
      const cached = this.#cache.get(name)
      if (cached !== undefined) return cached
      const node = fetched.next().value as TreeNode
      if (this.#cache.size < MAX_CACHED_NODES) this.#cache.set(name, node)
      return node
    })
  }
}

/** Notes the node of a path that has come down to what was wanted. */
function arrive({ place, wanted }: Path, found: (NodeRef | undefined)[]): boolean {
  const first = wanted[0]
  if (first === undefined || first.span < place.span) return false
  if (first.span > place.span) {
    throw new RangeError(`interval ${first.offset}+${first.span} is above the published tree`)
  }
  found[first.slot] = { blob: place.ref.blob, version: place.ref.version }
  return true
}

/** Goes down one level: the halves of a place that hold wanted intervals. */
function split({ place, wanted }: Path, node: TreeNode | undefined): Path[] {
  if (node === undefined || node.kind === 'leaf') return []
  const span = place.span / 2
  const middle = place.offset + span
  const cut = wanted.findIndex(({ offset }) => offset >= middle)
  const inLeft = cut === -1 ? wanted : wanted.slice(0, cut)
  const inRight = cut === -1 ? [] : wanted.slice(cut)
  const paths: Path[] = []
  if (node.left !== undefined && inLeft.length > 0) {
    paths.push({ place: { ref: node.left, offset: place.offset, span }, wanted: inLeft })
  }
  if (node.right !== undefined && inRight.length > 0) {
    paths.push({ place: { ref: node.right, offset: middle, span }, wanted: inRight })
  }
  return paths
}
