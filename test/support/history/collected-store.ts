import { ownership } from '../../../src/metadata/geometry.ts'
import type { NodeStore } from '../../../src/metadata/store-types.ts'
import { SupersededNodes } from '../../../src/metadata/superseded-nodes.ts'
import type { AssignedVersion } from '../../../src/metadata/ticket-types.ts'
import type { NodeKey } from '../../../src/metadata/tree-types.ts'
import type { BlobId, Version } from '../../../src/metadata/types.ts'
import { CHUNK_BYTES } from './cells.ts'
import { HistoryFailure } from './failure.ts'
import { nameOf } from './model.ts'
import type { HistoryVersions } from './versions.ts'

/**
 * The store as it is after a collection that keeps the trees of some versions, the newest of each
 * blob among them: what the next kept version above no longer links to is not there any more. The
 * rule that collection goes by is compared with who owns what.
 */
export function collectedStore(
  store: NodeStore,
  versions: HistoryVersions,
  trees: ReadonlyMap<BlobId, readonly Version[]>
): NodeStore {
  const isGone = (key: NodeKey): boolean => {
    const { blob, version, offset, span } = key
    const kept = trees.get(blob) ?? []
    if (kept.includes(version)) return false
    const next = kept.find((other) => other > version)
    if (next === undefined) return true
    const above: AssignedVersion[] = []
    for (let at = next; at > version; at--) above.push(versions.assigned({ blob, version: at }))
    const superseded = new SupersededNodes(CHUNK_BYTES)
    for (const assigned of above) superseded.add(assigned)
    const isSuperseded = superseded.has(key)
    const owns = (assigned: AssignedVersion): boolean =>
      ownership(assigned, CHUNK_BYTES, offset, span) !== 'older'
    if (above.some(owns) !== isSuperseded) {
      throw new HistoryFailure(`whether ${offset}+${span} of ${nameOf(key)} is superseded differs`)
    }
    return isSuperseded
  }
  return {
    putNodes: (nodes, proof) => store.putNodes(nodes, proof),
    getNodes: async (keys) => {
      const nodes = await store.getNodes(keys)
      return nodes.map((node, at) => {
        const key = keys[at]
        return key === undefined || node === undefined || isGone(key) ? undefined : node
      })
    }
  }
}
