import { MIN_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../chunks/types.ts'
import { blake3 } from '../lib/blake3.ts'
import { ByteWriter, toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import { DurableState } from './durable-state.ts'
import { MetadataMissingError, TicketConflictError } from './errors.ts'
import { LocalNamespace } from './local-namespace.ts'
import { NamespaceState } from './namespace.ts'
import { PublicationWaiters } from './publication-waiters.ts'
import { RollForward } from './roll-forward.ts'
import { SealQueue } from './seal-queue.ts'
import { signTicket } from './tickets.ts'
import type {
  BlobDescription,
  BlobId,
  CreateBlobRequest,
  MetadataStore,
  Namespace,
  NamespaceEntry,
  NodeRef,
  Sealer,
  SignedTicket,
  SignedVersionRecord,
  Signer,
  Ticket,
  TicketRequest,
  Verifier,
  Version,
  VersionManager,
  VersionSummary
} from './types.ts'
import { VersionManagerState } from './version-manager.ts'
import { verifyRecord } from './version-record.ts'
import { SqliteVersionStore } from './version-store.ts'

export interface LocalVersionManagerComponents {
  readonly sealer: Sealer
  /** Where leaf lists are read and the nodes of rolled-forward versions are put. */
  readonly metadata: MetadataStore
  /** Signs tickets, and the nodes of versions that are rolled forward. */
  readonly signer: Signer
  /** Trusts at least the signer. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** Told once if the state can no longer be made durable; everything is refused from then on. */
  readonly onFailure: (error: Error) => void
}

export interface LocalVersionManagerOptions {
  /** Folder for the state's file. */
  readonly folder: string
  /** Public key of the cluster's authority, which goes into blob ids. @default no bytes */
  readonly clusterId?: Uint8Array | undefined
  /** How long a writer has for weaving before its version is finished for it. @default 30000 */
  readonly leaseMs?: number | undefined
  /** How long nothing must have been published before sealing begins unasked. @default 200 */
  readonly sealIdleMs?: number | undefined
  /** How long the path of an upload that never finished stays reserved. @default 7 days */
  readonly reservationMs?: number | undefined
  /** Smallest chunk size of a new blob. @default MIN_CHUNK_BYTES */
  readonly minChunkBytes?: number | undefined
  /** Files, folders and reservations. @default 4000000 */
  readonly maxEntries?: number | undefined
}

const DAY_MS = 86_400_000
const NONCE_WORDS = 8

/**
 * The version manager and the namespace on this machine. The rules are in VersionManagerState and
 * NamespaceState, which change in memory at once; every answer, also of what only reads, waits
 * until all that it depends on is on disk. Versions whose writers do not finish are rolled
 * forward.
 */
export class LocalVersionManager implements VersionManager, Namespace {
  readonly #components: LocalVersionManagerComponents
  readonly #clusterId: Uint8Array
  readonly #reservationMs: number
  readonly #minChunkBytes: number
  readonly #state: DurableState
  readonly #versions: VersionManagerState
  readonly #namespace: LocalNamespace
  readonly #waiters = new PublicationWaiters()
  readonly #seals: SealQueue
  readonly #rollForward: RollForward
  readonly #published: Counter | undefined

  constructor(components: LocalVersionManagerComponents, options: LocalVersionManagerOptions) {
    const { clusterId = new Uint8Array(), reservationMs = 7 * DAY_MS } = options
    const { leaseMs = 30_000, sealIdleMs, maxEntries, minChunkBytes = MIN_CHUNK_BYTES } = options
    this.#components = components
    this.#clusterId = clusterId
    this.#reservationMs = reservationMs
    this.#minChunkBytes = minChunkBytes
    const { clock, sealer, metadata, signer, verifier, metrics } = components
    const logger = components.logger.forComponent('blobswarm:metadata:version-manager')
    this.#versions = new VersionManagerState({ leaseMs })
    this.#state = new DurableState({
      store: new SqliteVersionStore(options.folder),
      versions: this.#versions,
      namespace: new NamespaceState(maxEntries === undefined ? {} : { maxEntries }),
      onFailure: (error) => this.#fail(error)
    })
    this.#namespace = new LocalNamespace({
      state: this.#state,
      clock,
      newBlobId: () => this.#newBlobId(),
      checkCreate: (request) => this.#checkCreate(request)
    })
    this.#seals = new SealQueue(
      {
        versions: this.#versions,
        sealer,
        clock,
        logger,
        keep: async (blob, version, seal) => {
          verifyRecord(verifier, seal, { blob, version })
          await this.#state.persist(this.#versions.sealed(blob, version, seal))
        }
      },
      sealIdleMs === undefined ? {} : { idleMs: sealIdleMs }
    )
    this.#published = metrics?.counter('blobswarm_metadata_versions_published_total', {
      help: 'Versions that this version manager has published'
    })
    metrics?.gauge('blobswarm_metadata_versions_open', {
      help: 'Versions that wait for their writers to commit',
      read: () => this.#versions.openCount
    })
    this.#rollForward = new RollForward({
      metadata,
      signer,
      clock,
      logger,
      metrics,
      versions: {
        open: () => this.#versions.open(),
        fence: (blob, version) => this.#fence(blob, version),
        commit: (blob, version) => this.commit(blob, version)
      }
    })
  }

  /**
   * Loads the state and goes on where an earlier run ended. Called once.
   *
   * @throws {VersionStoreError} if the file is in use, newer than this program or corrupt.
   */
  async start(): Promise<void> {
    await this.#state.start()
    const stale = this.#components.clock.now() - this.#reservationMs
    const isWritten = (blob: BlobId): boolean => this.#versions.newest(blob).version > 0
    await this.#state.write(this.#state.namespace.dropReservations(stale, isWritten))
    for (const { blob, version, seal, condition } of this.#versions.newestPublished()) {
      if (seal === undefined && condition === 'published') this.#seals.add(blob, version)
    }
    this.#rollForward.check()
  }

  /** Finishes what is being written, gives up sealing and rolling forward, and closes the file. */
  async stop(): Promise<void> {
    this.#waiters.fail(new NotRunningError('version manager'))
    await Promise.all([this.#rollForward.stop(), this.#seals.stop()])
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

  /** Makes a blob whose version 0 stands for a published version of another. O(1). */
  async clone(from: NodeRef, options: AbortOptions = {}): Promise<BlobDescription> {
    this.#state.begin(options)
    const nowMs = this.#components.clock.now()
    return await this.#state.persist(this.#versions.cloneBlob(this.#newBlobId(), from, nowMs))
  }

  async describe(blob: BlobId, options: AbortOptions = {}): Promise<BlobDescription | undefined> {
    return await this.#state.read(() => this.#versions.describe(blob), options)
  }

  async assign(request: TicketRequest, options: AbortOptions = {}): Promise<SignedTicket> {
    this.#state.begin(options)
    const { metadata, signer, clock } = this.#components
    // Without its leaf list a version could never be finished, and those above it neither.
    const [leafList] = await metadata.getPages([request.leafList], options)
    if (leafList === undefined) {
      throw new MetadataMissingError(`leaf list ${toHex(request.leafList).slice(0, 16)}`)
    }
    this.#state.begin(options)
    if (request.path !== undefined && this.#state.namespace.blobAt(request.path) !== request.blob) {
      throw new TicketConflictError(`${request.path} no longer names the blob that is written`)
    }
    const ticket = await this.#state.persist(this.#versions.assign(request, clock.now()))
    this.#rollForward.expect(ticket.leaseUntilMs)
    return signTicket(signer, ticket)
  }

  async renew(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<number> {
    this.#state.begin(options)
    return await this.#state.persist(
      this.#versions.renew(blob, version, this.#components.clock.now())
    )
  }

  async commit(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    const nowMs = this.#components.clock.now()
    const { result: published, rows } = this.#versions.commit(blob, version, nowMs)
    const shown = published.length === 0 ? [] : this.#state.namespace.show(blob, nowMs)
    await this.#state.write([...rows, ...shown])
    for (const row of published) this.#waiters.announce(blob, row.version)
    this.#published?.add(published.length)
    const newest = published.at(-1)
    if (newest !== undefined) this.#seals.add(blob, newest.version)
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

  async newest(
    blob: BlobId,
    options: AbortOptions = {}
  ): Promise<{ version: Version; bytes: number }> {
    return await this.#state.read(() => this.#versions.newest(blob), options)
  }

  async history(blob: BlobId, options: AbortOptions = {}): Promise<VersionSummary[]> {
    return await this.#state.read(() => this.#versions.history(blob), options)
  }

  async record(
    blob: BlobId,
    version: Version,
    options: AbortOptions = {}
  ): Promise<SignedVersionRecord> {
    await this.#state.read(() => this.#versions.checkReadable(blob, version), options)
    return await this.#seals.record(blob, version, options)
  }

  async retire(blob: BlobId, version: Version, options: AbortOptions = {}): Promise<void> {
    this.#state.begin(options)
    const { rows } = this.#versions.retire(blob, version)
    const isGone = this.#versions.latest(blob) === undefined
    const hidden = isGone ? this.#state.namespace.hide(blob, this.#components.clock.now()) : []
    await this.#state.write([...rows, ...hidden])
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

  async #fence(blob: BlobId, version: Version): Promise<Ticket> {
    this.#state.begin({})
    await this.#state.persist(this.#versions.fence(blob, version))
    return this.#versions.ticket(blob, version)
  }

  #fail(error: Error): void {
    this.#waiters.fail(error)
    this.#components.onFailure(error)
  }

  #newBlobId(): BlobId {
    const writer = new ByteWriter().bytes(this.#clusterId).u64(this.#components.clock.now())
    for (let word = 0; word < NONCE_WORDS; word++) {
      writer.u32(Math.floor(this.#components.random() * 2 ** 32))
    }
    return toHex(blake3(writer.finish()))
  }

  #checkCreate({ chunkBytes }: CreateBlobRequest): void {
    if (chunkBytes >= this.#minChunkBytes) return
    throw new RangeError(`a chunk cannot have ${chunkBytes} bytes`)
  }
}
