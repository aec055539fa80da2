import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import type { LoggerFactory } from '../../lib/logger.ts'
import type { CollectionReport } from '../../metadata/collection-types.ts'
import type { Namespace, NamespaceEntry } from '../../metadata/namespace-types.ts'
import { encodeEnvelope } from '../../metadata/signed.ts'
import type { BlobId, Version, VersionRef, VersionSummary } from '../../metadata/types.ts'
import type { VersionManager } from '../../metadata/version-manager-types.ts'
import { InvalidRequestError, NotPermittedError } from '../errors.ts'
import { permitsProtocol, VERSION_PERMISSIONS } from '../rights.ts'
import type { RequestOf } from '../rpc.ts'
import {
  answerMethod,
  permitted,
  type RpcContext,
  type RpcHandler,
  type ServeRpcOptions,
  serveRpc
} from '../rpc-server.ts'
import type { PeerNode } from '../types.ts'
import { takePage } from './schemas.ts'
import {
  MAX_MISSED,
  MAX_PAGE_BYTES,
  MAX_PAGE_VERSIONS,
  MAX_WAIT_MS,
  VERSION_PROTOCOL,
  versionMethods
} from './version.ts'

/** A version manager that knows who may finish a version. */
export interface ServedVersionManager extends VersionManager {
  /** Peer id of who got the ticket of a version. @throws {UnknownVersionError} */
  writerOf(blob: BlobId, version: Version, options?: AbortOptions): Promise<string>
  /** A part of the history: at most `limit` versions, those above `after`. */
  historyPage(
    blob: BlobId,
    request: { readonly after: Version | undefined; readonly limit: number },
    options?: AbortOptions
  ): Promise<VersionSummary[]>
}

/** Runs collections for `collect`. */
export interface ServedCollector {
  collect(
    request: { readonly isDryRun: boolean },
    options?: AbortOptions
  ): Promise<CollectionReport>
}

export interface ServeVersionComponents {
  readonly versions: ServedVersionManager
  readonly namespace: Namespace
  readonly collector: ServedCollector
  readonly clock: Clock
  readonly logger: LoggerFactory
}

const MAX_LIST_ENTRIES = 1000

/** Answers version/1 on a node from now on. */
export async function serveVersion(
  node: PeerNode,
  components: ServeVersionComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  const handlers = permitted(VERSION_PERMISSIONS, [
    ...versionHandlers(components),
    ...retentionHandlers(components),
    ...namespaceHandlers(components.namespace)
  ])
  const { clock } = components
  const logger = components.logger.forComponent('blobswarm:peer:version')
  await node.serve(
    VERSION_PROTOCOL,
    (channel) => serveRpc(channel, { handlers, clock, logger }, options),
    (member) => permitsProtocol(VERSION_PROTOCOL.id, member)
  )
}

function versionHandlers({ versions, clock }: ServeVersionComponents): RpcHandler[] {
  const methods = versionMethods
  return [
    answerMethod(methods.createBlob, (request, { signal }) =>
      versions.createBlob(request, { signal })
    ),
    answerMethod(methods.describe, async ({ blob }, { signal }) => ({
      description: await versions.describe(blob, { signal })
    })),
    answerMethod(methods.assign, (request, context) => assign(versions, request, context)),
    answerMethod(methods.renew, async ({ blob, version }, context) => {
      await checkWriter(versions, { blob, version }, context)
      return { leaseUntilMs: await versions.renew(blob, version, context) }
    }),
    answerMethod(methods.commit, async ({ blob, version }, context) => {
      await checkWriter(versions, { blob, version }, context)
      await versions.commit(blob, version, context)
      return {}
    }),
    answerMethod(methods.finish, async (request, context) => {
      const { blob, version } = request
      await checkWriter(versions, { blob, version }, context)
      await versions.commit(blob, version, context)
      return waitPublished({ versions, clock }, request, context)
    }),
    answerMethod(methods.waitPublished, (request, context) =>
      waitPublished({ versions, clock }, request, context)
    ),
    answerMethod(methods.latest, async ({ blob }, { signal }) => ({
      summary: await versions.latest(blob, { signal })
    })),
    answerMethod(methods.sealed, async ({ blob }, { signal }) => {
      const sealed = await versions.sealed(blob, { signal })
      return { record: sealed && encodeEnvelope(sealed.envelope) }
    }),
    answerMethod(methods.newest, ({ blob }, { signal }) => versions.newest(blob, { signal })),
    answerMethod(methods.history, async ({ blob, after }, { signal }) => {
      const limit = MAX_PAGE_VERSIONS
      const found = await versions.historyPage(blob, { after, limit }, { signal })
      const { items, isCut } = takePage(found, MAX_PAGE_BYTES, summaryBytes)
      return { versions: items, isCut: isCut || found.length === limit }
    }),
    answerMethod(methods.record, async ({ blob, version }, { signal }) => ({
      record: encodeEnvelope((await versions.record(blob, version, { signal })).envelope)
    })),
    answerMethod(methods.retire, async ({ blob, version }, { signal }) => {
      await versions.retire(blob, version, { signal })
      return {}
    })
  ]
}

