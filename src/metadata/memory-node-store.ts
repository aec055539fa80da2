import { chunkKey } from '../chunks/chunk-id.ts'
import type { AbortOptions, ChunkId } from '../chunks/types.ts'
import { equalBytes } from '../lib/bytes.ts'
import { NodeConflictError } from './errors.ts'
import { decodeNode, NODE_KEY_BYTES } from './node-codec.ts'
import { checkNodePut, checkPagePut, checkRecordPut, replaces } from './store-checks.ts'
import type {
  KeyedNode,
  MetadataStore,
  NamedRecord,
  NodeKey,
  NodeProof,
  Page,
  TreeNode,
  Verifier
} from './types.ts'

export interface MemoryMetadataStoreComponents {
  readonly verifier: Verifier
}

/** Keeps all that a metadata provider keeps in memory, without a limit; for tests. */
export class MemoryMetadataStore implements MetadataStore {
  readonly #verifier: Verifier
  readonly #nodes = new Map<string, Uint8Array>()
  readonly #pages = new Map<string, Uint8Array>()
  readonly #records = new Map<string, NamedRecord>()

  constructor(components: MemoryMetadataStoreComponents) {
    this.#verifier = components.verifier
  }

  async getNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(TreeNode | undefined)[]> {
    options.signal?.throwIfAborted()
    return keys.map((key) => {
      const bytes = this.#nodes.get(nameOf(key))
      return bytes === undefined ? undefined : decodeNode(key, bytes)
    })
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options: AbortOptions = {}
  ): Promise<void> {
    options.signal?.throwIfAborted()
    const encoded = checkNodePut(this.#verifier, nodes, proof)
    const added = new Map<string, Uint8Array>()
    for (const [at, { key }] of nodes.entries()) {
      const name = nameOf(key)
      const bytes = (encoded[at] ?? new Uint8Array()).subarray(NODE_KEY_BYTES)
      const there = this.#nodes.get(name) ?? added.get(name)
      if (there !== undefined && !equalBytes(there, bytes)) throw new NodeConflictError(key)
      added.set(name, bytes)
    }
    for (const [name, bytes] of added) this.#nodes.set(name, bytes)
  }

  async getPages(
    ids: readonly ChunkId[],
    options: AbortOptions = {}
  ): Promise<(Uint8Array | undefined)[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => this.#pages.get(chunkKey(id))?.slice())
  }

  async putPages(pages: readonly Page[], options: AbortOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    checkPagePut(pages)
    for (const { id, bytes } of pages) this.#pages.set(chunkKey(id), bytes.slice())
  }

  async getRecords(
    names: readonly string[],
    options: AbortOptions = {}
  ): Promise<(NamedRecord | undefined)[]> {
    options.signal?.throwIfAborted()
    return names.map((name) => this.#records.get(name))
  }

  async putRecords(records: readonly NamedRecord[], options: AbortOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    checkRecordPut(this.#verifier, records)
    const added = new Map<string, NamedRecord>()
    for (const record of records) {
      const there = added.get(record.name) ?? this.#records.get(record.name)
      if (replaces(record, there)) added.set(record.name, record)
    }
    for (const [name, record] of added) this.#records.set(name, record)
  }
}

function nameOf({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}
