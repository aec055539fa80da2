import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import { nextTurn } from '../../lib/turn.ts'
import {
  decodeNodeKey,
  encodeNode,
  NODE_KEY_BYTES,
  readNodeBatch
} from '../../metadata/node-codec.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import type { KeptMetadata } from '../../metadata/store-types.ts'
import type { KeyedNode } from '../../metadata/tree-types.ts'
import { verifyRetirementOrder } from '../retirement-order.ts'
import { permitsProtocol, TREE_PERMISSIONS } from '../rights.ts'
import {
  answerMethod,
  permitted,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../rpc-server.ts'
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
import { pathsAnswer, unpackPaths } from './tree-paths.ts'
import { provenAnswer } from './tree-proven.ts'

export interface ServeTreeComponents {
  /** This agent's own store. */
  readonly store: KeptMetadata
  /** Checks orders to delete. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: LoggerFactory
}

/** Nodes that are decoded without a break. */
const NODES_A_TURN = 512

/** Answers tree/1 on a node from now on. */
export async function serveTree(
  node: PeerNode,
  components: ServeTreeComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  const { store, verifier, clock } = components
  const handlers = permitted(TREE_PERMISSIONS, [
    ...readHandlers(store),
    ...putHandlers(store),
    ...repairHandlers(store),
    ...collectionHandlers(store, { verifier, provider: node.peerId })
  ])
  const logger = components.logger.forComponent('blobswarm:peer:tree')
  // Requests may be of nearly 4 MiB: few of one channel are held at a time.
  const limits = { maxConcurrent: 16, ...options }
  await node.serve(
    TREE_PROTOCOL,
    (channel) => serveRpc(channel, { handlers, clock, logger }, limits),
    (member) => permitsProtocol(TREE_PROTOCOL.id, member)
  )
}

function readHandlers(store: KeptMetadata): RpcHandler[] {
  return [
    answerMethod(treeMethods.getNodes, async ({ keys: encoded }, { signal }) => {
      const keys = encoded.map(decodeNodeKey)
      const found = await store.getNodes(keys, { signal })
      const nodes: (Uint8Array | null)[] = []
      for (const [at, key] of keys.entries()) {
        const node = found[at]
        nodes.push(node === undefined ? null : encodeNode(key, node))
      }
      return { nodes: fitting(nodes, lengthOf) }
    }),
    answerMethod(treeMethods.getProvenNodes, async ({ keys }, { signal }) =>
      provenAnswer(store, keys.map(decodeNodeKey), { signal })
    ),
    answerMethod(treeMethods.getPaths, async (request, { signal }) =>
      pathsAnswer(store, unpackPaths(request), { signal })
    ),
    answerMethod(treeMethods.getPages, async ({ ids }, { signal }) => {
      const pages = await store.getPages(ids, { signal })
      return {
        pages: fitting(
          pages.map((page) => page ?? null),
          lengthOf
        )
      }
    }),
    answerMethod(treeMethods.getRecords, async ({ names }, { signal }) => {
      const found = await store.getRecords(names, { signal })
      const records = found.map((record) => (record === undefined ? null : packRecord(record)))
      return { records: fitting(records, recordBytes) }
    }),
    answerMethod(treeMethods.lacking, async ({ kind, keys }, { signal }) => {
      return { lacking: await store.lacking(kind, keys, { signal }) }
    }),
    answerMethod(treeMethods.behind, async ({ records }, { signal }) => {
      return { behind: await store.behind(records, { signal }) }
    })
  ]
}

function putHandlers(store: KeptMetadata): RpcHandler[] {
  return [
    answerMethod(treeMethods.putNodes, async ({ ticket, proof, nodes }, { signal }) => {
      const unpacked = { ticket: decodeEnvelope(ticket), nodes: decodeEnvelope(proof) }
      await store.putNodes(await decodeNodes(nodes), unpacked, { signal })
      return {}
    }),
    answerMethod(treeMethods.putPages, async ({ pages }, { signal }) => {
      await store.putPages(pages, { signal })
      return {}
    }),
    answerMethod(treeMethods.putRecords, async ({ records }, { signal }) => {
      await store.putRecords(records.map(unpackRecord), { signal })
      return {}
    })
  ]
}

function repairHandlers(store: KeptMetadata): RpcHandler[] {
  return [
    answerMethod(treeMethods.scan, async (scan, { signal }) => {
      return { keys: await store.scan(scan, { signal }) }
    })
  ]
}

function collectionHandlers(
  store: KeptMetadata,
  { verifier, provider }: { readonly verifier: Verifier; readonly provider: string }
): RpcHandler[] {
  return [
    answerMethod(treeMethods.beginCollection, async (_request, { signal }) => {
      return { collection: await store.beginCollection({ signal }) }
    }),
    answerMethod(treeMethods.unleased, async ({ collection, ...scan }, { signal }) => {
      return { keys: await store.unleased(collection, scan, { signal }) }
    }),
    answerMethod(treeMethods.nodeVersions, async ({ collection, after }, { signal }) => {
      return { versions: await store.nodeVersions(collection, after, { signal }) }
    }),
    answerMethod(treeMethods.collect, async ({ kind, order }, { signal }) => {
      const envelope = decodeEnvelope(order)
      const { collection, keys } = verifyRetirementOrder(verifier, envelope, { provider, kind })
      return store.collect(collection, { kind, keys }, { signal })
    })
  ]
}

/** Decodes a batch, letting other work in between. @throws {MalformedError} */
async function decodeNodes(bytes: Uint8Array): Promise<KeyedNode[]> {
  const nodes: KeyedNode[] = []
  for (const node of readNodeBatch(bytes)) {
    nodes.push(node)
    if (nodes.length % NODES_A_TURN === 0) await nextTurn()
  }
  return nodes
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
