import type { AbortOptions } from '../lib/abort-options.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Counter } from '../lib/metrics.ts'
import { isGone } from './collection-roots.ts'
import type { DurableState } from './durable-state.ts'
import { TicketConflictError, UnknownBlobError } from './errors.ts'
import { checkLeafListStored } from './leaf-list-codec.ts'
import { type LocalCollectedVersions, rootsView } from './local-collected-versions.ts'
import type { Namespace } from './namespace-types.ts'
import type { NewBlobs } from './new-blobs.ts'
import { pageFetcher } from './page-fetch.ts'
import { PathPublisher } from './path-publisher.ts'
import { PublicationWaiters } from './publication-waiters.ts'
import { RollForward } from './roll-forward.ts'
import type { SealQueue } from './seal-queue.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { SignedTicket, Ticket, TicketRequest } from './ticket-types.ts'
import { signTicket } from './tickets.ts'
import type { BlobDescription, BlobId, Version, VersionRef, VersionSummary } from './types.ts'
import type { VersionManagerState } from './version-manager.ts'
import type { CreateBlobRequest, HoldRequest, VersionManager } from './version-manager-types.ts'
import {
  type LocalVersionManagerComponents,
  type LocalVersionManagerOptions,
  makeVersionParts
} from './version-parts.ts'
import { openedRecord } from './version-record.ts'
import { storeLeafPages } from './version-requests.ts'
import type { WriterLeases } from './writer-leases.ts'

/**
 * The version manager and the namespace on this machine. The rules are in VersionManagerState and
 * NamespaceState, which change in memory at once; every answer, also of what only reads, waits
 * until all that it depends on is on disk. Versions whose writers do not finish are rolled
 * forward.
 */
export class LocalVersionManager implements VersionManager {
  /** The paths of blobs, which are kept in the same file. */
  readonly namespace: Namespace
  /** What collection asks. */
  readonly collected: LocalCollectedVersions
  readonly #components: LocalVersionManagerComponents
  readonly #state: DurableState
  readonly #versions: VersionManagerState
  readonly #newBlobs: NewBlobs
  readonly #waiters = new PublicationWaiters()
  readonly #seals: SealQueue
  readonly #paths: PathPublisher | undefined
  readonly #leases: WriterLeases
  readonly #rollForward: RollForward
  readonly #published: Counter | undefined

