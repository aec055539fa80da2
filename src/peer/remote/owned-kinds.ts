import type { AbortOptions } from '../../lib/abort-options.ts'
import type { MetadataStore, NamedRecord, Page } from '../../metadata/store-types.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import type { KeyedNode, TreeNode } from '../../metadata/tree-types.ts'
import { nodeBundle, ownerKey } from '../owners.ts'

/** Finds the owners of a key, by its hash. */
export type FindOwners = (keyHash: Uint8Array) => readonly string[]

/** One kind of thing that owners keep: how to place, put and weigh it. */
export interface OwnedKind<T> {
  /** What they are called in errors. */
  readonly what: string
  /** Gives the function that places the items of one call. */
  placing(find: FindOwners): (item: T) => readonly string[]
  put(store: MetadataStore, items: readonly T[], options: AbortOptions): Promise<void>
  bytesOf(item: T): number
}

/** What a node takes in memory, about. */
const NODE_BYTES = 200
const FRAGMENT_BYTES = 250

/** Pages are placed by their id. */
export const OWNED_PAGES: OwnedKind<Page> = {
  what: 'pages',
  placing: (find) => (page) => find(page.id),
  put: (store, pages, options) => store.putPages(pages, options),
  bytesOf: ({ bytes }) => bytes.byteLength
}

/** Records are placed by their name. */
export const OWNED_RECORDS: OwnedKind<NamedRecord> = {
  what: 'records',
  placing: (find) => {
    const byName = placingNames(find)
    return ({ name }) => byName(name)
  },
  put: (store, records, options) => store.putRecords(records, options),
  bytesOf: ({ envelope }) => envelope.payload.byteLength + envelope.certificate.byteLength
}

/** Tree nodes are placed by their bundle, and put with the proof of the batch they are from. */
export function ownedNodes(proof: NodeProof): OwnedKind<KeyedNode> {
  return {
    what: 'tree nodes',
    placing: (find) => {
      const byName = placingNames(find)
      return ({ key }) => byName(nodeBundle(key))
    },
    put: (store, nodes, options) => store.putNodes(nodes, proof, options),
    bytesOf: ({ node }) => nodeBytes(node)
  }
}

/** What a node takes in memory, about. */
export function nodeBytes(node: TreeNode): number {
  return NODE_BYTES + (node.kind === 'leaf' ? node.fragments.length * FRAGMENT_BYTES : 0)
}

/**
 * Gives the function that finds owners, or whoever may have it, by name; each name is hashed and
 * looked up once.
 */
export function placingNames<P>(find: (keyHash: Uint8Array) => P): (name: string) => P {
  const known = new Map<string, P>()
  return (name) => {
    const there = known.get(name)
    if (there !== undefined) return there
    const found = find(ownerKey(name))
    known.set(name, found)
    return found
  }
}
