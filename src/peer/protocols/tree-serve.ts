import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import {
  decodeNodeBatch,
  decodeNodeKey,
  encodeNode,
  NODE_KEY_BYTES
} from '../../metadata/node-codec.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import type { MetadataStore } from '../../metadata/types.ts'
import { answerMethod, type RpcHandler, type ServeRpcOptions, serveRpc } from '../rpc-server.ts'
import type { PeerNode } from '../types.ts'
import { takePage } from './schemas.ts'
import {
  MAX_TREE_PAYLOAD_BYTES,
  packRecord,
  TREE_PROTOCOL,
  treeMethods,
  unpackRecord,
  type WireRecord
} from './tree.ts'

export interface ServeTreeComponents {
  /** This agent's own store. */
  readonly store: MetadataStore
  readonly clock: Clock
  readonly logger: LoggerFactory
}

/** Answers tree/1 on a node from now on. */
export async function serveTree(
  node: PeerNode,
  components: ServeTreeComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  const { store, clock } = components
  const handlers = treeHandlers(store)
  const logger = components.logger.forComponent('blobswarm:peer:tree')
  // Requests may be of nearly 4 MiB: few of one channel are held at a time.
  const limits = { maxConcurrent: 16, ...options }
  await node.serve(
    TREE_PROTOCOL,
    (channel) => serveRpc(channel, { handlers, clock, logger }, limits),
    (member) => member.rights.has('read')
  )
}

function treeHandlers(store: MetadataStore): RpcHandler[] {
  return [
    answerMethod(treeMethods.getNodes, 'read', async ({ keys: encoded }, { signal }) => {
      const keys = encoded.map(decodeNodeKey)
      const found = await store.getNodes(keys, { signal })
      const nodes: (Uint8Array | null)[] = []
      for (const [at, key] of keys.entries()) {
        const node = found[at]
        nodes.push(node === undefined ? null : encodeNode(key, node))
      }
      return { nodes: fitting(nodes, lengthOf) }
    }),
    answerMethod(treeMethods.putNodes, 'write', async ({ ticket, proof, nodes }, { signal }) => {
      const unpacked = { ticket: decodeEnvelope(ticket), nodes: decodeEnvelope(proof) }
      await store.putNodes(decodeNodeBatch(nodes), unpacked, { signal })
      return {}
    }),
    answerMethod(treeMethods.getPages, 'read', async ({ ids }, { signal }) => {
      const pages = await store.getPages(ids, { signal })
      return {
        pages: fitting(
          pages.map((page) => page ?? null),
          lengthOf
        )
      }
    }),
    answerMethod(treeMethods.putPages, 'write', async ({ pages }, { signal }) => {
      await store.putPages(pages, { signal })
      return {}
    }),
    answerMethod(treeMethods.getRecords, 'read', async ({ names }, { signal }) => {
      const found = await store.getRecords(names, { signal })
      const records = found.map((record) => (record === undefined ? null : packRecord(record)))
      return { records: fitting(records, recordBytes) }
    }),
    answerMethod(treeMethods.putRecords, 'write', async ({ records }, { signal }) => {
      await store.putRecords(records.map(unpackRecord), { signal })
      return {}
    })
  ]
}

function fitting<T>(items: readonly T[], sizeOf: (item: T) => number): T[] {
  return takePage(items, MAX_TREE_PAYLOAD_BYTES, sizeOf).items
}

function lengthOf(bytes: Uint8Array | null): number {
  return (bytes?.byteLength ?? 0) + 5
}

function recordBytes(record: WireRecord | null): number {
  return record === null ? 1 : record.envelope.byteLength + record.name.length * 3 + NODE_KEY_BYTES
}
