import { MIN_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../chunks/types.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Counter } from '../lib/metrics.ts'
import { newBlobId } from './blob-id.ts'
import { isGone } from './collection-roots.ts'
import type { BlobRoots, CollectedVersions } from './collection-types.ts'
import type { DurableState } from './durable-state.ts'
import { TicketConflictError, UnknownBlobError } from './errors.ts'
import { checkLeafListStored } from './leaf-list-codec.ts'
import { type LocalCollectedVersions, rootsView } from './local-collected-versions.ts'
import { LocalNamespace } from './local-namespace.ts'
import { NewFiles } from './new-files.ts'
import { pageFetcher } from './page-fetch.ts'
import { PathPublisher } from './path-publisher.ts'
import { PublicationWaiters } from './publication-waiters.ts'
import { RollForward } from './roll-forward.ts'
import type { SealQueue } from './seal-queue.ts'
import { signTicket } from './tickets.ts'
import type {
  AssignedVersion,
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
  Version,
  VersionManager,
  VersionSummary
} from './types.ts'
import type { VersionManagerState } from './version-manager.ts'
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
export class LocalVersionManager implements VersionManager, Namespace, CollectedVersions {
  readonly #components: LocalVersionManagerComponents
  readonly #clusterId: Uint8Array
  readonly #minChunkBytes: number
  readonly #state: DurableState
  readonly #versions: VersionManagerState
  readonly #namespace: LocalNamespace
  readonly #newFiles: NewFiles
  readonly #waiters = new PublicationWaiters()
  readonly #seals: SealQueue
  readonly #paths: PathPublisher | undefined
  readonly #collected: LocalCollectedVersions
  readonly #leases: WriterLeases
  readonly #rollForward: RollForward
  readonly #published: Counter | undefined

  constructor(components: LocalVersionManagerComponents, options: LocalVersionManagerOptions) {
    const { minChunkBytes = MIN_CHUNK_BYTES } = options
    const { clock, metadata, signer, metrics } = components
    const logger = components.logger.forComponent('blobswarm:metadata:version-manager')
    const onFailure = (error: Error): void => this.#fail(error)
    const onSealed = (blob: BlobId): void => this.#paths?.note(blob)
    const parts = makeVersionParts({ ...components, logger, onFailure, onSealed }, options)
    this.#components = components
    this.#clusterId = options.clusterId ?? new Uint8Array()
    this.#minChunkBytes = minChunkBytes
    this.#state = parts.state
    this.#versions = parts.state.versions
    this.#seals = parts.seals
    this.#collected = parts.collected
    this.#leases = parts.leases
    if (options.publishesPaths === true) {
      const pathOf = (blob: BlobId): string | undefined => this.#state.namespace.pathOf(blob)
      const newest = (blob: BlobId): Version | undefined => this.#versions.latest(blob)?.version
      this.#paths = new PathPublisher({ metadata, signer, clock, logger, pathOf, newest })
    }
    const naming = {
      state: this.#state,
      clock,
      newBlobId: () => this.#newBlobId(),
      checkCreate: (request: CreateBlobRequest) => this.#checkCreate(request)
    }
    this.#namespace = new LocalNamespace(naming)
    this.#newFiles = new NewFiles({ ...naming, metadata, signer })
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
    this.#published = metrics?.counter('blobswarm_metadata_versions_published_total', {
      help: 'Versions that this version manager has published'
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
    await this.#state.write(this.#collected.dropStale())
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
    this.#checkCreate(request)
    const nowMs = this.#components.clock.now()
    return await this.#state.persist(this.#versions.createBlob(this.#newBlobId(), request, nowMs))
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

  async setPinned(ref: NodeRef, isPinned: boolean, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    await this.#state.persist(this.#versions.setPinned(ref, isPinned))
  }

  beganMs(options?: AbortOptions): Promise<number> {
    return this.#collected.beganMs(options)
  }

  applyRetention(
    request: { readonly isDryRun: boolean },
    options?: AbortOptions
  ): Promise<readonly NodeRef[]> {
    return this.#collected.applyRetention(request, options)
  }

  roots(retired: readonly NodeRef[], options?: AbortOptions): Promise<readonly BlobRoots[]> {
    return this.#collected.roots(retired, options)
  }

  assigned(
    blob: BlobId,
    range: { readonly from: Version; readonly to: Version },
    options?: AbortOptions
  ): Promise<readonly AssignedVersion[]> {
    return this.#collected.assigned(blob, range, options)
  }

  recordOf(ref: NodeRef, options?: AbortOptions): Promise<SignedVersionRecord> {
    return this.#collected.recordOf(ref, options)
  }

  forget(blobs: readonly BlobId[], options?: AbortOptions): Promise<void> {
    return this.#collected.forget(blobs, options)
  }

  /** Peer id of who may write a version, for servers that check who commits it. */
  async writerOf(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<string> {
    return await this.#state.read(() => this.#versions.version(blob, version).writer, options)
  }

  lookup(path: string, options?: AbortOptions): Promise<NamespaceEntry | undefined> {
    return this.#namespace.lookup(path, options)
  }

  list(
    path: string,
    request?: { readonly after?: string; readonly limit?: number },
    options?: AbortOptions
  ): Promise<NamespaceEntry[]> {
    return this.#namespace.list(path, request, options)
  }

  makeDirectory(
    path: string,
    request?: { readonly parents?: boolean },
    options?: AbortOptions
  ): Promise<void> {
    return this.#namespace.makeDirectory(path, request, options)
  }

  reserve(
    path: string,
    create: CreateBlobRequest,
    options?: AbortOptions
  ): Promise<BlobDescription> {
    return this.#namespace.reserve(path, create, options)
  }

  isFree(path: string, options?: AbortOptions): Promise<boolean> {
    return this.#namespace.isFree(path, options)
  }

  async publishFile(
    request: NewFileRequest,
    options?: AbortOptions
  ): Promise<VersionSummary | undefined> {
    const made = await this.#newFiles.publish(request, options)
    if (made === undefined) return undefined
    this.#published?.add(1)
    this.#seals.add(made.blob, made.summary.version)
    return made.summary
  }

  remove(
    path: string,
    request: { readonly kind: 'file' | 'directory' | 'any' },
    options?: AbortOptions
  ): Promise<void> {
    return this.#namespace.remove(path, request, options)
  }

  rename(from: string, to: string, options?: AbortOptions): Promise<void> {
    return this.#namespace.rename(from, to, options)
  }

  async clone(from: NodeRef, path: string, options?: AbortOptions): Promise<FileEntry> {
    const entry = await this.#namespace.clone(from, path, options)
    this.#seals.add(entry.blob, entry.version)
    return entry
  }

  setModified(path: string, modifiedMs: number, options?: AbortOptions): Promise<void> {
    return this.#namespace.setModified(path, modifiedMs, options)
  }

  usage(path: string, options?: AbortOptions): Promise<Usage> {
    return this.#namespace.usage(path, options)
  }

  setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options?: AbortOptions
  ): Promise<void> {
    return this.#namespace.setRetention(path, policy, options)
  }

  retention(path: string, options?: AbortOptions): Promise<EffectiveRetention> {
    return this.#namespace.retention(path, options)
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

  #newBlobId(): BlobId {
    const { clock, random } = this.#components
    return newBlobId(this.#clusterId, clock.now(), random)
  }

  #checkCreate({ chunkBytes }: CreateBlobRequest): void {
    if (chunkBytes >= this.#minChunkBytes) return
    throw new RangeError(`a chunk cannot have ${chunkBytes} bytes`)
  }
}
