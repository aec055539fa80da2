import { ownership } from '../../../src/metadata/geometry.ts'
import type { BlobId, NodeKey, NodeStore, Version } from '../../../src/metadata/types.ts'
import { CHUNK_BYTES } from './cells.ts'
import type { HistoryVersions } from './versions.ts'

/**
 * The store as it is after a collection that keeps the trees of some versions, the newest of each
 * blob among them: what the next kept version above no longer links to is not there any more.
 */
export function collectedStore(
  store: NodeStore,
  versions: HistoryVersions,
  trees: ReadonlyMap<BlobId, readonly Version[]>
): NodeStore {
  const isGone = ({ blob, version, offset, span }: NodeKey): boolean => {
    const kept = trees.get(blob) ?? []
    if (kept.includes(version)) return false
    const next = kept.find((other) => other > version)
    if (next === undefined) return true
    for (let above = version + 1; above <= next; above++) {
      const assigned = versions.assigned({ blob, version: above })
      if (ownership(assigned, CHUNK_BYTES, offset, span) !== 'older') return true
    }
    return false
  }
  return {
    putNodes: (nodes, proof) => store.putNodes(nodes, proof),
    getNodes: async (keys) => {
      const nodes = await store.getNodes(keys)
      return nodes.map((node, at) => {
        const key = keys[at]
        return key === undefined || isGone(key) ? undefined : node
      })
    }
  }
}
