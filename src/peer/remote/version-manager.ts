import { isDeepStrictEqual } from 'node:util'
import type { AbortOptions } from '../../chunks/types.ts'
import { equalBytes } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { errorCode, MalformedError } from '../../lib/errors.ts'
import type { CollectionReport } from '../../metadata/collection-types.ts'
import { UntrustedSignatureError } from '../../metadata/errors.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import { verifyTicket } from '../../metadata/tickets.ts'
import type {
  BlobDescription,
  BlobId,
  CreateBlobRequest,
  EffectiveRetention,
  FileEntry,
  HoldRequest,
  Namespace,
  NamespaceEntry,
  NewFileRequest,
  NodeRef,
  RetentionPolicy,
  SignedTicket,
  SignedVersionRecord,
  Ticket,
  TicketRequest,
  Usage,
  Verifier,
  Version,
  VersionManager,
  VersionSummary
} from '../../metadata/types.ts'
import { verifyRecord } from '../../metadata/version-record.ts'
import { rangesOf } from '../../metadata/version-requests.ts'
import { ProtocolViolationError } from '../errors.ts'
import { VERSION_PROTOCOL, versionMethods } from '../protocols/version.ts'
import type { PeerNode } from '../types.ts'
import type { FindRole } from './find-role.ts'
import { PersistentCaller, type PersistentCallerOptions } from './persistent-caller.ts'

export interface RemoteVersionManagerComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** Checks what the version manager signed. */
  readonly verifier: Verifier
  /** Who is the version manager now. */
  readonly find: FindRole
}

export interface RemoteVersionManagerOptions extends PersistentCallerOptions {
  /** How long the version manager holds one request to wait, in milliseconds. @default 20000 */
  waitMs?: number
}

/** Entries of a directory when the caller does not say how many. */
const DEFAULT_LIST_LIMIT = 1000

/** Long requests of `finish` at a time; half of those that one channel has room for. */
const MAX_FINISHING = 64

/** Time for the answer to a wait, beyond the wait itself. */
const WAIT_MARGIN_MS = 10_000

/**
 * The version manager and the namespace of the cluster, over the network. Calls are tried again
 * while it restarts, but those that would do something twice are sent once only: `assign`, `clone`,
 * `rename`, `remove`, `collect` and `makeDirectory` without parents reject with PeerUnreachableError or
 * PeerTimeoutError when their answer was lost, and may have happened. Refusals are RemoteErrors
 * with the codes of metadata/errors.ts.
 */
export class RemoteVersionManager implements VersionManager, Namespace {
  readonly #caller: PersistentCaller
  readonly #verifier: Verifier
  readonly #waitMs: number
  #finishingCount = 0

