import { NODE_KEY_BYTES } from '../../metadata/node-codec.ts'
import type { Page } from '../../metadata/store-types.ts'
import type { KeyedNode, TreeNode } from '../../metadata/tree-types.ts'
import { takePage } from '../protocols/schemas.ts'
import {
  MAX_NODE_PAYLOAD_BYTES,
  MAX_TREE_PAYLOAD_BYTES,
  type WireRecord
} from '../protocols/tree.ts'

/** Things in one message: what the other side does with them must not take it long. */
export const ITEMS_AT_ONCE = 512

/** How much of something goes into one message. */
export interface BatchLimits<T> {
  readonly maxItems: number
  readonly maxBytes: number
  readonly sizeOf: (item: T) => number
}

const INNER_WIRE_BYTES = NODE_KEY_BYTES + 96
const FRAGMENT_WIRE_BYTES = 48

/** Nodes beside their proof. */
export const NODE_LIMITS: BatchLimits<KeyedNode> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_NODE_PAYLOAD_BYTES,
  sizeOf: ({ node }) => nodeWireBytes(node)
}

/** Pages. */
export const PAGE_LIMITS: BatchLimits<Page> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_TREE_PAYLOAD_BYTES,
  sizeOf: ({ bytes }) => bytes.byteLength + 64
}

/** Records. */
export const RECORD_LIMITS: BatchLimits<WireRecord> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_TREE_PAYLOAD_BYTES,
  sizeOf: ({ envelope, name }) => envelope.byteLength + name.length * 3 + 64
}

/** Cuts things into messages that fit; each has at least one. */
export function batches<T>(
  items: readonly T[],
  { maxItems, maxBytes, sizeOf }: BatchLimits<T>
): T[][] {
  const cut: T[][] = []
  for (let from = 0; from < items.length; ) {
    const batch = takePage(items.slice(from, from + maxItems), maxBytes, sizeOf).items
    cut.push(batch)
    from += batch.length
  }
  return cut
}

/** Bytes of a node and its key in a batch, at most. */
function nodeWireBytes(node: TreeNode): number {
  if (node.kind === 'inner') return INNER_WIRE_BYTES
  return node.fragments.reduce((sum, { replicas }) => {
    return replicas.reduce((bytes, id) => bytes + 2 + id.length * 3, sum + FRAGMENT_WIRE_BYTES)
  }, INNER_WIRE_BYTES)
}
