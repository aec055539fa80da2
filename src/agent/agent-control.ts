import { createHash } from 'node:crypto'
import { checkChunkBytes } from '../chunks/chunk-size.ts'
import type { MaintainedDirectory, RepairOverview } from '../chunks/maintenance-types.ts'
import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type {
  AbortOptions,
  CheckableStore,
  ChunkReader,
  ProviderId,
  ProviderManager
} from '../chunks/types.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { EventLog } from '../lib/events.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { CollectionProgress } from '../metadata/collection.ts'
import type { CollectionReport } from '../metadata/collection-types.ts'
import { PathNotFoundError } from '../metadata/errors.ts'
import { parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { PageStore, RecordStore } from '../metadata/store-types.ts'
import type {
  NamespaceEntry,
  RetentionPolicy,
  Verifier,
  VersionSummary
} from '../metadata/types.ts'
import type { MetadataList } from '../peer/metadata-list.ts'
import type { Libp2pNode } from '../peer/node.ts'
import type { RateLimits } from '../peer/swarm/description.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { Role } from '../peer/types.ts'
import type { ClusterControl } from './cluster-control.ts'
import { clusterHealth } from './cluster-health.ts'
import { BadRequestError, ImageNotCachedError } from './errors.ts'
import type { CachedImage, ImageCache } from './image-cache.ts'
import type { ImageCatalogue } from './image-catalogue.ts'
import { ImageOpener } from './image-opener.ts'
import type {
  AgentOperations,
  CreateRequest,
  DiffResult,
  EvictResult,
  ImageVersion,
  ListedMember,
  ListedPeer,
  ListedProvider,
  ListedToken,
  LongOptions,
  MergeRequest,
  PrefetchResult,
  PullRequest,
  PullResult,
  PushRequest,
  PushResult,
  RateLimitChange,
  RetentionResult,
  StatResult,
  TokenRequest,
  VerifyResult
} from './operations.ts'
import type { PartialFiles } from './partial-files.ts'
import { listProviders, setProviderDraining } from './provider-list.ts'
import type { PullEvent } from './pull-report.ts'
import { Puller } from './puller.ts'
import { pushBody } from './pusher.ts'
import { SteadyProgress } from './steady-progress.ts'
import { SwarmControl } from './swarm-control.ts'
import { ImageVerifier } from './verifier.ts'

/** Runs collections: the version manager's own collector, or the version manager's agent. */
export interface CollectionRunner {
  collect(
    request: { readonly isDryRun: boolean },
    options?: AbortOptions & {
      readonly onProgress?: ((progress: CollectionProgress) => void) | undefined
    }
  ): Promise<CollectionReport>
}

/** The parts of the agent that operations use. */
export interface AgentControlComponents {
  readonly repository: Repository
  readonly swarm: SwarmService
  readonly store: CheckableStore
  readonly reader: ChunkReader
  readonly directory: MaintainedDirectory
  /** This agent's own store as a provider, if it is one. */
  readonly provider?: { readonly id: ProviderId } | undefined
  readonly providers: ProviderManager
  readonly repair: RepairOverview
  readonly metadata: PageStore & RecordStore
  readonly verifier: Verifier
  /** Present at a metadata provider. */
  readonly handOver?: { readonly figures: object } | undefined
  /** Present at a provider. */
  readonly scrubber?: { readonly figures: object } | undefined
  /** Broken uploads of this agent's front. */
  readonly keptUploads?: { readonly figures: object } | undefined
  readonly cache: ImageCache
  readonly catalogue: ImageCatalogue
  readonly readBuffers: ReadBuffers
  readonly partials: PartialFiles
  readonly collector: CollectionRunner
  readonly cluster: ClusterControl
  readonly node: Libp2pNode
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly events?: EventLog<PullEvent> | undefined
}

/** What the agent says of itself. */
export interface AgentControlOptions {
  readonly version: string
  readonly roles: readonly Role[]
  readonly zone: string
  /** Copies that each chunk shall have. */
  readonly replicas: number
  readonly metadataList: () => MetadataList | undefined
}

/** What client commands can ask of this agent. */
export class AgentControl implements AgentOperations {
  readonly #components: AgentControlComponents
  readonly #options: AgentControlOptions
  readonly #puller: Puller
  readonly #verifier: ImageVerifier
  readonly #swarm: SwarmControl
  readonly #startedMs: number

  constructor(components: AgentControlComponents, options: AgentControlOptions) {
    this.#components = components
    this.#options = options
    const log = components.logger.forComponent('blobswarm:agent:pull')
    this.#puller = new Puller({ ...components, opener: new ImageOpener({ ...components, log }) })
    this.#swarm = new SwarmControl({ ...components, log })
    const { replicas } = options
    this.#verifier = new ImageVerifier(
      {
        ...components,
        localId: components.provider?.id,
        self: () => ({ id: components.node.peerId, addresses: components.node.addresses() })
      },
      { replicas }
    )
    this.#startedMs = components.clock.monotonic()
  }

  async push(
    request: PushRequest,
    body: AsyncIterable<Uint8Array>,
    options: AbortOptions = {}
  ): Promise<PushResult> {
    return pushBody(this.#components, request, body, options)
  }

  async pull(request: PullRequest, options: LongOptions = {}): Promise<PullResult> {
    return this.#puller.pull(request, options)
  }

  async prefetch(ref: string, options: LongOptions = {}): Promise<PrefetchResult> {
    return this.#puller.prefetch(ref, options)
  }

  async cached(): Promise<CachedImage[]> {
    return this.#components.cache.list()
  }

  async evict(ref: string): Promise<EvictResult> {
    const { path, version } = parseRef(ref)
    const freedBytes = await this.#components.cache.evict(path, version)
    if (freedBytes === undefined) throw new ImageNotCachedError(ref)
    return { ref, freedBytes }
  }

  async cat(
    ref: string,
    range: { readonly offset?: number | undefined; readonly length?: number | undefined },
    options: AbortOptions = {}
  ): Promise<{ readonly bytes: number; readonly body: AsyncIterable<Uint8Array> }> {
    const snapshot = await this.#components.repository.openRead(ref, options)
    const offset = Math.min(range.offset ?? 0, snapshot.bytes)
    const length = Math.min(range.length ?? snapshot.bytes, snapshot.bytes - offset)
    return { bytes: length, body: snapshot.read({ offset, length }, options) }
  }

  async list(path: string, options: AbortOptions = {}): Promise<NamespaceEntry[]> {
    const entry = await this.#components.repository.stat(path, options)
    if (entry?.kind === 'file') return [entry]
    return Array.fromAsync(this.#components.repository.list(path, options))
  }

  async stat(
    ref: string,
    request: { readonly sha256?: boolean },
    options: AbortOptions = {}
  ): Promise<StatResult> {
    const { repository } = this.#components
    const entry = await repository.stat(ref, options)
    if (entry === undefined) throw new PathNotFoundError(ref)
    const { path, kind, modifiedMs } = entry
    if (kind === 'directory') return { path, kind, bytes: 0, modifiedMs }
    const { bytes, blob, version, chunkBytes } = entry
    const { record } = await repository.record({ path, version }, options)
    const manifestRoot = toHex(record.manifestRoot)
    const known = { path, kind, bytes, modifiedMs, blob, version, chunkBytes, manifestRoot }
    if (request.sha256 !== true) return { ...known, note: record.note }
    const hash = createHash('sha256')
    const snapshot = await repository.openRead({ path, version }, options)
    for await (const part of snapshot.read({ offset: 0, length: bytes }, options)) hash.update(part)
    return { ...known, note: record.note, sha256: hash.digest('hex') }
  }

  async log(path: string, options: AbortOptions = {}): Promise<VersionSummary[]> {
    return this.#components.repository.history(path, options)
  }

  async create(request: CreateRequest, options: AbortOptions = {}): Promise<ImageVersion> {
    const { path, bytes, chunkBytes, note } = request
    if (chunkBytes !== undefined) checkRequest(() => checkChunkBytes(chunkBytes))
    const made = { chunkBytes, note, ...options }
    const { version } = await this.#components.repository.create(path, bytes, made)
    return { path, version, bytes }
  }

  async clone(ref: string, path: string, options: AbortOptions = {}): Promise<ImageVersion> {
    const { version, bytes } = await this.#components.repository.clone(ref, path, options)
    return { path, version, bytes }
  }

  async merge(request: MergeRequest, options: AbortOptions = {}): Promise<ImageVersion> {
    const { ref, path, offset = 0, length = Number.POSITIVE_INFINITY, at = offset } = request
    const { note, ifNewest } = request
    const range = { from: ref, to: path, offset, length, at }
    const merged = await this.#components.repository.merge(range, { note, ifNewest, ...options })
    return { path, version: merged.version, bytes: merged.bytes }
  }

  async diff(before: string, after: string, options: AbortOptions = {}): Promise<DiffResult> {
    return this.#components.repository.diff(before, after, options)
  }

  async setPinned(
    ref: string,
    isPinned: boolean,
    options: AbortOptions = {}
  ): Promise<{ path: string; version: number; isPinned: boolean }> {
    const { version } = await this.#components.repository.setPinned(ref, isPinned, options)
    return { path: parseRef(ref).path, version, isPinned }
  }

  async retention(path: string, options: AbortOptions = {}): Promise<RetentionResult> {
    return { path, ...(await this.#components.repository.retention(path, options)) }
  }

  async setRetention(
    path: string,
    policy: RetentionPolicy | undefined,
    options: AbortOptions = {}
  ): Promise<RetentionResult> {
    await this.#components.repository.setRetention(path, policy, options)
    return this.retention(path, options)
  }

  async collect(
    request: { readonly isDryRun: boolean },
    options: LongOptions = {}
  ): Promise<CollectionReport> {
    const { collector, clock } = this.#components
    const { signal, onProgress } = options
    const progress = new SteadyProgress(clock, onProgress)
    const report = (phase: string): void => progress.report({ phase, doneBytes: 0, totalBytes: 0 })
    report('collecting')
    try {
      return await collector.collect(request, {
        signal,
        onProgress: ({ phase, liveChunks, chunks }) =>
          report(`${phase}: ${liveChunks} chunks stay, ${chunks} to go`)
      })
    } finally {
      progress.stop()
    }
  }

  async remove(ref: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.remove(ref, 'any', options)
  }

  async makeDirectory(path: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.makeDirectory(path, { parents: true, ...options })
  }

  async rename(from: string, to: string, options: AbortOptions = {}): Promise<void> {
    await this.#components.repository.rename(from, to, options)
  }

  async verify(
    ref: string,
    request: { readonly repair?: boolean },
    options: LongOptions = {}
  ): Promise<VerifyResult> {
    return this.#verifier.verify(ref, request.repair === true, options)
  }

  async status(options: AbortOptions = {}): Promise<object> {
    const { node, store, clock, handOver, scrubber, keptUploads } = this.#components
    const { version, roles, zone, metadataList } = this.#options
    const { chunkCount, storedBytes } = store
    return {
      version,
      peerId: node.peerId,
      roles,
      zone,
      addresses: node.addresses(),
      clusterId: toHex(node.membership.credentials().clusterId),
      certificateUntil: new Date(node.membership.self?.expiresMs ?? 0).toISOString(),
      metadataProviders: metadataList()?.providers.length ?? 0,
      ...(handOver === undefined ? {} : { metadata: handOver.figures }),
      peers: node.members().length,
      swarm: this.#swarm.totals(),
      images: this.#swarm.images(),
      chunks: chunkCount,
      storedBytes,
      cache: this.#components.cache.figures,
      sentBytes: node.wireBytes.sent,
      receivedBytes: node.wireBytes.received,
      uptimeSeconds: Math.round((clock.monotonic() - this.#startedMs) / 1000),
      pid: process.pid,
      ...(scrubber === undefined ? {} : { scrub: scrubber.figures }),
      ...(keptUploads === undefined ? {} : { brokenUploads: keptUploads.figures }),
      ...(await clusterHealth(this.#components, options))
    }
  }

  async peers(): Promise<ListedPeer[]> {
    return this.#swarm.peers()
  }

  async providers(options: AbortOptions = {}): Promise<ListedProvider[]> {
    return listProviders(this.#components.providers, options)
  }

  async setDraining(
    provider: string,
    isDraining: boolean,
    options: AbortOptions = {}
  ): Promise<ListedProvider> {
    return setProviderDraining(this.#components.providers, provider, isDraining, options)
  }

  async swarm(ref: string, options: AbortOptions = {}): Promise<object> {
    return this.#swarm.describe(ref, options)
  }

  async limits(): Promise<RateLimits> {
    return this.#swarm.limits()
  }

  async setLimits(change: RateLimitChange): Promise<RateLimits> {
    return this.#swarm.setLimits(change)
  }

  async createToken(request: TokenRequest): Promise<{ token: string; expiresMs: number }> {
    return this.#components.cluster.createToken(request)
  }

  async tokens(): Promise<ListedToken[]> {
    return this.#components.cluster.tokens()
  }

  async revokeToken(token: string): Promise<ListedToken> {
    return this.#components.cluster.revokeToken(token)
  }

  async members(): Promise<ListedMember[]> {
    return this.#components.cluster.members()
  }

  async revoke(member: string, reason: string): Promise<ListedMember> {
    return this.#components.cluster.revoke(member, reason)
  }
}

/** What is impossible in a request is its client's mistake. */
function checkRequest(check: () => void): void {
  try {
    check()
  } catch (error) {
    throw new BadRequestError(toError(error).message)
  }
}
