import type { AbortOptions } from '../lib/abort-options.ts'
import { MetadataMissingError } from './errors.ts'
import type { Interval } from './geometry.ts'
import type { NodeStore } from './store-types.ts'
import type { RootRef } from './ticket-types.ts'
import { type PathStore, type TreePath, walkPaths } from './tree-path.ts'
import type { NodeKey, TreeNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

interface Wanted extends Interval {
  /** Where the answer goes. */
  readonly slot: number
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
 * A published tree as writers above it see it: which node stands at an interval. A store that goes
 * down paths by itself is asked to; of another the nodes are fetched level by level, all that a
 * level needs at once. Some are kept.
 */
export class BaseTree {
  readonly #store: NodeStore & Partial<PathStore>
  readonly #root: RootRef | undefined
  readonly #cache = new Map<string, TreeNode>()

  constructor(store: NodeStore & Partial<PathStore>, root: RootRef | undefined) {
    this.#store = store
    this.#root = root
  }

  /**
   * Finds the nodes at disjoint intervals; undefined where there is a hole. One round to the
   * store for each level that is not kept yet, fewer where it goes down by itself.
   *
   * @throws {MetadataMissingError} if a node of the tree is nowhere.
   */
  async resolve(
    wanted: readonly Interval[],
    options: AbortOptions = {}
  ): Promise<(VersionRef | undefined)[]> {
    options.signal?.throwIfAborted()
    const found: (VersionRef | undefined)[] = wanted.map(() => undefined)
    const root = this.#root
    if (root === undefined) return found
    const to = wanted
      .map(({ offset, span }, slot) => ({ offset, span, slot }))
      .filter(({ offset }) => offset < root.span)
      .toSorted((a, b) => a.offset - b.offset)
    const { blob, version, span } = root
    let open: readonly TreePath<Wanted>[] = [{ from: { blob, version, offset: 0, span }, to }]
    const fetched = new Map<string, TreeNode>()
    const known = (key: NodeKey): TreeNode | undefined =>
      fetched.get(nameOf(key)) ?? this.#cache.get(nameOf(key))
    const arrive = (ref: VersionRef, { slot }: Wanted): void => {
      found[slot] = ref
    }
    for (;;) {
      open = walkPaths(open, known, arrive).open
      if (open.length === 0) return found
      await this.#fetch(open, fetched, options)
    }
  }

  /** Brings at least the nodes at which the paths begin. */
  async #fetch(
    open: readonly TreePath[],
    fetched: Map<string, TreeNode>,
    options: AbortOptions
  ): Promise<void> {
    const keep = (key: NodeKey, node: TreeNode): void => {
      const name = nameOf(key)
      fetched.set(name, node)
      if (this.#cache.size < MAX_CACHED_NODES) this.#cache.set(name, node)
    }
    const onTheWay = (await this.#store.getPaths?.(open, options)) ?? []
    for (const { key, node } of onTheWay) keep(key, node)
    const missing = open.map(({ from }) => from).filter((key) => !fetched.has(nameOf(key)))
    const nodes = await getExistingNodes(this.#store, missing, options)
    for (const [at, key] of missing.entries()) keep(key, nodes[at] as TreeNode)
  }
}

function nameOf({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}
