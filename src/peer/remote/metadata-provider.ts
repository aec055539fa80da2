import type { AbortOptions, ChunkId } from '../../chunks/types.ts'
import { MalformedError } from '../../lib/errors.ts'
import {
  decodeNode,
  encodeNode,
  encodeNodeBatch,
  encodeNodeKey,
  MAX_BATCH_NODES,
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
  MAX_TREE_ITEMS,
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
 * What one metadata provider keeps, over the network. Calls of any size are cut into messages that fit.
 * Nothing that it says is verified here.
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
    const nodes = await this.#getAll(encoded, async (some) => {
      return (await this.#get(treeMethods.getNodes, { keys: some }, options)).nodes
    })
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
    for (const batch of batches(nodes, NODE_LIMITS)) {
      const request = { ticket, proof: signed, nodes: encodeNodeBatch(batch) }
      await this.#put(treeMethods.putNodes, request, options)
    }
  }

  async getPages(
    ids: readonly ChunkId[],
    options?: AbortOptions
  ): Promise<(Uint8Array | undefined)[]> {
    const pages = await this.#getAll(ids, async (some) => {
      return (await this.#get(treeMethods.getPages, { ids: some }, options)).pages
    })
    return pages.map((page) => page ?? undefined)
  }

  async putPages(pages: readonly Page[], options?: AbortOptions): Promise<void> {
    for (const batch of batches(pages, PAGE_LIMITS)) {
      await this.#put(treeMethods.putPages, { pages: batch }, options)
    }
  }

  async getRecords(
    names: readonly string[],
    options?: AbortOptions
  ): Promise<(NamedRecord | undefined)[]> {
    const records = await this.#getAll(names, async (some) => {
      return (await this.#get(treeMethods.getRecords, { names: some }, options)).records
    })
    return records.map((record) =>
      record === null ? undefined : this.#blaming(() => unpackRecord(record))
    )
  }

  async putRecords(records: readonly NamedRecord[], options?: AbortOptions): Promise<void> {
    const packed = records.map(packRecord)
    for (const batch of batches(packed, RECORD_LIMITS)) {
      await this.#put(treeMethods.putRecords, { records: batch }, options)
    }
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

  /** Asks until there is an answer for every key; one answer may stand for the first few only. */
  async #getAll<K, A>(keys: readonly K[], ask: (some: K[]) => Promise<readonly A[]>): Promise<A[]> {
    const all: A[] = []
    while (all.length < keys.length) {
      const some = keys.slice(all.length, all.length + MAX_TREE_ITEMS)
      const answers = await ask(some)
      if (answers.length > some.length) {
        throw new ProtocolViolationError(this.peerId, 'more answers than questions')
      }
      all.push(...answers)
    }
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

interface BatchLimits<T> {
  readonly maxItems: number
  readonly maxBytes: number
  readonly sizeOf: (item: T) => number
}

const NODE_LIMITS: BatchLimits<KeyedNode> = {
  maxItems: MAX_BATCH_NODES,
  maxBytes: MAX_NODE_PAYLOAD_BYTES,
  sizeOf: ({ key, node }) => NODE_KEY_BYTES + 4 + encodeNode(key, node).byteLength
}

const PAGE_LIMITS: BatchLimits<Page> = {
  maxItems: MAX_TREE_ITEMS,
  maxBytes: MAX_TREE_PAYLOAD_BYTES,
  sizeOf: ({ bytes }) => bytes.byteLength + 64
}

const RECORD_LIMITS: BatchLimits<WireRecord> = {
  maxItems: MAX_TREE_ITEMS,
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
