import { chunkKey, verifyChunk } from '../../chunks/chunk-id.ts'
import { ChunkMismatchError } from '../../chunks/errors.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { MIB } from '../../lib/bytes.ts'
import { type LoggerFactory, noLogger } from '../../lib/logger.ts'
import { LruCache } from '../../lib/lru-cache.ts'
import type { Metrics } from '../../lib/metrics.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { checkRecordPut } from '../../metadata/store-checks.ts'
import type { MetadataStore, NamedRecord, Page, ProvenNode } from '../../metadata/store-types.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import type { PathStore, TreePath } from '../../metadata/tree-path.ts'
import type { KeyedNode, NodeKey, TreeNode } from '../../metadata/tree-types.ts'
import { PeerChunkMismatchError } from '../errors.ts'
import { byProof } from '../protocols/tree-proven.ts'
import { BackgroundPuts } from './background-puts.ts'
import { type FoundNode, NodeReads } from './node-reads.ts'
import { nodeBytes, OWNED_PAGES, OWNED_RECORDS, ownedNodes, placingNames } from './owned-kinds.ts'
import { type OwnerFinding, readFromOwners } from './owner-reads.ts'
import { readRecords } from './owner-records.ts'
import {
  type CollectableOwner,
  OwnerStores,
  type OwnerStoresComponents,
  type OwnerStoresOptions
} from './owner-stores.ts'
import { QuorumPuts } from './quorum-puts.ts'

export interface DistributedMetadataStoreComponents extends OwnerStoresComponents {
  /** Checks the records and nodes that are received. */
  readonly verifier: Verifier
  readonly logger?: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface DistributedMetadataStoreOptions extends OwnerStoresOptions {
  /** Bytes of nodes and pages that are remembered. @default 32 MiB */
  cacheBytes?: number
  /** Bytes of puts that go on after their majority, and of repairs. @default 16 MiB */
  backgroundBytes?: number
  /**
   * Whether owners that lack what others have are given it; needs the right to write.
   *
   * @default true
   */
  repairs?: boolean
}

/**
 * The metadata of the cluster: every key is kept by the three metadata providers that are closest
 * to it on the metadata list (owners.ts). A put resolves when a majority of the owners of each key
 * has it; the rest get it in the background. A get asks one owner after the other; owners that lack
 * what it finds are given it. Nodes and pages never change and are remembered (what is not there is
 * not); the arrays of pages that are given out must not be changed. A batch that is refused may be
 * stored in part.
 */
export class DistributedMetadataStore implements MetadataStore, PathStore {
  readonly #owners: OwnerStores
  readonly #background: BackgroundPuts
  readonly #puts: QuorumPuts
  readonly #nodeReads: NodeReads
  readonly #verifier: Verifier
  readonly #nodes: LruCache<TreeNode>
  readonly #pages: LruCache<Uint8Array>
  readonly #repairs: boolean

  constructor(
    components: DistributedMetadataStoreComponents,
    options: DistributedMetadataStoreOptions = {}
  ) {
    const { cacheBytes = 32 * MIB, backgroundBytes = 16 * MIB, repairs = true } = options
    const { logger = noLogger, clock, metrics, verifier } = components
    this.#owners = new OwnerStores(components, options)
    this.#background = new BackgroundPuts(
      { clock, metrics, logger: logger.forComponent('blobswarm:peer:metadata-store') },
      { maxBytes: backgroundBytes }
    )
    this.#puts = new QuorumPuts({ owners: this.#owners, background: this.#background })
    this.#nodeReads = new NodeReads({ owners: this.#owners, verifier })
    this.#verifier = verifier
    this.#nodes = new LruCache(cacheBytes / 2)
    this.#pages = new LruCache(cacheBytes / 2)
    this.#repairs = repairs
  }

  /** Resolves when nothing goes on in the background. */
  async idle(): Promise<void> {
    await this.#background.idle()
  }

  /** Gives up what goes on in the background and closes all channels. */
  async stop(): Promise<void> {
    await this.#background.stop()
    await this.#owners.close()
  }

