import type { Collected } from '../chunks/provider-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { SignedEnvelope, SignedPurpose } from './signature-types.ts'
import type { NodeProof } from './ticket-types.ts'
import type { KeyedNode, NodeKey, TreeNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

/** Put-once store of tree nodes. */
export interface NodeStore {
  /** undefined for a node that is not there (yet). */
  getNodes(keys: readonly NodeKey[], options?: AbortOptions): Promise<(TreeNode | undefined)[]>
  /**
   * Stores nodes durably. The same bytes under a key again are fine.
   *
   * @throws {NodeConflictError} if a key holds other bytes; nothing of the batch is stored then.
   * @throws {InvalidNodeError} if a node does not follow from the ticket's ranges.
   */
  putNodes(nodes: readonly KeyedNode[], proof: NodeProof, options?: AbortOptions): Promise<void>
}

export interface Page {
  readonly id: ChunkId
  readonly bytes: Uint8Array
}

/** Content-addressed metadata: manifest pages and leaf-list pages. */
export interface PageStore {
  /** Verified bytes, or undefined. */
  getPages(ids: readonly ChunkId[], options?: AbortOptions): Promise<(Uint8Array | undefined)[]>
  /** Stores pages durably. @throws {ChunkMismatchError} if bytes do not hash to their id. */
  putPages(pages: readonly Page[], options?: AbortOptions): Promise<void>
}

/**
 * A signed record under a name; the highest sequence wins, other bytes under the same sequence
 * are refused.
 */
export interface NamedRecord {
  /** `location/<page id hex>` or `version/<blob id>/<version>`. */
  readonly name: string
  readonly sequence: number
  readonly purpose: SignedPurpose
  readonly envelope: SignedEnvelope
}

export interface RecordStore {
  getRecords(names: readonly string[], options?: AbortOptions): Promise<(NamedRecord | undefined)[]>
  /** Stores records durably; one with a lower sequence than what is there is dropped silently. */
  putRecords(records: readonly NamedRecord[], options?: AbortOptions): Promise<void>
}

/** All that a metadata provider keeps. */
export interface MetadataStore extends NodeStore, PageStore, RecordStore {}

/**
 * Kinds of what a metadata provider keeps, each under keys that sort as bytes: node keys
 * (node-codec.ts), page ids, record names in UTF-8.
 */
export type MetadataKind = 'nodes' | 'pages' | 'records'

/** A stretch of a provider's keys. */
export interface KeyScan {
  readonly kind: MetadataKind
  /** Only keys above this one. */
  readonly after?: Uint8Array | undefined
  /** Only keys that begin so. */
  readonly prefix?: Uint8Array | undefined
  /** @default 1024, the most */
  readonly limit?: number | undefined
}

/** A node with what it was stored beside, so that it can be stored elsewhere. */
export interface ProvenNode extends KeyedNode {
  readonly proof: NodeProof
}

/** What hand-over and repair ask of one metadata provider. */
export interface HandedOverStore extends MetadataStore {
  /** Keys in order; fewer than the limit mean that there are no more. */
  scan(scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]>
  /** Tells for each key whether the provider lacks it. */
  lacking(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options?: AbortOptions
  ): Promise<boolean[]>
  /** As `getNodes`, with the proof of each. Nodes of one batch share one proof object. */
  getProvenNodes(
    keys: readonly NodeKey[],
    options?: AbortOptions
  ): Promise<(ProvenNode | undefined)[]>
  /** Tells for each record whether the provider has none, or an older one. */
  behind(
    records: readonly Pick<NamedRecord, 'name' | 'sequence'>[],
    options?: AbortOptions
  ): Promise<boolean[]>
}

/**
 * What collection asks of one metadata provider. Pages and records have leases as chunks do, from
 * each put; nodes need none, because only versions that are published and no longer wanted lose
 * any.
 */
export interface CollectableMetadata {
  /** As CollectableProvider. */
  beginCollection(options?: AbortOptions): Promise<string>
  /** Keys without a lease, in order, at most 1,024; none when there are no more. */
  unleased(collection: string, scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]>
  /** Versions that have nodes here, in order of blob and version, above `after`; at most 1,024. */
  nodeVersions(
    collection: string,
    after: VersionRef | undefined,
    options?: AbortOptions
  ): Promise<VersionRef[]>
  /** Deletes those of the keys that still have no lease. @throws {CollectionEndedError} */
  collect(
    collection: string,
    request: { readonly kind: MetadataKind; readonly keys: readonly Uint8Array[] },
    options?: AbortOptions
  ): Promise<Collected>
}

/** What an agent's own metadata store does. */
export interface KeptMetadata extends HandedOverStore, CollectableMetadata {
  /** Deletes what others keep now in the place of this agent; leases do not count. */
  drop(kind: MetadataKind, keys: readonly Uint8Array[], options?: AbortOptions): Promise<Collected>
}
