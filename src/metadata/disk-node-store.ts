import { join } from 'node:path'
import type { LeaseTableOptions } from '../chunks/lease-table.ts'
import type { Collected } from '../chunks/provider-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { blake3 } from '../lib/blake3.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { sendable } from '../lib/worker-call.ts'
import type { MetadataWrite } from './disk-node-store-worker.ts'
import { NodeConflictError, RecordConflictError } from './errors.ts'
import { MetadataDatabase, type MetadataDatabaseOptions } from './metadata-database.ts'
import {
  aboveNodesOf,
  checkKeys,
  hasPrefix,
  MAX_KEYS,
  recordName,
  versionOfNode
} from './metadata-keys.ts'
import { MetadataLeases } from './metadata-leases.ts'
import { decodeNode, decodeNodeKey, encodeNodeKey } from './node-codec.ts'
import { OpenedProofs } from './opened-proofs.ts'
import type { Verifier } from './signature-types.ts'
import { encodeEnvelope } from './signed.ts'
import { checkNodePut, checkPagePut, checkRecordPut } from './store-checks.ts'
import type {
  KeptMetadata,
  KeyScan,
  MetadataKind,
  NamedRecord,
  Page,
  ProvenNode
} from './store-types.ts'
import { ProofSharing, toRecord, toRow } from './stored-forms.ts'
import type { NodeProof } from './ticket-types.ts'
import { MAX_PATH_NODES, type TreePath } from './tree-path.ts'
import type { KeyedNode, NodeKey, TreeNode } from './tree-types.ts'
import type { VersionRef } from './types.ts'

/** Name of the file in the data directory. */
export const METADATA_FILE = 'metadata.sqlite'

/** Free pages of the file that are kept for what comes next, and that are given back at once. */
const KEPT_PAGES = 256
const PAGES_A_TIME = 512

/** Nodes whose proofs are fetched at once. */
const PROVEN_AT_ONCE = 256

export interface DiskMetadataStoreComponents {
  readonly verifier: Verifier
  /** @default the machine's */
  readonly clock?: Clock
}

/** Leases of pages and records, and bytes of puts that wait for the disk. */
export type DiskMetadataStoreOptions = LeaseTableOptions & MetadataDatabaseOptions

/**
 * Keeps all that a metadata provider keeps in one SQLite file (WAL, synchronous=FULL), in a worker
 * thread. Everything is checked before it goes there; puts and deletions go there in the order of
 * their calls, and those that come together share one fsync.
 */
export class DiskMetadataStore implements KeptMetadata {
  readonly #database: MetadataDatabase
  readonly #verifier: Verifier
  readonly #proofs: OpenedProofs
  readonly #leases: MetadataLeases

  /** `folder` is made if it is not there. */
  constructor(
    folder: string,
    components: DiskMetadataStoreComponents,
    options: DiskMetadataStoreOptions = {}
  ) {
    const { verifier, clock = systemClock } = components
    this.#database = new MetadataDatabase(join(folder, METADATA_FILE), options)
    this.#verifier = verifier
    this.#proofs = new OpenedProofs(verifier)
    this.#leases = new MetadataLeases({ clock }, options)
  }

  /**
   * Opens the file. Called once.
   *
   * @throws {MetadataStoreError} if it is in use, newer than this program or corrupt.
   */
  async start(): Promise<void> {
    await this.#database.start()
  }

  /** Finishes what runs and closes the file. */
  async stop(): Promise<void> {
    await this.#database.stop()
  }

  async getNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(TreeNode | undefined)[]> {
    const found = await this.#database.call('nodes', keys.map(encodeNodeKey), options)
    return keys.map((key, at) => {
      const bytes = found[at]
      return bytes === undefined ? undefined : decodeNode(key, bytes)
    })
  }

  async getProvenNodes(
    keys: readonly NodeKey[],
    options: AbortOptions = {}
  ): Promise<(ProvenNode | undefined)[]> {
    const proofs = new ProofSharing()
    const proven: (ProvenNode | undefined)[] = []
    for (let from = 0; from < keys.length; from += PROVEN_AT_ONCE) {
      const some = keys.slice(from, from + PROVEN_AT_ONCE)
      const rows = await this.#database.call('provenNodes', some.map(encodeNodeKey), options)
      const there = rows.proofs.map((stored) => proofs.open(stored))
      for (const [at, key] of some.entries()) {
        const row = rows.nodes[at]
        const proof = row && there[row.proof]
        proven.push(row && proof && { key, node: decodeNode(key, row.bytes), proof })
      }
    }
    return proven
  }

