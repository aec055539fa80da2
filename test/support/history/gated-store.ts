import type { MetadataStore } from '../../../src/metadata/store-types.ts'
import type { NodeProof } from '../../../src/metadata/ticket-types.ts'
import type { KeyedNode } from '../../../src/metadata/tree-types.ts'
import type { Dice } from './dice.ts'
import type { Actor, Scheduler } from './scheduler.ts'

/** Nodes that are stored in one piece however chance falls. */
const MIN_PART = 4

export interface GatedStoreParts {
  readonly store: MetadataStore
  readonly scheduler: Scheduler
  readonly dice: Dice
  /** Chance that of a put only a part is stored, and the put fails. */
  readonly lossChance: number
  /** Told of each part before it is stored. */
  readonly onPut: (nodes: readonly KeyedNode[], proof: NodeProof) => void
  /** Told of each put that failed after a part. */
  readonly onLoss: () => void
}

/**
 * The store as an actor sees it: every call waits for its turn, and nodes of one batch are stored
 * part by part, in no order, with whatever others do in between.
 */
export function gatedStore(actor: Actor, parts: GatedStoreParts): MetadataStore {
  const { store, scheduler } = parts
  return {
    getNodes: (keys) => scheduler.call(actor, 'read', () => store.getNodes(keys)),
    putNodes: (nodes, proof) => putInParts(actor, parts, nodes, proof),
    getPages: (ids) => scheduler.call(actor, 'read', () => store.getPages(ids)),
    putPages: (pages) => scheduler.call(actor, 'page', () => store.putPages(pages)),
    getRecords: (names) => scheduler.call(actor, 'seal', () => store.getRecords(names)),
    putRecords: (records) => scheduler.call(actor, 'seal', () => store.putRecords(records))
  }
}

async function putInParts(
  actor: Actor,
  { store, scheduler, dice, lossChance, onPut, onLoss }: GatedStoreParts,
  nodes: readonly KeyedNode[],
  proof: NodeProof
): Promise<void> {
  for (let left = nodes; left.length > 0; ) {
    left = await scheduler.call(actor, 'node', async () => {
      const isWhole = left.length <= MIN_PART || dice.chance(0.4)
      const part = isWhole ? left : left.filter(() => dice.chance(0.5))
      if (part.length === 0) return left
      onPut(part, proof)
      await store.putNodes(part, proof)
      if (dice.chance(lossChance)) {
        onLoss()
        throw new Error('the rest of the nodes did not get through')
      }
      const stored = new Set(part)
      return left.filter((node) => !stored.has(node))
    })
  }
}
