import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import type {
  ChunkReader,
  ChunkWriter,
  LocateOptions,
  MakeWholeOptions,
  WriteChunkOptions,
  WrittenChunk
} from '../../src/chunks/replica-types.ts'
import { ReplicatedReader } from '../../src/chunks/replicated-reader.ts'
import { ReplicatedWriter } from '../../src/chunks/replicated-writer.ts'
import type { ReservingStore } from '../../src/chunks/store-types.ts'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { GIB } from '../../src/lib/bytes.ts'
import { type Clock, systemClock } from '../../src/lib/clock.ts'
import { type LoggerFactory, noLogger } from '../../src/lib/logger.ts'
import type { Metrics } from '../../src/lib/metrics.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { DiskMetadataStore } from '../../src/metadata/disk-node-store.ts'
import { LocalVersionManager } from '../../src/metadata/local-version-manager.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { Repository } from '../../src/metadata/repository.ts'
import { ManifestSealer } from '../../src/metadata/sealing.ts'
import type { Verifier } from '../../src/metadata/signature-types.ts'
import type { KeptMetadata, MetadataStore } from '../../src/metadata/store-types.ts'
import { type MetadataFaults, metadataWithFaults } from './metadata.ts'
import { type TestSigner, testSigner, trusting } from './signing.ts'

export interface TestRepositoryOptions {
  /** Where chunks and tree nodes are kept; versions are always in a file. @default 'memory' */
  readonly stores?: 'memory' | 'disk'
  /** Folder to use, such as that of a repository that was stopped. @default a new one */
  readonly folder?: string
  /** @default 1 */
  readonly providerCount?: number
  /** Copies of each chunk. @default 1 */
  readonly replicas?: number
  /** @default 'auto' */
  readonly chunkBytes?: number | 'auto'
  readonly readAheadBytes?: number
  readonly uploadBudgetBytes?: number
  /** @default the machine's clock */
  readonly clock?: Clock
  /** What leases go by. @default as `clock` */
  readonly leaseClock?: Clock
  /** How long chunks, pages and records are safe from collection. @default 15 minutes */
  readonly leaseMs?: number
  /** @default drops everything */
  readonly logger?: LoggerFactory
  readonly metrics?: Metrics
}

/**
 * Stands between a repository and its providers: counts what passes and lets tests fail or delay
 * it.
 */
export class ObservedChunks implements ChunkWriter, ChunkReader {
  readonly #writer: ChunkWriter
  readonly #reader: ChunkReader
  /** Calls of `write`, and the bytes in them. */
  writes = 0
  writtenBytes = 0
  /** Calls of `locate`, each for any number of chunks. */
  lookUps = 0
  /** Calls of `read`, and those that have not ended. */
  reads = 0
  openReads = 0
  /** Called before each write and read. */
  onWrite: (id: ChunkId, options: AbortOptions) => Promise<void> = async () => {}
  onRead: (id: ChunkId, options: AbortOptions) => Promise<void> = async () => {}

  constructor(writer: ChunkWriter, reader: ChunkReader) {
    this.#writer = writer
    this.#reader = reader
  }

  async write(
    id: ChunkId,
    bytes: Uint8Array,
    options: WriteChunkOptions = {}
  ): Promise<readonly ProviderId[]> {
    this.writes++
    this.writtenBytes += bytes.byteLength
    await this.onWrite(id, options)
    return await this.#writer.write(id, bytes, options)
  }

  async locate(
    ids: readonly ChunkId[],
    options: LocateOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    this.lookUps++
    return await this.#writer.locate(ids, options)
  }

  async makeWhole(
    chunks: readonly WrittenChunk[],
    options: MakeWholeOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    return await this.#writer.makeWhole(chunks, options)
  }

  async read(
    id: ChunkId,
    hint: readonly ProviderId[],
    options: AbortOptions = {}
  ): Promise<Uint8Array> {
    this.reads++
    this.openReads++
    try {
      await this.onRead(id, options)
      return await this.#reader.read(id, hint, options)
    } finally {
      this.openReads--
    }
  }
}

