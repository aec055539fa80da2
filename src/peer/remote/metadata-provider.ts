import type { Collected } from '../../chunks/provider-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { equalBytes } from '../../lib/bytes.ts'
import { forEachConcurrently } from '../../lib/concurrently.ts'
import { errorCode, MalformedError } from '../../lib/errors.ts'
import { NodeConflictError } from '../../metadata/errors.ts'
import {
  decodeNode,
  encodeNode,
  encodeNodeBatch,
  encodeNodeKey
} from '../../metadata/node-codec.ts'
import type { Signer } from '../../metadata/signature-types.ts'
import { encodeEnvelope } from '../../metadata/signed.ts'
import type {
  CollectableMetadata,
  HandedOverStore,
  KeyScan,
  MetadataKind,
  NamedRecord,
  Page,
  ProvenNode
} from '../../metadata/store-types.ts'
import type { NodeProof } from '../../metadata/ticket-types.ts'
import type { TreePath } from '../../metadata/tree-path.ts'
import type { KeyedNode, NodeKey, TreeNode } from '../../metadata/tree-types.ts'
import type { VersionRef } from '../../metadata/types.ts'
import { ProtocolViolationError } from '../errors.ts'
import { packRecord, TREE_PROTOCOL, treeMethods, unpackRecord } from '../protocols/tree.ts'
import { type PathsOfStore, packPaths, unpackPathsAnswer } from '../protocols/tree-paths.ts'
import { unpackProven } from '../protocols/tree-proven.ts'
import { signRetirementOrder } from '../retirement-order.ts'
import type { RpcMethod } from '../rpc.ts'
import { RpcClient, type RpcClientComponents, type RpcClientOptions } from '../rpc-client.ts'
import {
  batches,
  ITEMS_AT_ONCE,
  NODE_LIMITS,
  PAGE_LIMITS,
  RECORD_LIMITS
} from './metadata-batches.ts'

export interface RemoteMetadataProviderOptions extends RpcClientOptions {
  /** Time for an answer to a get, in milliseconds. @default 5000 */
  readTimeoutMs?: number
  /** Time for an answer to a put, in milliseconds. @default 20000 */
  writeTimeoutMs?: number
}

/** Messages of one call that are under way. */
const MESSAGES_AT_ONCE = 4

export interface RemoteMetadataProviderComponents extends Omit<RpcClientComponents, 'spec'> {
  /** Signs orders to delete, as a version manager; others have none and cannot collect. */
  readonly signer?: Signer | undefined
}

/** What can be asked of a metadata provider over the network. */
export type OwnerStore = HandedOverStore & PathsOfStore

/**
 * What one metadata provider keeps, over the network. Calls of any size are cut into messages that
 * fit. Nothing that it says is verified here, but its form.
 */
export class RemoteMetadataProvider implements OwnerStore, CollectableMetadata {
  readonly peerId: string
  readonly #rpc: RpcClient
  readonly #signer: Signer | undefined
  readonly #readTimeoutMs: number
  readonly #writeTimeoutMs: number

