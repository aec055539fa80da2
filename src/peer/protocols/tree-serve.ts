import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import { nextTurn } from '../../lib/turn.ts'
import {
  decodeNodeKey,
  encodeNode,
  NODE_KEY_BYTES,
  readNodeBatch
} from '../../metadata/node-codec.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import type { KeptMetadata } from '../../metadata/store-types.ts'
import type { KeyedNode, Verifier } from '../../metadata/types.ts'
import { NotPermittedError } from '../errors.ts'
import { verifyRetirementOrder } from '../retirement-order.ts'
import {
  answerMethod,
  type RpcContext,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../rpc-server.ts'
import type { PeerNode, Right, Role } from '../types.ts'
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
  const handlers = [
    ...readHandlers(store),
    ...putHandlers(store).map(alsoForKeepers),
    ...repairHandlers(store).map((handler) => onlyFor('providerManager', handler)),
    ...collectionHandlers(store, { verifier, provider: node.peerId }).map((handler) =>
      onlyFor('versionManager', handler)
    )
  ]
  const logger = components.logger.forComponent('blobswarm:peer:tree')
  // Requests may be of nearly 4 MiB: few of one channel are held at a time.
  const limits = { maxConcurrent: 16, ...options }
  await node.serve(
    TREE_PROTOCOL,
    (channel) => serveRpc(channel, { handlers, clock, logger }, limits),
    (member) => member.rights.has('read')
  )
}

function readHandlers(store: KeptMetadata): RpcHandler[] {
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
    answerMethod(treeMethods.getProvenNodes, 'read', async ({ keys }, { signal }) =>
      provenAnswer(store, keys.map(decodeNodeKey), { signal })
    ),
    answerMethod(treeMethods.getPaths, 'read', async (request, { signal }) =>
      pathsAnswer(store, unpackPaths(request), { signal })
    ),
    answerMethod(treeMethods.getPages, 'read', async ({ ids }, { signal }) => {
      const pages = await store.getPages(ids, { signal })
      return {
        pages: fitting(
          pages.map((page) => page ?? null),
          lengthOf
        )
      }
    }),
    answerMethod(treeMethods.getRecords, 'read', async ({ names }, { signal }) => {
      const found = await store.getRecords(names, { signal })
      const records = found.map((record) => (record === undefined ? null : packRecord(record)))
      return { records: fitting(records, recordBytes) }
    }),
    answerMethod(treeMethods.lacking, 'read', async ({ kind, keys }, { signal }) => {
      return { lacking: await store.lacking(kind, keys, { signal }) }
    }),
    answerMethod(treeMethods.behind, 'read', async ({ records }, { signal }) => {
      return { behind: await store.behind(records, { signal }) }
    })
  ]
}

function putHandlers(store: KeptMetadata): RpcHandler[] {
  return [
    answerMethod(treeMethods.putNodes, 'write', async ({ ticket, proof, nodes }, { signal }) => {
      const unpacked = { ticket: decodeEnvelope(ticket), nodes: decodeEnvelope(proof) }
      await store.putNodes(await decodeNodes(nodes), unpacked, { signal })
      return {}
    }),
    answerMethod(treeMethods.putPages, 'write', async ({ pages }, { signal }) => {
      await store.putPages(pages, { signal })
      return {}
    }),
    answerMethod(treeMethods.putRecords, 'write', async ({ records }, { signal }) => {
      await store.putRecords(records.map(unpackRecord), { signal })
      return {}
    })
  ]
}

function repairHandlers(store: KeptMetadata): RpcHandler[] {
  return [
    answerMethod(treeMethods.scan, 'read', async (scan, { signal }) => {
      return { keys: await store.scan(scan, { signal }) }
    })
  ]
}

function collectionHandlers(
  store: KeptMetadata,
  { verifier, provider }: { readonly verifier: Verifier; readonly provider: string }
): RpcHandler[] {
  return [
    answerMethod(treeMethods.beginCollection, 'write', async (_request, { signal }) => {
      return { collection: await store.beginCollection({ signal }) }
    }),
    answerMethod(treeMethods.unleased, 'write', async ({ collection, ...scan }, { signal }) => {
      return { keys: await store.unleased(collection, scan, { signal }) }
    }),
    answerMethod(treeMethods.nodeVersions, 'write', async ({ collection, after }, { signal }) => {
      return { versions: await store.nodeVersions(collection, after, { signal }) }
    }),
    answerMethod(treeMethods.collect, 'write', async ({ kind, order }, { signal }) => {
      const envelope = decodeEnvelope(order)
      const { collection, keys } = verifyRetirementOrder(verifier, envelope, { provider, kind })
      return store.collect(collection, { kind, keys }, { signal })
    })
  ]
}

/**
 * Lets those do what needs the right to write who do it for the cluster: metadata providers hand
 * over what they keep, and the provider manager corrects location records.
 */
function alsoForKeepers(handler: RpcHandler): RpcHandler {
  const answer = async (body: Uint8Array, context: RpcContext): Promise<Uint8Array> => {
    const { member } = context
    const isKeeper = member.roles.has('metadata') || member.roles.has('providerManager')
    if (!isKeeper) return handler.answer(body, context)
    const rights: ReadonlySet<Right> = new Set([...member.rights, 'write'])
    return handler.answer(body, { ...context, member: { ...member, rights } })
  }
  return { ...handler, answer }
}

/** Collections of somebody else would end the version manager's; walks take time. */
function onlyFor(role: Role, handler: RpcHandler): RpcHandler {
  const answer = async (body: Uint8Array, context: RpcContext): Promise<Uint8Array> => {
    if (!context.member.roles.has(role)) {
      throw new NotPermittedError(`${handler.name} needs the role ${role}`)
    }
    return handler.answer(body, context)
  }
  return { ...handler, answer }
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
