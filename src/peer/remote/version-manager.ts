import { isDeepStrictEqual } from 'node:util'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { equalBytes } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { CollectionReport } from '../../metadata/collection-types.ts'
import { UntrustedSignatureError } from '../../metadata/errors.ts'
import type { Namespace } from '../../metadata/namespace-types.ts'
import type { SignedVersionRecord } from '../../metadata/sealing-types.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { decodeEnvelope } from '../../metadata/signed.ts'
import type { SignedTicket, Ticket, TicketRequest } from '../../metadata/ticket-types.ts'
import { verifyTicket } from '../../metadata/tickets.ts'
import type {
  BlobDescription,
  BlobId,
  Version,
  VersionRef,
  VersionSummary
} from '../../metadata/types.ts'
import type {
  CreateBlobRequest,
  HoldRequest,
  VersionManager
} from '../../metadata/version-manager-types.ts'
import { verifyRecord } from '../../metadata/version-record.ts'
import { rangesOf } from '../../metadata/version-requests.ts'
import { ProtocolViolationError } from '../errors.ts'
import { VERSION_PROTOCOL, versionMethods } from '../protocols/version.ts'
import type { PeerNode } from '../types.ts'
import type { FindRole } from './find-role.ts'
import { RemoteNamespace } from './namespace.ts'
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
export class RemoteVersionManager implements VersionManager {
  /** The paths of blobs. */
  readonly namespace: Namespace
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
    this.namespace = new RemoteNamespace(this.#caller)
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
    { blob, version }: VersionRef,
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