  constructor(
    components: RemoteMetadataProviderComponents,
    options: RemoteMetadataProviderOptions = {}
  ) {
    const { signer, ...clientComponents } = components
    const { readTimeoutMs = 5000, writeTimeoutMs = 20_000, maxInFlight = 16, ...more } = options
    this.peerId = components.peerId
    this.#signer = signer
    this.#readTimeoutMs = readTimeoutMs
    this.#writeTimeoutMs = writeTimeoutMs
    this.#rpc = new RpcClient(
      { ...clientComponents, spec: TREE_PROTOCOL },
      { maxInFlight, ...more }
    )
  }

  async getNodes(
    keys: readonly NodeKey[],
    options?: AbortOptions
  ): Promise<(TreeNode | undefined)[]> {
    const encoded = keys.map(encodeNodeKey)
    const ask = async (some: Uint8Array[], within: AbortOptions) =>
      (await this.#get(treeMethods.getNodes, { keys: some }, within)).nodes
    const nodes = await this.#getAll(encoded, ask, options)
    return keys.map((key, at) => {
      const bytes = nodes[at] ?? undefined
      return bytes && this.#blaming(() => decodeNode(key, bytes))
    })
  }

  async getProvenNodes(
    keys: readonly NodeKey[],
    options?: AbortOptions
  ): Promise<(ProvenNode | undefined)[]> {
    const ask = async (some: NodeKey[], within: AbortOptions) => {
      const request = { keys: some.map(encodeNodeKey) }
      const answer = await this.#get(treeMethods.getProvenNodes, request, within)
      return this.#blaming(() => unpackProven(some, answer))
    }
    return await this.#getAll(keys, ask, options)
  }

  /** Nodes on the ways down, as far as the provider has them, each behind the one above it. */
  async getPaths(paths: readonly TreePath[], options?: AbortOptions): Promise<ProvenNode[]> {
    const request = packPaths(paths)
    if (request.paths.length === 0) return []
    const answer = await this.#get(treeMethods.getPaths, request, options)
    return this.#blaming(() => unpackPathsAnswer(answer))
  }

  async putNodes(
    nodes: readonly KeyedNode[],
    proof: NodeProof,
    options?: AbortOptions
  ): Promise<void> {
    const ticket = encodeEnvelope(proof.ticket)
    const signed = encodeEnvelope(proof.nodes)
    await forEachConcurrently(
      batches(nodes, NODE_LIMITS),
      MESSAGES_AT_ONCE,
      async (batch, signal) => {
        const request = { ticket, proof: signed, nodes: encodeNodeBatch(batch) }
        try {
          await this.#put(treeMethods.putNodes, request, { signal })
        } catch (error) {
          if (errorCode(error) === 'ERR_NODE_CONFLICT') await this.#throwConflict(batch, { signal })
          throw error
        }
      },
      options
    )
  }

  async getPages(
    ids: readonly ChunkId[],
    options?: AbortOptions
  ): Promise<(Uint8Array | undefined)[]> {
    const ask = async (some: ChunkId[], within: AbortOptions) =>
      (await this.#get(treeMethods.getPages, { ids: some }, within)).pages
    const pages = await this.#getAll(ids, ask, options)
    return pages.map((page) => page ?? undefined)
  }

  async putPages(pages: readonly Page[], options?: AbortOptions): Promise<void> {
    await forEachConcurrently(
      batches(pages, PAGE_LIMITS),
      MESSAGES_AT_ONCE,
      (batch, signal) => this.#put(treeMethods.putPages, { pages: batch }, { signal }),
      options
    )
  }

  async getRecords(
    names: readonly string[],
    options?: AbortOptions
  ): Promise<(NamedRecord | undefined)[]> {
    const ask = async (some: string[], within: AbortOptions) =>
      (await this.#get(treeMethods.getRecords, { names: some }, within)).records
    const records = await this.#getAll(names, ask, options)
    return records.map((record) =>
      record === null ? undefined : this.#blaming(() => unpackRecord(record))
    )
  }

  async putRecords(records: readonly NamedRecord[], options?: AbortOptions): Promise<void> {
    const packed = records.map(packRecord)
    await forEachConcurrently(
      batches(packed, RECORD_LIMITS),
      MESSAGES_AT_ONCE,
      (batch, signal) => this.#put(treeMethods.putRecords, { records: batch }, { signal }),
      options
    )
  }

  async lacking(
    kind: MetadataKind,
    keys: readonly Uint8Array[],
    options?: AbortOptions
  ): Promise<boolean[]> {
    const ask = async (some: Uint8Array[], within: AbortOptions) => {
      const { lacking } = await this.#get(treeMethods.lacking, { kind, keys: some }, within)
      return lacking
    }
    return await this.#getAll(keys, ask, options)
  }

  async behind(
    records: readonly Pick<NamedRecord, 'name' | 'sequence'>[],
    options?: AbortOptions
  ): Promise<boolean[]> {
    const ask = async (some: { name: string; sequence: number }[], within: AbortOptions) =>
      (await this.#get(treeMethods.behind, { records: some }, within)).behind
    const asked = records.map(({ name, sequence }) => ({ name, sequence }))
    return await this.#getAll(asked, ask, options)
  }

  async scan(scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]> {
    return (await this.#call(treeMethods.scan, scan, options)).keys
  }

  async beginCollection(options?: AbortOptions): Promise<string> {
    return (await this.#get(treeMethods.beginCollection, {}, options)).collection
  }

  async unleased(collection: string, scan: KeyScan, options?: AbortOptions): Promise<Uint8Array[]> {
    const request = { collection, ...scan }
    return (await this.#call(treeMethods.unleased, request, options)).keys
  }

  async nodeVersions(
    collection: string,
    after: VersionRef | undefined,
    options?: AbortOptions
  ): Promise<VersionRef[]> {
    const request = { collection, after: after && { blob: after.blob, version: after.version } }
    return (await this.#get(treeMethods.nodeVersions, request, options)).versions
  }

  /** @throws {TypeError} without a signer. */
  async collect(
    collection: string,
    { kind, keys }: { readonly kind: MetadataKind; readonly keys: readonly Uint8Array[] },
    options?: AbortOptions
  ): Promise<Collected> {
    if (this.#signer === undefined) throw new TypeError('orders to delete need a signer')
    if (keys.length === 0) return { count: 0, bytes: 0 }
    const order = { kind, provider: this.peerId, collection, keys }
    const envelope = encodeEnvelope(signRetirementOrder(this.#signer, order))
    return await this.#call(treeMethods.collect, { kind, order: envelope }, options)
  }

  /** Closes the channel; what is in flight rejects. */
  async close(): Promise<void> {
    await this.#rpc.close()
  }

  async #get<Q, A>(method: RpcMethod<Q, A>, request: Q, options?: AbortOptions): Promise<A> {
    return await this.#rpc.call(method, request, { ...options, timeoutMs: this.#readTimeoutMs })
  }

  async #put<Q, A>(method: RpcMethod<Q, A>, request: Q, options?: AbortOptions): Promise<void> {
    await this.#call(method, request, options)
  }

  /** Calls what may take as long as a put. */
  async #call<Q, A>(method: RpcMethod<Q, A>, request: Q, options?: AbortOptions): Promise<A> {
    return await this.#rpc.call(method, request, { ...options, timeoutMs: this.#writeTimeoutMs })
  }

  /** Finds out which node of a refused batch it was. @throws {NodeConflictError} */
  async #throwConflict(batch: readonly KeyedNode[], options: AbortOptions): Promise<void> {
    const there = await this.getNodes(
      batch.map(({ key }) => key),
      options
    )
    for (const [at, { key, node }] of batch.entries()) {
      const other = there[at]
      if (other === undefined) continue
      if (!equalBytes(encodeNode(key, other), encodeNode(key, node))) {
        throw new NodeConflictError(key)
      }
    }
  }

  /** Asks for all keys; one answer may stand for the first few of its question only. */
  async #getAll<K, A>(
    keys: readonly K[],
    ask: (some: K[], options: AbortOptions) => Promise<readonly A[]>,
    options?: AbortOptions
  ): Promise<A[]> {
    const all = Array.from<A>({ length: keys.length })
    const starts = Array.from(
      { length: Math.ceil(keys.length / ITEMS_AT_ONCE) },
      (_, at) => at * ITEMS_AT_ONCE
    )
    const askFrom = async (start: number, signal: AbortSignal): Promise<void> => {
      const end = Math.min(start + ITEMS_AT_ONCE, keys.length)
      for (let from = start; from < end; ) {
        const answers = await ask(keys.slice(from, end), { signal })
        if (answers.length > end - from) {
          throw new ProtocolViolationError(this.peerId, 'more answers than questions')
        }
        for (const answer of answers) all[from++] = answer
      }
    }
    await forEachConcurrently(starts, MESSAGES_AT_ONCE, askFrom, options)
    return all
  }

  #blaming<T>(decode: () => T): T {
    try {
      return decode()
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      throw new ProtocolViolationError(this.peerId, error.message, { cause: error })
    }
  }
}