  constructor(
    components: RemoteVersionManagerComponents,
    options: RemoteVersionManagerOptions = {}
  ) {
    const { waitMs = 20_000, ...callerOptions } = options
    const { node, clock, find, verifier } = components
    this.#caller = new PersistentCaller(
      { node, clock, spec: VERSION_PROTOCOL, find, what: 'the version manager' },
      callerOptions
    )
    this.#verifier = verifier
    this.#waitMs = waitMs
  }

  /** Ends what is in flight. */
  async stop(): Promise<void> {
    await this.#caller.close()
  }

  async createBlob(
    { chunkBytes, replicas, sizeHint }: CreateBlobRequest,
    options?: AbortOptions
  ): Promise<BlobDescription> {
    // A blob whose answer was lost has no version and no name: it costs a row.
    const request = { chunkBytes, replicas, sizeHint }
    return this.#caller.call(versionMethods.createBlob, request, 'repeatable', options)
  }

  async describe(blob: BlobId, options?: AbortOptions): Promise<BlobDescription | undefined> {
    const { describe } = versionMethods
    return (await this.#caller.call(describe, { blob }, 'repeatable', options)).description
  }

  async assign(request: TicketRequest, options?: AbortOptions): Promise<SignedTicket> {
    const ranges = request.ranges.map(({ start, end }): [number, number] => [start, end])
    const { assign } = versionMethods
    const answer = await this.#caller.call(assign, { ...request, ranges }, 'once', options)
    return this.#believe(() => {
      const signed = verifyTicket(this.#verifier, decodeEnvelope(answer.ticket))
      checkTicketFor(request, signed.ticket)
      return signed
    })
  }

  async renew(blob: BlobId, version: Version, options?: AbortOptions): Promise<number> {
    const { renew } = versionMethods
    return (await this.#caller.call(renew, { blob, version }, 'repeatable', options)).leaseUntilMs
  }

  async commit(blob: BlobId, version: Version, options?: AbortOptions): Promise<void> {
    await this.#caller.call(versionMethods.commit, { blob, version }, 'repeatable', options)
  }

  async finish(blob: BlobId, version: Version, options?: AbortOptions): Promise<VersionSummary> {
    const summary = await this.#finish(blob, version, options)
    return summary ?? (await this.waitPublished(blob, version, options))
  }

  async waitPublished(
    blob: BlobId,
    version: Version,
    options?: AbortOptions
  ): Promise<VersionSummary> {
    const request = { blob, version, waitMs: this.#waitMs }
    const callOptions = { ...options, timeoutMs: this.#waitMs + WAIT_MARGIN_MS }
    for (;;) {
      const { waitPublished } = versionMethods
      const { summary } = await this.#caller.call(waitPublished, request, 'repeatable', callOptions)
      if (summary !== undefined) return summary
    }
  }

  /** @returns undefined when the version is committed but not published yet. */
  async #finish(
    blob: BlobId,
    version: Version,
    options?: AbortOptions
  ): Promise<VersionSummary | undefined> {
    // Those that wait keep their slots: others, which they may wait for, must find one all the same.
    if (this.#finishingCount >= MAX_FINISHING) {
      await this.commit(blob, version, options)
      return undefined
    }
    this.#finishingCount += 1
    try {
      const request = { blob, version, waitMs: this.#waitMs }
      const callOptions = { ...options, timeoutMs: this.#waitMs + WAIT_MARGIN_MS }
      const { finish } = versionMethods
      return (await this.#caller.call(finish, request, 'repeatable', callOptions)).summary
    } finally {
      this.#finishingCount -= 1
    }
  }

  async latest(blob: BlobId, options?: AbortOptions): Promise<VersionSummary | undefined> {
    return (await this.#caller.call(versionMethods.latest, { blob }, 'repeatable', options)).summary
  }

  async sealed(blob: BlobId, options?: AbortOptions): Promise<SignedVersionRecord | undefined> {
    const { sealed } = versionMethods
    const { record } = await this.#caller.call(sealed, { blob }, 'repeatable', options)
    if (record === undefined) return undefined
    return this.#believe(() => {
      const signed = verifyRecord(this.#verifier, decodeEnvelope(record))
      if (signed.record.blob === blob) return signed
      throw new UntrustedSignatureError('a version record of another blob')
    })
  }

  async newest(blob: BlobId, options?: AbortOptions): Promise<{ version: Version; bytes: number }> {
    return this.#caller.call(versionMethods.newest, { blob }, 'repeatable', options)
  }

  async history(blob: BlobId, options?: AbortOptions): Promise<VersionSummary[]> {
    const all: VersionSummary[] = []
    for (;;) {
      const request = { blob, after: all.at(-1)?.version }
      const { history } = versionMethods
      const answer = await this.#caller.call(history, request, 'repeatable', options)
      all.push(...answer.versions)
      if (!answer.isCut || answer.versions.length === 0) return all
    }
  }

  async record(
    blob: BlobId,
    version: Version,
    options?: AbortOptions
  ): Promise<SignedVersionRecord> {
    const request = { blob, version }
    const { record } = await this.#caller.call(
      versionMethods.record,
      request,
      'repeatable',
      options
    )
    return this.#believe(() => verifyRecord(this.#verifier, decodeEnvelope(record), request))
  }

  async retire(blob: BlobId, version: Version, options?: AbortOptions): Promise<void> {
    await this.#caller.call(versionMethods.retire, { blob, version }, 'repeatable', options)
  }

  async hold(request: HoldRequest, options?: AbortOptions): Promise<number> {
    const { hold } = versionMethods
    return (await this.#caller.call(hold, request, 'repeatable', options)).untilMs
  }

  async release(hold: Omit<HoldRequest, 'forMs'>, options?: AbortOptions): Promise<void> {
    await this.#caller.call(versionMethods.release, hold, 'repeatable', options)
  }

  async setPinned(
    { blob, version }: NodeRef,
    isPinned: boolean,
    options?: AbortOptions
  ): Promise<void> {
    const request = { blob, version, isPinned }
    await this.#caller.call(versionMethods.setPinned, request, 'repeatable', options)
  }

  /** Collects what nothing reaches; takes up to an hour. */
  async collect(
    { isDryRun }: { readonly isDryRun: boolean },
    options?: AbortOptions
  ): Promise<CollectionReport> {
    const { collect } = versionMethods
    return (await this.#caller.call(collect, { isDryRun }, 'once', options)).report
  }

  async lookup(path: string, options?: AbortOptions): Promise<NamespaceEntry | undefined> {
    return (await this.#caller.call(versionMethods.lookup, { path }, 'repeatable', options)).entry
  }

  async list(
    path: string,
    request: { readonly after?: string; readonly limit?: number } = {},
    options?: AbortOptions
  ): Promise<NamespaceEntry[]> {
    const { limit = DEFAULT_LIST_LIMIT } = request
    const all: NamespaceEntry[] = []
    let { after } = request
    while (all.length < limit) {
      const page = { path, after, limit: limit - all.length }
      const { list } = versionMethods
      const { entries, isCut } = await this.#caller.call(list, page, 'repeatable', options)
      all.push(...entries)
      const last = entries.at(-1)
      if (!isCut || last === undefined) break
      after = last.path.slice(last.path.lastIndexOf('/') + 1)
    }
    return all
  }

  async makeDirectory(
    path: string,
    request: { readonly parents?: boolean } = {},
    options?: AbortOptions
  ): Promise<void> {
    const { parents = false } = request
    const repeatable = parents ? 'repeatable' : 'once'
    await this.#caller.call(versionMethods.makeDirectory, { path, parents }, repeatable, options)
  }

  async reserve(
    path: string,
    { chunkBytes, replicas, sizeHint }: CreateBlobRequest,
    options?: AbortOptions
  ): Promise<BlobDescription> {
    const request = { path, chunkBytes, replicas, sizeHint }
    return this.#caller.call(versionMethods.reserve, request, 'repeatable', options)
  }

  async isFree(path: string, options?: AbortOptions): Promise<boolean> {
    return (await this.#caller.call(versionMethods.isFree, { path }, 'repeatable', options)).isFree
  }

  async publishFile(
    request: NewFileRequest,
    options?: AbortOptions
  ): Promise<VersionSummary | undefined> {
    try {
      const leafPages = Array.from(request.leafPages)
      const { publishFile } = versionMethods
      const asked = { ...request, leafPages }
      return (await this.#caller.call(publishFile, asked, 'once', options)).summary
    } catch (error) {
      const code = errorCode(error)
      if (code !== 'ERR_PEER_UNREACHABLE' && code !== 'ERR_PEER_TIMEOUT') throw error
      return undefined
    }
  }

  async remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options?: AbortOptions
  ): Promise<void> {
    const { kind } = request
    await this.#caller.call(versionMethods.remove, { path, kind }, 'once', options)
  }

  async rename(from: string, to: string, options?: AbortOptions): Promise<void> {
    await this.#caller.call(versionMethods.rename, { from, to }, 'once', options)
  }

  async setModified(path: string, modifiedMs: number, options?: AbortOptions): Promise<void> {
    const request = { path, modifiedMs }
    await this.#caller.call(versionMethods.setModified, request, 'repeatable', options)
  }

  async usage(path: string, options?: AbortOptions): Promise<Usage> {
    return this.#caller.call(versionMethods.usage, { path }, 'repeatable', options)
  }

  async clone(
    { blob, version }: NodeRef,
    path: string,
    options?: AbortOptions
  ): Promise<FileEntry> {
    const request = { blob, version, path }
    return (await this.#caller.call(versionMethods.clone, request, 'once', options)).entry
  }

  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options?: AbortOptions
  ): Promise<void> {
    const request = { path, policy }
    await this.#caller.call(versionMethods.setRetention, request, 'repeatable', options)
  }

  async retention(path: string, options?: AbortOptions): Promise<EffectiveRetention> {
    const { policy, setFor } = await this.#caller.call(
      versionMethods.retention,
      { path },
      'repeatable',
      options
    )
    return { policy, setFor }
  }

  /** Reads what the version manager has signed. @throws {ProtocolViolationError} naming it if that does not hold. */
  #believe<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof UntrustedSignatureError || error instanceof MalformedError))
        throw error
      const peerId = this.#caller.peerId ?? 'the version manager'
      throw new ProtocolViolationError(peerId, error.message, { cause: error })
    }
  }
}

/** @throws {UntrustedSignatureError} if a ticket is not the one that was asked for. */
function checkTicketFor(request: TicketRequest, ticket: Ticket): void {
  const { blob, writer, leafList, truncates, endBytes } = request
  const ranges = rangesOf(request, ticket.chunkBytes)
  const isAsked =
    ticket.blob === blob &&
    ticket.writer === writer &&
    equalBytes(ticket.leafList, leafList) &&
    ticket.truncates === truncates &&
    (truncates ? ticket.bytes === endBytes : ticket.bytes >= endBytes) &&
    isDeepStrictEqual(ticket.ranges, ranges)
  if (!isAsked) throw new UntrustedSignatureError('a ticket for something else than was asked for')
}