/** A whole repository in this process: real parts, nothing over a network. */
export interface TestRepository {
  readonly repository: Repository
  readonly versions: LocalVersionManager
  readonly metadata: MetadataStore
  /** The store behind `metadata`, without faults. */
  readonly kept: KeptMetadata
  /** Providers over `stores`. */
  readonly providers: ReadonlyMap<ProviderId, LocalProvider>
  /** What writes and reads chunks, counted. */
  readonly pool: ObservedChunks
  /** Stores by the provider that they belong to. */
  readonly stores: ReadonlyMap<ProviderId, ReservingStore>
  /** Ends a provider: nobody reaches it any more, and its store stays as it is. */
  readonly kill: (provider: ProviderId) => void
  readonly signer: TestSigner
  readonly verifier: Verifier
  readonly faults: MetadataFaults
  readonly folder: string
  readonly stagingFolder: string
  /** Stops everything and removes the folder, unless it is to be used again. */
  stop(options?: { readonly keepFolder?: boolean }): Promise<void>
}

/** Starts a repository in a temporary folder. Stop it in `afterEach`. */
export async function startTestRepository(
  options: TestRepositoryOptions = {}
): Promise<TestRepository> {
  const { stores: kind = 'memory', clock = systemClock, logger = noLogger, metrics } = options
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'blobswarm-repository-')))
  const stagingFolder = join(folder, 'staging')
  await mkdir(stagingFolder, { recursive: true })
  const signer = testSigner()
  const verifier = trusting(signer)
  const { leaseClock = clock, leaseMs } = options
  const keeping = { verifier, clock: leaseClock }
  const onDisk = kind === 'disk' ? new DiskMetadataStore(folder, keeping, { leaseMs }) : undefined
  await onDisk?.start()
  const faults: MetadataFaults = {}
  const kept = onDisk ?? new MemoryMetadataStore(keeping, { leaseMs })
  const metadata = metadataWithFaults(kept, faults)
  const { stores, providers, pool, kill } = await startProviders(options, folder)
  const shared = { metadata, reader: pool, writer: pool, signer, verifier, clock, logger, metrics }
  const versions = new LocalVersionManager(
    {
      ...shared,
      sealer: new ManifestSealer(shared),
      random: seededRandom(1),
      onFailure: (error) => logger.forComponent('test').error('version manager: %e', error)
    },
    { folder }
  )
  await versions.start()
  const { replicas, chunkBytes, readAheadBytes, uploadBudgetBytes } = options
  const repository = new Repository(
    { ...shared, versions, namespace: versions.namespace },
    { stagingFolder, replicas, chunkBytes, readAheadBytes, uploadBudgetBytes, leaseMs }
  )
  let isStopped = false
  const stop: TestRepository['stop'] = async ({ keepFolder = false } = {}) => {
    if (!isStopped) {
      isStopped = true
      await versions.stop()
      await onDisk?.stop()
      for (const store of stores.values()) await store.stop()
    }
    if (!keepFolder) await rm(folder, { recursive: true, force: true })
  }
  const parts = { repository, versions, metadata, kept, pool, stores, providers, kill }
  return { ...parts, signer, verifier, faults, folder, stagingFolder, stop }
}

async function startProviders(
  options: TestRepositoryOptions,
  folder: string
): Promise<Pick<TestRepository, 'stores' | 'providers' | 'pool' | 'kill'>> {
  const { providerCount = 1, replicas = 1, clock = systemClock, logger = noLogger } = options
  const { leaseClock = clock } = options
  const random = seededRandom(2)
  // They report once, here, and never become suspect.
  const never = Number.MAX_SAFE_INTEGER
  const timing = { suspectAfterMs: never, deadAfterMs: never }
  const providers = new LocalProviderManager({ clock, random }, timing)
  const stores = new Map<ProviderId, ReservingStore>()
  const opened = new Map<ProviderId, LocalProvider>()
  for (let number = 1; number <= providerCount; number++) {
    const id = `provider-${number}`
    const store = openStore(options, join(folder, id))
    await store.start()
    stores.set(id, store)
    const leases = new LeaseTable({ clock: leaseClock }, { leaseMs: options.leaseMs })
    const provider = new LocalProvider(id, { store, leases, freeBytes: async () => 100 * GIB })
    opened.set(id, provider)
    await providers.report(await provider.report(`zone-${number}`))
  }
  const components = { directory: { open: (id: ProviderId) => opened.get(id) }, providers, logger }
  const writer = new ReplicatedWriter(components, { replicas })
  const reader = new ReplicatedReader({ ...components, random })
  const kill = (id: ProviderId): void => void opened.delete(id)
  return { stores, providers: opened, pool: new ObservedChunks(writer, reader), kill }
}

function openStore({ stores, logger = noLogger }: TestRepositoryOptions, directory: string) {
  return stores === 'disk'
    ? new DiskStore({ logger }, { directory, durability: 'memory' })
    : new MemoryStore()
}