function retentionHandlers({
  versions,
  namespace,
  collector
}: ServeVersionComponents): RpcHandler[] {
  const methods = versionMethods
  return [
    answerMethod(methods.hold, async (request, context) => {
      checkHolder(request.holder, context)
      return { untilMs: await versions.hold(request, context) }
    }),
    answerMethod(methods.release, async (hold, context) => {
      checkHolder(hold.holder, context)
      await versions.release(hold, context)
      return {}
    }),
    answerMethod(methods.setPinned, async ({ isPinned, ...ref }, { signal }) => {
      await versions.setPinned(ref, isPinned, { signal })
      return {}
    }),
    answerMethod(methods.setRetention, async ({ path, policy }, { signal }) => {
      await namespace.setRetention(path, policy, { signal })
      return {}
    }),
    answerMethod(methods.retention, ({ path }, { signal }) =>
      namespace.retention(path, { signal })
    ),
    answerMethod(methods.collect, async ({ isDryRun }, { signal }) => {
      const report = await collector.collect({ isDryRun }, { signal })
      return { report: { ...report, missed: report.missed.slice(0, MAX_MISSED) } }
    })
  ]
}

function namespaceHandlers(namespace: Namespace): RpcHandler[] {
  const methods = versionMethods
  return [
    answerMethod(methods.lookup, async ({ path }, { signal }) => ({
      entry: await namespace.lookup(path, { signal })
    })),
    answerMethod(methods.list, async ({ path, after, limit }, { signal }) => {
      if (limit < 1) throw new InvalidRequestError('a listing of no entries')
      const bounded = { limit: Math.min(limit, MAX_LIST_ENTRIES), ...(after && { after }) }
      const found = await namespace.list(path, bounded, { signal })
      const { items, isCut } = takePage(found, MAX_PAGE_BYTES, entryBytes)
      return {
        entries: items,
        isCut: isCut || (found.length === bounded.limit && bounded.limit < limit)
      }
    }),
    answerMethod(methods.makeDirectory, async ({ path, parents }, { signal }) => {
      await namespace.makeDirectory(path, { parents }, { signal })
      return {}
    }),
    answerMethod(methods.reserve, ({ path, ...create }, { signal }) =>
      namespace.reserve(path, create, { signal })
    ),
    answerMethod(methods.isFree, async ({ path }, { signal }) => ({
      isFree: await namespace.isFree(path, { signal })
    })),
    answerMethod(methods.publishFile, async (request, { member, signal }) => {
      checkAsker(request.writer, member.peerId)
      return { summary: await namespace.publishFile(request, { signal }) }
    }),
    answerMethod(methods.remove, async ({ path, kind }, { signal }) => {
      await namespace.remove(path, { kind }, { signal })
      return {}
    }),
    answerMethod(methods.rename, async ({ from, to }, { signal }) => {
      await namespace.rename(from, to, { signal })
      return {}
    }),
    answerMethod(methods.setModified, async ({ path, modifiedMs }, { signal }) => {
      await namespace.setModified(path, modifiedMs, { signal })
      return {}
    }),
    answerMethod(methods.usage, ({ path }, { signal }) => namespace.usage(path, { signal })),
    answerMethod(methods.clone, async ({ path, ...from }, { signal }) => ({
      entry: await namespace.clone(from, path, { signal })
    }))
  ]
}

async function assign(
  versions: VersionManager,
  request: RequestOf<typeof versionMethods.assign>,
  { member, signal }: RpcContext
): Promise<{ ticket: Uint8Array }> {
  checkAsker(request.writer, member.peerId)
  const ranges = request.ranges.map(([start, end]) => ({ start, end }))
  const { envelope } = await versions.assign({ ...request, ranges }, { signal })
  return { ticket: encodeEnvelope(envelope) }
}

function checkAsker(writer: string, asker: string): void {
  if (writer !== asker) throw new NotPermittedError(`a ticket for ${writer} asked by ${asker}`)
}

function checkHolder(holder: string, { member }: RpcContext): void {
  if (holder === member.peerId) return
  throw new NotPermittedError(`a hold for ${holder} asked by ${member.peerId}`)
}

async function checkWriter(
  versions: ServedVersionManager,
  { blob, version }: VersionRef,
  { member, signal }: RpcContext
): Promise<void> {
  const writer = await versions.writerOf(blob, version, { signal })
  if (writer === member.peerId) return
  throw new NotPermittedError(`version ${version} was assigned to ${writer}, not ${member.peerId}`)
}

async function waitPublished(
  { versions, clock }: Pick<ServeVersionComponents, 'versions' | 'clock'>,
  request: RequestOf<typeof versionMethods.waitPublished>,
  { signal }: RpcContext
): Promise<{ summary?: VersionSummary }> {
  const { blob, version, waitMs } = request
  const timeUp = new AbortController()
  const cancel = clock.schedule(() => timeUp.abort(), Math.min(waitMs, MAX_WAIT_MS))
  const both = AbortSignal.any([signal, timeUp.signal])
  try {
    return { summary: await versions.waitPublished(blob, version, { signal: both }) }
  } catch (error) {
    if (timeUp.signal.aborted && error === both.reason) return {}
    throw error
  } finally {
    cancel()
  }
}

function summaryBytes({ note }: VersionSummary): number {
  return 128 + note.length * 3
}

function entryBytes({ path }: NamespaceEntry): number {
  return 192 + path.length * 3
}