  /** Nodes on the ways down, as far as they are here, each behind the one above it. */
  async getPaths(paths: readonly TreePath[], options: AbortOptions = {}): Promise<ProvenNode[]> {
    const raw = paths.map(({ from, to }) => ({
      from: encodeNodeKey(from),
      to: to.map(({ offset, span }): [number, number] => [offset, span])
    }))
    // The thread goes down by itself: otherwise each level would wait behind what is being written.
    const asked = { paths: raw, limit: MAX_PATH_NODES }
    const keys = await this.#database.call('pathKeys', asked, options)
    const proven = await this.getProvenNodes(keys.map(decodeNodeKey), options)
    return proven.filter((node) => node !== undefined)
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options: AbortOptions = {}
  ): Promise<void> {
    if (nodes.length === 0) return
    const encoded = await checkNodePut(this.#proofs, nodes, proof)
    const ticket = encodeEnvelope(proof.ticket)
    const write: MetadataWrite = {
      kind: 'nodes',
      nodes: encoded,
      ticketDigest: blake3(ticket),
      ticket,
      proof: encodeEnvelope(proof.nodes)
    }
    const { conflict } = await this.#database.write(sizeOf(write), () => write, options)
    const there = conflict === undefined ? undefined : nodes[conflict]
    if (there !== undefined) throw new NodeConflictError(there.key)
  }

  async getPages(
    ids: readonly ChunkId[],
    options: AbortOptions = {}
  ): Promise<(Uint8Array | undefined)[]> {
    return await this.#database.call('pages', ids.map(sendable), options)
  }

  async putPages(pages: readonly Page[], options: AbortOptions = {}): Promise<void> {
    if (pages.length === 0) return
    checkPagePut(pages)
    const ids = pages.map(({ id }) => sendable(id))
    const bytes = pages.map((page) => sendable(page.bytes))
    const write: MetadataWrite = { kind: 'pages', ids, pages: bytes }
    const leased = (): MetadataWrite => {
      this.#leases.grantPages(pages)
      return write
    }
    await this.#database.write(sizeOf(write), leased, options)
  }

  async getRecords(
    names: readonly string[],
    options: AbortOptions = {}
  ): Promise<(NamedRecord | undefined)[]> {
    const rows = await this.#database.call('records', names.slice(), options)
    return rows.map((row) => (row === undefined ? undefined : toRecord(row)))
  }

  async putRecords(records: readonly NamedRecord[], options: AbortOptions = {}): Promise<void> {
    if (records.length === 0) return
    checkRecordPut(this.#verifier, records)
    const write: MetadataWrite = { kind: 'records', records: records.map(toRow) }
    const leased = (): MetadataWrite => {
      this.#leases.grantRecords(records)
      return write
    }
    const { conflict } = await this.#database.write(sizeOf(write), leased, options)
    const there = conflict === undefined ? undefined : records[conflict]
    if (there !== undefined) throw new RecordConflictError(there.name, there.sequence)
  }

  async scan(scan: KeyScan, options: AbortOptions = {}): Promise<Uint8Array[]> {
    const { kind, after, prefix = new Uint8Array() } = scan
    const limit = Math.min(scan.limit ?? MAX_KEYS, MAX_KEYS)
    const isBehind = after !== undefined && Buffer.compare(after, prefix) >= 0
    const from = sendable(isBehind ? after : prefix)
    if (kind === 'records') recordName(from)
    const asked = { kind, from, includesFrom: !isBehind, limit }
    const keys = await this.#database.call('scan', asked, options)
    return keys.filter((key) => hasPrefix(key, prefix))
  }

  async lacking(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options: AbortOptions = {}
  ): Promise<boolean[]> {
    checkKeys(kind, keys)
    return await this.#database.call('lacking', { kind, keys: keys.map(sendable) }, options)
  }

  async behind(
    records: readonly Pick<NamedRecord, 'name' | 'sequence'>[],
    options: AbortOptions = {}
  ): Promise<boolean[]> {
    const asked = records.map(({ name, sequence }) => ({ name, sequence }))
    return await this.#database.call('behind', asked, options)
  }

  async beginCollection(options: AbortOptions = {}): Promise<string> {
    options.signal?.throwIfAborted()
    this.#database.running()
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
    this.#leases.check(collection)
    const above = after === undefined ? new Uint8Array() : aboveNodesOf(after)
    const found = await this.#database.call(
      'nodeVersions',
      { after: above, limit: MAX_KEYS },
      options
    )
    return found.map(versionOfNode)
  }

  async collect(
    collection: string,
    { kind, keys }: { readonly kind: MetadataKind; readonly keys: readonly Uint8Array[] },
    options: AbortOptions = {}
  ): Promise<Collected> {
    const unleased = (): readonly Uint8Array[] => this.#leases.unleased(collection, kind, keys)
    return await this.#delete(kind, unleased, options)
  }

  async drop(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options: AbortOptions = {}
  ): Promise<Collected> {
    checkKeys(kind, keys)
    return await this.#delete(kind, () => keys, options)
  }

  /**
   * Deletes what `pick` says. Puts give leases and `pick` looks at them when their write is queued:
   * so of a put and a deletion of one key either the put comes first, and the deletion sees its
   * lease, or it comes after the deletion and stores the key again.
   */
  async #delete(
    of: MetadataKind,
    pick: () => readonly Uint8Array[],
    options: AbortOptions
  ): Promise<Collected> {
    const deletion = (): MetadataWrite => ({
      kind: 'deletion',
      of,
      keys: pick().map(sendable)
    })
    const { deleted } = await this.#database.write(1, deletion, options)
    const request = { pages: PAGES_A_TIME, keep: KEPT_PAGES }
    while ((await this.#database.call('giveBack', request, options)) > 0)
      options.signal?.throwIfAborted()
    return deleted ?? { count: 0, bytes: 0 }
  }
}

function sizeOf(write: MetadataWrite): number {
  switch (write.kind) {
    case 'nodes':
      return totalBytes([...write.nodes, write.ticket, write.proof])
    case 'pages':
      return totalBytes(write.pages)
    case 'records':
      return totalBytes(write.records.flatMap(({ payload, envelope }) => [payload, envelope]))
    case 'deletion':
      return totalBytes(write.keys)
    default:
      return write satisfies never
  }
}

function totalBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { byteLength }) => sum + byteLength + 64, 0)
}
