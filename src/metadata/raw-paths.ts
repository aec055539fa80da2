import { asBuffer } from '../lib/bytes.ts'

/** A path (tree-path.ts) for the thread that has the rows: keys and nodes are bytes (node-codec.ts). */
export interface RawPath {
  readonly from: Uint8Array
  /** Offset and span of each place. */
  readonly to: readonly (readonly [offset: number, span: number])[]
}

// As in node-codec.ts, which the thread need not load with all that it imports.
const KEY_BYTES = 45
const OFFSET_AT = 40
const LEVEL_AT = 44
const BLOB_BYTES = 32
const INNER = 1

/** Bytes of a link by its first one: hole, same blob, another blob. */
const LINK_BYTES = [1, 9, 41]

/**
 * Goes down paths as far as `find` has the nodes.
 *
 * @returns keys of the nodes on the way, each behind the one above it, at most `limit`.
 */
export function rawPathKeys(
  paths: readonly RawPath[],
  find: (key: Uint8Array) => Uint8Array | undefined,
  limit: number
): Uint8Array[] {
  const keys: Uint8Array[] = []
  let level = paths
  while (level.length > 0 && keys.length < limit) {
    const below: RawPath[] = []
    for (const path of level) {
      if (keys.length === limit || hasArrived(path)) continue
      const node = find(path.from)
      if (node === undefined) continue
      keys.push(path.from)
      below.push(...branches(path, node))
    }
    level = below
  }
  return keys
}

function hasArrived({ from, to }: RawPath): boolean {
  const first = to[0]
  return first === undefined || first[1] >= 2 ** (from[LEVEL_AT] ?? 0)
}

function branches({ from, to }: RawPath, node: Uint8Array): RawPath[] {
  if (node[0] !== INNER) return []
  const level = (from[LEVEL_AT] ?? 0) - 1
  const offset = asBuffer(from).readUInt32BE(OFFSET_AT)
  const middle = offset + 2 ** level
  const rightAt = 1 + (LINK_BYTES[node[1] ?? 0] ?? 1)
  const left = childKey(from, node.subarray(1), { offset, level })
  const right = childKey(from, node.subarray(rightAt), { offset: middle, level })
  const cut = to.findIndex(([place]) => place >= middle)
  const inLeft = cut === -1 ? to : to.slice(0, cut)
  const inRight = cut === -1 ? [] : to.slice(cut)
  return [
    ...(left === undefined || inLeft.length === 0 ? [] : [{ from: left, to: inLeft }]),
    ...(right === undefined || inRight.length === 0 ? [] : [{ from: right, to: inRight }])
  ]
}

/** @returns undefined for a hole. */
function childKey(
  parent: Uint8Array,
  link: Uint8Array,
  { offset, level }: { readonly offset: number; readonly level: number }
): Uint8Array | undefined {
  const linkBytes = LINK_BYTES[link[0] ?? 0] ?? 1
  if (linkBytes === 1) return undefined
  const key = new Uint8Array(KEY_BYTES)
  if (linkBytes === 9) {
    key.set(parent.subarray(0, BLOB_BYTES))
    key.set(link.subarray(1, linkBytes), BLOB_BYTES)
  } else {
    key.set(link.subarray(1, linkBytes))
  }
  asBuffer(key).writeUInt32BE(offset, OFFSET_AT)
  key[LEVEL_AT] = level
  return key
}