  constructor(components: LocalVersionManagerComponents, options: LocalVersionManagerOptions) {
    const { clock, metadata, signer, metrics } = components
    const logger = components.logger.forComponent('blobswarm:metadata:version-manager')
    const onFailure = (error: Error): void => this.#fail(error)
    const onSealed = (blob: BlobId): void => this.#paths?.note(blob)
    const parts = makeVersionParts({ ...components, logger, onFailure, onSealed }, options)
    this.#components = components
    this.namespace = parts.namespace
    this.collected = parts.collected
    this.#state = parts.state
    this.#versions = parts.state.versions
    this.#newBlobs = parts.newBlobs
    this.#seals = parts.seals
    this.#leases = parts.leases
    this.#published = parts.published
    if (options.publishesPaths === true) {
      const pathOf = (blob: BlobId): string | undefined => this.#state.namespace.pathOf(blob)
      const newest = (blob: BlobId): Version | undefined => this.#versions.latest(blob)?.version
      this.#paths = new PathPublisher({ metadata, signer, clock, logger, pathOf, newest })
    }
    this.#rollForward = new RollForward({
      metadata,
      signer,
      clock,
      logger,
      metrics,
      versions: {
        open: () => this.#versions.open(),
        leaseEnd: (ref) => this.#leases.endOf(ref),
        fence: (blob, version) => this.#fence(blob, version),
        commit: (blob, version) => this.commit(blob, version)
      }
    })
    metrics?.gauge('blobswarm_metadata_versions_open', {
      help: 'Versions that wait for their writers to commit',
      read: () => this.#versions.openCount
    })
  }

  /**
   * Loads the state and goes on where an earlier run ended. Called once.
   *
   * @throws {VersionStoreError} if the file is in use, newer than this program or corrupt.
   */
  async start(): Promise<void> {
    await this.#state.start()
    await this.#state.begun(this.#components.clock.now())
    await this.#state.write(this.collected.dropStale())
    for (const { blob, version } of this.#versions.newestUnsealed()) this.#seals.add(blob, version)
    this.#rollForward.check()
  }

  /** Finishes what is being written, gives up sealing and rolling forward, and closes the file. */
  async stop(): Promise<void> {
    this.#waiters.fail(new NotRunningError('version manager'))
    await Promise.all([this.#rollForward.stop(), this.#seals.stop(), this.#paths?.stop()])
    await this.#state.stop()
  }

  async createBlob(
    request: CreateBlobRequest,
    options: AbortOptions = {}
  ): Promise<BlobDescription> {
    this.#state.begin(options)
    this.#newBlobs.check(request)
    const nowMs = this.#components.clock.now()
    return await this.#state.persist(
      this.#versions.createBlob(this.#newBlobs.newId(), request, nowMs)
    )
  }

  async describe(blob: BlobId, options: AbortOptions = {}): Promise<BlobDescription | undefined> {
    return await this.#state.read(() => this.#versions.describe(blob), options)
  }

  async assign(request: TicketRequest, options: AbortOptions = {}): Promise<SignedTicket> {
    this.#state.begin(options)
    const { metadata, signer, clock } = this.#components
    // Without its leaf list a version could never be finished, and those above it neither.
    await storeLeafPages(request, metadata, options)
    await checkLeafListStored(request.leafList, pageFetcher(metadata), options)
    this.#state.begin(options)
    if (request.path !== undefined && this.#state.namespace.blobAt(request.path) !== request.blob) {
      throw new TicketConflictError(`${request.path} no longer names the blob that is written`)
    }
    if (isGone(rootsView(this.#state), this.#versions.blob(request.blob))) {
      throw new UnknownBlobError(request.blob)
    }
    const change = this.#versions.assign(request, clock.now())
    const leaseEndMs = this.#leases.begin(change.result)
    const ticket = await this.#state.persist(change)
    this.#rollForward.expect(leaseEndMs)
    return signTicket(signer, ticket)
  }

  async renew(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<number> {
    this.#state.begin(options)
    const change = this.#versions.renew(blob, version, this.#components.clock.now())
    this.#leases.begin({ blob, version })
    return await this.#state.persist(change)
  }

  async commit(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    const nowMs = this.#components.clock.now()
    const { result: published, rows } = this.#versions.commit(blob, version, nowMs)
    this.#leases.end({ blob, version })
    const shown = published.length === 0 ? [] : this.#state.namespace.show(blob, nowMs)
    this.#state.countBytes(blob)
    await this.#state.write([...rows, ...shown])
    for (const row of published) this.#waiters.announce(blob, row.version)
    this.#published?.add(published.length)
    const newest = published.at(-1)
    if (newest !== undefined) this.#seals.add(blob, newest.version)
  }

  async finish(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<VersionSummary> {
    await this.commit(blob, version, options)
    return await this.waitPublished(blob, version, options)
  }

  async waitPublished(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<VersionSummary> {
    this.#state.begin(options)
    const { condition } = this.#versions.summary(blob, version)
    if (condition === 'assigned' || condition === 'committed') {
      await this.#waiters.wait(blob, version, options)
    }
    return await this.#state.read(() => this.#versions.summary(blob, version), options)
  }

  async latest(blob: BlobId, options: AbortOptions = {}): Promise<VersionSummary | undefined> {
    return await this.#state.read(() => this.#versions.latest(blob), options)
  }

  async sealed(blob: BlobId, options: AbortOptions = {}): Promise<SignedVersionRecord | undefined> {
    const seal = await this.#state.read(() => this.#versions.newestSeal(blob), options)
    return seal === undefined ? undefined : openedRecord(seal)
  }

  async newest(
    blob: BlobId,
    options: AbortOptions = {}
  ): Promise<{ version: Version; bytes: number }> {
    return await this.#state.read(() => this.#versions.newest(blob), options)
  }

  async history(blob: BlobId, options: AbortOptions = {}): Promise<VersionSummary[]> {
    return await this.#state.read(() => this.#versions.history(blob), options)
  }

  /** A part of the history: at most `limit` versions, those above `after`. */
  async historyPage(
    blob: BlobId,
    { after, limit }: { readonly after: Version | undefined; readonly limit: number },
    options: AbortOptions = {}
  ): Promise<VersionSummary[]> {
    return await this.#state.read(() => this.#versions.history(blob, after, limit), options)
  }

  async record(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<SignedVersionRecord> {
    await this.#state.read(() => this.#versions.checkReadable(blob, version), options)
    const record = await this.#seals.record(blob, version, options)
    this.#paths?.note(blob)
    return record
  }

  async retire(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    const { rows } = this.#versions.retire(blob, version)
    const isUnseen = this.#versions.latest(blob) === undefined
    this.#state.countBytes(blob)
    const hidden = isUnseen ? this.#state.namespace.hide(blob, this.#components.clock.now()) : []
    await this.#state.write([...rows, ...hidden])
  }

  async hold(request: HoldRequest, options: AbortOptions = {}): Promise<number> {
    this.#state.begin(options)
    const { holds } = this.#state
    const { blob, version } = request
    if (!holds.isHeld(request)) this.#versions.checkReadable(blob, version)
    const rows = holds.hold(request)
    await this.#state.write(rows)
    return rows[0].untilMs
  }

  async release(hold: Omit<HoldRequest, 'forMs'>, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    await this.#state.write(this.#state.holds.release(hold))
  }

  async setPinned(ref: VersionRef, isPinned: boolean, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    await this.#state.persist(this.#versions.setPinned(ref, isPinned))
  }

  /** Peer id of who may write a version, for servers that check who commits it. */
  async writerOf(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<string> {
    return await this.#state.read(() => this.#versions.version(blob, version).writer, options)
  }

  async #fence(blob: BlobId, version: Version): Promise<Ticket> {
    this.#state.begin({})
    const change = this.#versions.fence(blob, version)
    const ticket = this.#versions.ticket(blob, version)
    await this.#state.persist(change)
    return ticket
  }

  #fail(error: Error): void {
    this.#waiters.fail(error)
    this.#components.onFailure(error)
  }
}