  async getNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(TreeNode | undefined)[]> {
    return await this.#getThrough<NodeKey, TreeNode>(keys, {
      known: (key) => this.#nodes.get(nodeName(key)),
      remember: (key, node) => this.#rememberNode({ key, node }),
      fetch: async (missing) => {
        const findings = await this.#nodeReads.read(missing, options)
        if (this.#repairs) this.#repairNodes(missing, findings)
        return findings.map(({ value }) => value?.node)
      }
    })
  }

  async getPaths(paths: readonly TreePath[], options: AbortOptions = {}): Promise<KeyedNode[]> {
    const known = (key: NodeKey): TreeNode | undefined => this.#nodes.get(nodeName(key))
    const nodes = await this.#nodeReads.readPaths(paths, known, options)
    for (const node of nodes) this.#rememberNode(node)
    return nodes
  }

  /** Every metadata provider, as collection and repair see it; this agent's own without the network. */
  owners(): CollectableOwner[] {
    return this.#owners.all()
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options: AbortOptions = {}
  ): Promise<void> {
    await this.#puts.put(nodes, ownedNodes(proof), options)
    for (const node of nodes) this.#rememberNode(node)
  }

  async getPages(
    ids: readonly ChunkId[],
    options: AbortOptions = {}
  ): Promise<(Uint8Array | undefined)[]> {
    return await this.#getThrough(ids, {
      known: (id) => this.#pages.get(chunkKey(id)),
      remember: (id, bytes) => this.#pages.set(chunkKey(id), bytes, bytes.byteLength),
      fetch: async (missing) => {
        const findings = await readFromOwners<ChunkId, Uint8Array>({
          keys: missing,
          placementOf: (id) => this.#owners.placementOf(id),
          ask: (owner, some) => this.#askPages(owner, some, options),
          ...options
        })
        for (const [at, { value: bytes, lacking }] of findings.entries()) {
          if (bytes === undefined) continue
          if (this.#repairs)
            this.#puts.repair(lacking, [{ id: missing[at] as ChunkId, bytes }], OWNED_PAGES)
        }
        return findings.map(({ value }) => value)
      }
    })
  }

  /** @throws {ChunkMismatchError} if bytes do not hash to their id. */
  async putPages(pages: readonly Page[], options: AbortOptions = {}): Promise<void> {
    for (const { id, bytes } of pages) verifyChunk(id, bytes)
    await this.#puts.put(pages, OWNED_PAGES, options)
    for (const { id, bytes } of pages) this.#pages.set(chunkKey(id), bytes, bytes.byteLength)
  }

  async getRecords(
    names: readonly string[],
    options: AbortOptions = {}
  ): Promise<(NamedRecord | undefined)[]> {
    const findings = await readRecords({
      names,
      placementOf: placingNames((keyHash) => this.#owners.placementOf(keyHash)),
      ask: (owner, some) => this.#owners.ask(owner, (store) => store.getRecords(some, options)),
      isTrue: (name, record) => this.#isTrue(name, record),
      ...options
    })
    return findings.map(({ newest, behind }) => {
      if (newest !== undefined && this.#repairs) {
        this.#puts.repair(behind, [newest], OWNED_RECORDS)
      }
      return newest
    })
  }

  async putRecords(records: readonly NamedRecord[], options: AbortOptions = {}): Promise<void> {
    await this.#puts.put(records, OWNED_RECORDS, options)
  }

  /** Looks into the cache first, then fetches what is not there. */
  async #getThrough<K, V>(
    keys: readonly K[],
    through: {
      known(key: K): V | undefined
      remember(key: K, value: V): void
      fetch(missing: readonly K[]): Promise<readonly (V | undefined)[]>
    }
  ): Promise<(V | undefined)[]> {
    const values = keys.map((key) => through.known(key))
    const missing = [...keys.entries()].filter(([at]) => values[at] === undefined)
    if (missing.length === 0) return values
    const fetched = await through.fetch(missing.map(([, key]) => key))
    for (const [found, [at, key]] of missing.entries()) {
      const value = fetched[found]
      if (value === undefined) continue
      values[at] = value
      through.remember(key, value)
    }
    return values
  }

  /** Brings nodes to the owners that were found to lack them, those of one proof together. */
  #repairNodes(keys: readonly NodeKey[], findings: readonly OwnerFinding<FoundNode>[]): void {
    const proven = new Map<ProvenNode, readonly string[]>()
    for (const [at, { value, lacking }] of findings.entries()) {
      const key = keys[at]
      if (value?.proof === undefined || key === undefined || lacking.length === 0) continue
      proven.set({ key, node: value.node, proof: value.proof }, lacking)
    }
    for (const [proof, nodes] of byProof(proven.keys())) {
      const owners = new Set(nodes.flatMap((node) => proven.get(node) ?? []))
      for (const owner of owners) {
        const items = nodes.filter((node) => proven.get(node)?.includes(owner))
        this.#puts.repair([owner], items, ownedNodes(proof))
      }
    }
  }

  async #askPages(
    owner: string,
    ids: readonly ChunkId[],
    options: AbortOptions
  ): Promise<(Uint8Array | undefined)[]> {
    return await this.#owners.ask(owner, async (store) => {
      const pages = await store.getPages(ids, options)
      for (const [at, id] of ids.entries()) verifyPage(owner, id, pages[at])
      return pages
    })
  }

  #isTrue(name: string, record: NamedRecord): boolean {
    if (record.name !== name) return false
    try {
      checkRecordPut(this.#verifier, [record])
      return true
    } catch {
      return false // whoever gave it is no better than one who has none: the others are asked
    }
  }

  #rememberNode({ key, node }: KeyedNode): void {
    this.#nodes.set(nodeName(key), node, nodeBytes(node))
  }
}

function nodeName({ blob, version, offset, span }: NodeKey): string {
  return `${blob}/${version}/${offset}/${span}`
}

function verifyPage(owner: string, id: ChunkId, bytes: Uint8Array | undefined): void {
  if (bytes === undefined) return
  try {
    verifyChunk(id, bytes)
  } catch (error) {
    if (error instanceof ChunkMismatchError) throw new PeerChunkMismatchError(owner, error)
    throw error
  }
}
