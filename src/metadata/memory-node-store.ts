import { chunkKey } from '../chunks/chunk-id.ts'
import type { LeaseTableOptions } from '../chunks/lease-table.ts'
import type { Collected } from '../chunks/provider-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes } from '../lib/bytes.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { NodeConflictError } from './errors.ts'
import { firstWithout, isAbove, keyOf, nameOf, type Table, tableOf } from './memory-tables.ts'
import {
  aboveNodesOf,
  checkKeys,
  hasPrefix,
  MAX_KEYS,
  recordName,
  versionOfNode
} from './metadata-keys.ts'
import { MetadataLeases } from './metadata-leases.ts'
import { decodeNode, decodeNodeKey, encodeNodeKey, NODE_KEY_BYTES } from './node-codec.ts'
import { OpenedProofs } from './opened-proofs.ts'
import type { Verifier } from './signature-types.ts'
import { checkNodePut, checkPagePut, checkRecordPut, replaces } from './store-checks.ts'
import type {
  KeptMetadata,
  KeyScan,
  MetadataKind,
  NamedRecord,
  Page,
  ProvenNode
} from './store-types.ts'
import type { NodeProof } from './ticket-types.ts'
import type { KeyedNode, NodeKey, TreeNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

export interface MemoryMetadataStoreComponents {
  readonly verifier: Verifier
  /** @default the machine's */
  readonly clock?: Clock
}

interface KeptNode {
  readonly bytes: Uint8Array
  readonly proof: NodeProof
}

/** Keeps all that a metadata provider keeps in memory, without a limit; for tests. */
export class MemoryMetadataStore implements KeptMetadata {
  readonly #verifier: Verifier
  readonly #proofs: OpenedProofs
  readonly #leases: MetadataLeases
  readonly #nodes = new Map<string, KeptNode>()
  readonly #pages = new Map<string, Uint8Array>()
  readonly #records = new Map<string, NamedRecord>()
  /** Keys in order, made when they are asked for and no longer the same. */
  readonly #sorted = new Map<MetadataKind, readonly Uint8Array[]>()

  constructor(
    { verifier, clock = systemClock }: MemoryMetadataStoreComponents,
    options: LeaseTableOptions = {}
  ) {
    this.#verifier = verifier
    this.#proofs = new OpenedProofs(verifier)
    this.#leases = new MetadataLeases({ clock }, options)
  }

  async getNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(TreeNode | undefined)[]> {
    options.signal?.throwIfAborted()
    return keys.map((key) => {
      const kept = this.#nodes.get(nameOf(key))
      return kept === undefined ? undefined : decodeNode(key, kept.bytes)
    })
  }

  async getProvenNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(ProvenNode | undefined)[]> {
    options.signal?.throwIfAborted()
    return keys.map((key) => {
      const kept = this.#nodes.get(nameOf(key))
      return kept && { key, node: decodeNode(key, kept.bytes), proof: kept.proof }
    })
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options: AbortOptions = {}
  ): Promise<void> {
    options.signal?.throwIfAborted()
    const encoded = await checkNodePut(this.#proofs, nodes, proof)
    const added = new Map<string, Uint8Array>()
    for (const [at, { key }] of nodes.entries()) {
      const name = nameOf(key)
      const bytes = (encoded[at] ?? new Uint8Array()).subarray(NODE_KEY_BYTES)
      const there = this.#nodes.get(name)?.bytes ?? added.get(name)
      if (there !== undefined && !equalBytes(there, bytes)) throw new NodeConflictError(key)
      if (there === undefined) added.set(name, bytes)
    }
    if (added.size > 0) this.#sorted.delete('nodes')
    for (const [name, bytes] of added) this.#nodes.set(name, { bytes, proof })
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
    this.#leases.grantPages(pages)
    this.#sorted.delete('pages')
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
    this.#leases.grantRecords(records)
    this.#sorted.delete('records')
    for (const [name, record] of added) this.#records.set(name, record)
  }

  async scan(scan: KeyScan, options: AbortOptions = {}): Promise<Uint8Array[]> {
    options.signal?.throwIfAborted()
    const { kind, after, prefix = new Uint8Array(), limit = MAX_KEYS } = scan
    const sorted = this.#sortedKeys(kind)
    const isBefore = (key: Uint8Array): boolean =>
      (after !== undefined && Buffer.compare(key, after) <= 0) || Buffer.compare(key, prefix) < 0
    const from = firstWithout(sorted, isBefore)
    const some = sorted.slice(from, from + Math.min(limit, MAX_KEYS))
    return some.filter((key) => hasPrefix(key, prefix))
  }

  async lacking(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options: AbortOptions = {}
  ): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    checkKeys(kind, keys)
    const { has } = this.#table(kind)
    return keys.map((key) => !has(key))
  }

  async behind(
    records: readonly Pick<NamedRecord, 'name' | 'sequence'>[],
    options: AbortOptions = {}
  ): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return records.map(({ name, sequence }) => {
      const there = this.#records.get(name)
      return there === undefined || there.sequence < sequence
    })
  }

  async beginCollection(options: AbortOptions = {}): Promise<string> {
    options.signal?.throwIfAborted()
    return this.#leases.begin()
  }

  async unleased(
    collection: string,
    scan: KeyScan,
    options: AbortOptions = {}
  ): Promise<Uint8Array[]> {
    return await this.#leases.listUnleased(collection, scan, (some) => this.scan(some, options))
  }

  async nodeVersions(
    collection: string,
    after: VersionRef | undefined,
    options: AbortOptions = {}
  ): Promise<VersionRef[]> {
    options.signal?.throwIfAborted()
    this.#leases.check(collection)
    const sorted = this.#sortedKeys('nodes')
    const versions: VersionRef[] = []
    for (let last = after; versions.length < MAX_KEYS; last = versions.at(-1)) {
      const above = last && aboveNodesOf(last)
      const at = firstWithout(sorted, (key) => above !== undefined && !isAbove(key, above))
      const key = sorted[at]
      if (key === undefined) break
      versions.push(versionOfNode(key))
    }
    return versions
  }

  async collect(
    collection: string,
    { kind, keys }: { readonly kind: MetadataKind; readonly keys: readonly Uint8Array[] },
    options: AbortOptions = {}
  ): Promise<Collected> {
    options.signal?.throwIfAborted()
    return this.#delete(kind, this.#leases.unleased(collection, kind, keys))
  }

  async drop(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options: AbortOptions = {}
  ): Promise<Collected> {
    options.signal?.throwIfAborted()
    checkKeys(kind, keys)
    return this.#delete(kind, keys)
  }

  #delete(kind: MetadataKind, keys: readonly Uint8Array[]): Collected {
    const table = this.#table(kind)
    const sizes = keys.filter(table.has).map((key) => key.byteLength + table.bytesOf(key))
    for (const key of keys) table.delete(key)
    this.#sorted.delete(kind)
    return { count: sizes.length, bytes: sizes.reduce((sum, bytes) => sum + bytes, 0) }
  }

  #sortedKeys(kind: MetadataKind): readonly Uint8Array[] {
    const known = this.#sorted.get(kind)
    if (known !== undefined) return known
    const sorted = this.#table(kind)
      .keys()
      .toSorted((left, right) => Buffer.compare(left, right))
    this.#sorted.set(kind, sorted)
    return sorted
  }

  /** The things of a kind, by their keys as bytes. */
  #table(kind: MetadataKind): Table {
    if (kind === 'nodes') {
      return tableOf(this.#nodes, {
        name: (key) => nameOf(decodeNodeKey(key)),
        key: (name) => encodeNodeKey(keyOf(name)),
        bytesOf: ({ bytes }) => bytes.byteLength
      })
    }
    if (kind === 'pages') {
      return tableOf(this.#pages, {
        name: chunkKey,
        key: (name) => new Uint8Array(Buffer.from(name, 'latin1')),
        bytesOf: ({ byteLength }) => byteLength
      })
    }
    return tableOf(this.#records, {
      name: recordName,
      key: (name) => new Uint8Array(Buffer.from(name)),
      bytesOf: ({ envelope }) => envelope.payload.byteLength
    })
  }
}
