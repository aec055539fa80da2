import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { equalBytes } from '../../../src/lib/bytes.ts'
import { errorCode } from '../../../src/lib/errors.ts'
import { NodeConflictError } from '../../../src/metadata/errors.ts'
import { LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../../src/metadata/leaf-list-codec.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import { decodeNode, encodeNode } from '../../../src/metadata/node-codec.ts'
import type { AssignedVersion, NodeProof, Ticket } from '../../../src/metadata/ticket-types.ts'
import type { KeyedNode, NodeKey, TreeNode } from '../../../src/metadata/tree-types.ts'
import type { BlobId, Version } from '../../../src/metadata/types.ts'
import { VersionManagerState } from '../../../src/metadata/version-manager.ts'
import { gullible } from '../plain-signing.ts'
import { type HistoryRules, REAL_RULES } from './rules.ts'

/** Nodes that a store refused. */
export type Refusal = `${'writer' | 'repairer'}: ${string}`

/** A rule that is broken, over a store that believes everything. */
export interface Mutation {
  readonly name: string
  readonly rules: HistoryRules
  /** Whose nodes the real store refuses, and how; undefined where it cannot know. */
  readonly refusal: Refusal | undefined
}

const EMPTY_LEAF_LIST = Array.from(encodeLeafList(new LeafListBuilder().build())).at(-1)?.id

/** Keeps nodes without asking for a proof; a second value for a key is refused or taken. */
class BelievingStore extends MemoryMetadataStore {
  readonly #isPutOnce: boolean
  readonly #nodes = new Map<string, Uint8Array>()

  constructor({ isPutOnce }: { readonly isPutOnce: boolean }) {
    super({ verifier: gullible })
    this.#isPutOnce = isPutOnce
  }

  override async getNodes(keys: readonly NodeKey[]): Promise<(TreeNode | undefined)[]> {
    return keys.map((key) => {
      const bytes = this.#nodes.get(nameOf(key))
      return bytes && decodeNode(key, bytes)
    })
  }

  override async putNodes(nodes: readonly KeyedNode[]): Promise<void> {
    for (const { key, node } of nodes) {
      const bytes = encodeNode(key, node)
      const there = this.#nodes.get(nameOf(key)) ?? bytes
      if (this.#isPutOnce && !equalBytes(there, bytes)) throw new NodeConflictError(key)
      this.#nodes.set(nameOf(key), bytes)
    }
  }
}

/** The real store, which notes what it refuses. */
export class RefusingStore extends MemoryMetadataStore {
  readonly refusals = new Set<Refusal>()

  constructor() {
    super({ verifier: gullible })
  }

  override async putNodes(nodes: readonly KeyedNode[], proof: NodeProof): Promise<void> {
    try {
      await super.putNodes(nodes, proof)
    } catch (error) {
      const putter = gullible.verify('nodes', proof.nodes)
      const who = putter.startsWith('writer') ? 'writer' : 'repairer'
      this.refusals.add(`${who}: ${errorCode(error)}`)
      throw error
    }
  }
}

/** Counts the size as of the newest published version, as the released BlobSeer did. */
class PublishedSizeState extends VersionManagerState {
  override newest(blob: BlobId): { version: Version; bytes: number } {
    const { version, bytes } = super.newest(blob)
    const published = this.latest(blob)
    return { version, bytes: published?.bytes ?? (version === 0 ? bytes : 0) }
  }
}

/** The real rules over a store that believes everything: the ground on which they are broken. */
export const BELIEVING_RULES: HistoryRules = {
  ...REAL_RULES,
  newStore: () => new BelievingStore({ isPutOnce: true })
}

/** Weaves by tickets in which every version is changed. */
function changing(change: (version: AssignedVersion) => AssignedVersion): HistoryRules {
  const changed = (ticket: Ticket): Ticket => ({
    ...ticket,
    ...change(ticket),
    inFlight: ticket.inFlight.map(change)
  })
  return { ...BELIEVING_RULES, writerTicket: changed, repairTicket: changed }
}

const withoutInFlight = (ticket: Ticket): Ticket => ({ ...ticket, inFlight: [] })

/** The six rules without which histories must fail. */
export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'no spine',
    rules: changing((version) => ({ ...version, previousSpan: version.span })),
    refusal: 'writer: ERR_INVALID_NODE'
  },
  {
    name: 'no put-once',
    rules: { ...REAL_RULES, newStore: () => new BelievingStore({ isPutOnce: false }) },
    refusal: 'writer: ERR_NODE_CONFLICT'
  },
  {
    name: 'no links to versions in flight',
    rules: { ...BELIEVING_RULES, writerTicket: withoutInFlight, repairTicket: withoutInFlight },
    refusal: 'writer: ERR_INVALID_NODE'
  },
  {
    name: 'published in place of assigned size',
    rules: { ...BELIEVING_RULES, newState: (options) => new PublishedSizeState(options) },
    refusal: undefined
  },
  {
    name: 'roll-back in place of roll-forward',
    rules: {
      ...BELIEVING_RULES,
      repairTicket: (ticket) => ({ ...ticket, leafList: EMPTY_LEAF_LIST ?? chunkId(NO_BYTES) })
    },
    refusal: 'repairer: ERR_NODE_CONFLICT'
  },
  {
    name: 'truncation without holes',
    rules: changing((version) => ({ ...version, truncates: false })),
    refusal: 'writer: ERR_INVALID_NODE'
  }
]

const NO_BYTES = new Uint8Array()

function nameOf({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}
