import type { AbortOptions, ChunkId } from '../../chunks/types.ts'
import { equalBytes } from '../../lib/bytes.ts'
import { forEachConcurrently } from '../../lib/concurrently.ts'
import { errorCode, MalformedError } from '../../lib/errors.ts'
import { NodeConflictError } from '../../metadata/errors.ts'
import {
  decodeNode,
  encodeNode,
  encodeNodeBatch,
  encodeNodeKey,
  NODE_KEY_BYTES
} from '../../metadata/node-codec.ts'
import { encodeEnvelope } from '../../metadata/signed.ts'
import type {
  KeyedNode,
  MetadataStore,
  NamedRecord,
  NodeKey,
  NodeProof,
  Page,
  TreeNode
} from '../../metadata/types.ts'
import { ProtocolViolationError } from '../errors.ts'
import { takePage } from '../protocols/schemas.ts'
import {
  MAX_NODE_PAYLOAD_BYTES,
  MAX_TREE_PAYLOAD_BYTES,
  packRecord,
  TREE_PROTOCOL,
  treeMethods,
  unpackRecord,
  type WireRecord
} from '../protocols/tree.ts'
import type { RpcMethod } from '../rpc.ts'
import { RpcClient, type RpcClientComponents, type RpcClientOptions } from '../rpc-client.ts'

export interface RemoteMetadataProviderOptions extends RpcClientOptions {
  /** Time for an answer to a get, in milliseconds. @default 5000 */
  readTimeoutMs?: number
  /** Time for an answer to a put, in milliseconds. @default 20000 */
  writeTimeoutMs?: number
}

/**
 * What one metadata provider keeps, over the network. Calls of any size are cut into messages that
 * fit. Nothing that it says is verified here.
 */
export class RemoteMetadataProvider implements MetadataStore {
  readonly peerId: string
  readonly #rpc: RpcClient
  readonly #readTimeoutMs: number
  readonly #writeTimeoutMs: number

  constructor(
    components: Omit<RpcClientComponents, 'spec'>,
    options: RemoteMetadataProviderOptions = {}
  ) {
    const { readTimeoutMs = 5000, writeTimeoutMs = 20_000, maxInFlight = 16, ...more } = options
    this.peerId = components.peerId
    this.#readTimeoutMs = readTimeoutMs
    this.#writeTimeoutMs = writeTimeoutMs
    this.#rpc = new RpcClient({ ...components, spec: TREE_PROTOCOL }, { maxInFlight, ...more })
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

  /** Closes the channel; what is in flight rejects. */
  async close(): Promise<void> {
    await this.#rpc.close()
  }

  async #get<Q, A>(method: RpcMethod<Q, A>, request: Q, options?: AbortOptions): Promise<A> {
    return await this.#rpc.call(method, request, { ...options, timeoutMs: this.#readTimeoutMs })
  }

  async #put<Q, A>(method: RpcMethod<Q, A>, request: Q, options?: AbortOptions): Promise<void> {
    await this.#rpc.call(method, request, { ...options, timeoutMs: this.#writeTimeoutMs })
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

/** Things in one message: what the other side does with them must not take it long. */
const ITEMS_AT_ONCE = 512

/** Messages of one call that are under way. */
const MESSAGES_AT_ONCE = 4

interface BatchLimits<T> {
  readonly maxItems: number
  readonly maxBytes: number
  readonly sizeOf: (item: T) => number
}

const INNER_WIRE_BYTES = NODE_KEY_BYTES + 96
const FRAGMENT_WIRE_BYTES = 48

const NODE_LIMITS: BatchLimits<KeyedNode> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_NODE_PAYLOAD_BYTES,
  sizeOf: ({ node }) => nodeWireBytes(node)
}

const PAGE_LIMITS: BatchLimits<Page> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_TREE_PAYLOAD_BYTES,
  sizeOf: ({ bytes }) => bytes.byteLength + 64
}

const RECORD_LIMITS: BatchLimits<WireRecord> = {
  maxItems: ITEMS_AT_ONCE,
  maxBytes: MAX_TREE_PAYLOAD_BYTES,
  sizeOf: ({ envelope, name }) => envelope.byteLength + name.length * 3 + 64
}

function batches<T>(items: readonly T[], { maxItems, maxBytes, sizeOf }: BatchLimits<T>): T[][] {
  const cut: T[][] = []
  for (let from = 0; from < items.length; ) {
    const batch = takePage(items.slice(from, from + maxItems), maxBytes, sizeOf).items
    cut.push(batch)
    from += batch.length
  }
  return cut
}

/** Bytes of a node and its key in a batch, at most. */
function nodeWireBytes(node: TreeNode): number {
  if (node.kind === 'inner') return INNER_WIRE_BYTES
  return node.fragments.reduce((sum, { replicas }) => {
    return replicas.reduce((bytes, id) => bytes + 2 + id.length * 3, sum + FRAGMENT_WIRE_BYTES)
  }, INNER_WIRE_BYTES)
}
