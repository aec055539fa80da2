import type { MaintainedDirectory, RepairOverview } from '../chunks/maintenance-types.ts'
import type { ProviderManager } from '../chunks/provider-manager-types.ts'
import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { CheckableStore } from '../chunks/store-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { EventLog } from '../lib/events.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { CollectionProgress } from '../metadata/collection.ts'
import type { CollectionReport } from '../metadata/collection-types.ts'
import { parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { Verifier } from '../metadata/signature-types.ts'
import type { PageStore, RecordStore } from '../metadata/store-types.ts'
import type { MetadataList } from '../peer/metadata-list.ts'
import type { Libp2pNode } from '../peer/node.ts'
import type { RateLimits } from '../peer/swarm/description.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { Role } from '../peer/types.ts'
import type { CachedImage } from './cached-image.ts'
import type { ClusterControl } from './cluster-control.ts'
import { clusterHealth } from './cluster-health.ts'
import { ImageNotCachedError } from './errors.ts'
import { FileControl } from './file-control.ts'
import type { ImageCache } from './image-cache.ts'
import type { ImageCatalogue } from './image-catalogue.ts'
import { ImageOpener } from './image-opener.ts'
import type {
  AgentOperations,
  EvictResult,
  FileOperations,
  ListedMember,
  ListedPeer,
  ListedProvider,
  ListedToken,
  LongOptions,
  PrefetchResult,
  PullRequest,
  PullResult,
  RateLimitChange,
  TokenRequest,
  VerifyResult
} from './operations.ts'
import type { PartialFiles } from './partial-files.ts'
import { listProviders, setProviderDraining } from './provider-list.ts'
import type { PullEvent } from './pull-report.ts'
import { Puller } from './puller.ts'
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
  readonly files: FileOperations
  readonly #components: AgentControlComponents
  readonly #options: AgentControlOptions
  readonly #puller: Puller
  readonly #verifier: ImageVerifier
  readonly #swarm: SwarmControl
  readonly #startedMs: number

  constructor(components: AgentControlComponents, options: AgentControlOptions) {
    this.#components = components
    this.#options = options
    this.files = new FileControl(components)
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

  async pull(request: PullRequest, options: LongOptions = {}): Promise<PullResult> {
    return this.#puller.pull(request, options)
  }

  /** Ends what goes on behind answered calls. */
  async stop(): Promise<void> {
    await this.#puller.stop()
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
