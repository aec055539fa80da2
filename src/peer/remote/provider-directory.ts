import type {
  CollectableProvider,
  ProviderDirectory,
  ProviderId,
  ProviderManager
} from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Logger, type LoggerFactory, noLogger } from '../../lib/logger.ts'
import type { Signer } from '../../metadata/types.ts'
import type { PeerNode } from '../types.ts'
import { RemoteProvider, type RemoteProviderOptions } from './provider.ts'

export interface NetworkProviderDirectoryComponents {
  readonly node: Pick<PeerNode, 'open' | 'peerId' | 'members'>
  readonly clock: Clock
  /** Who knows the providers of the cluster. */
  readonly providers: Pick<ProviderManager, 'list'>
  /** This agent's own store, if it is a provider: used without the network. */
  readonly local?: CollectableProvider | undefined
  /** Signs orders to delete, where this agent is a version manager. */
  readonly signer?: Signer | undefined
  readonly logger?: LoggerFactory
}

export interface NetworkProviderDirectoryOptions extends RemoteProviderOptions {
  /**
   * Providers with streams kept open; the longest unused one is closed beyond that.
   *
   * @default 256
   */
  maxOpen?: number
  /** Least time between two looks at the list of providers, in milliseconds. @default 5000 */
  refreshMs?: number
}

/**
 * Opens providers by name: this agent's own store, and others over the network. Names are those on
 * the provider manager's list and members with the role; until the list was read once, any name is
 * given a try, because a fresh agent with the provider manager down must still be able to read.
 */
export class NetworkProviderDirectory implements ProviderDirectory {
  readonly #components: NetworkProviderDirectoryComponents
  readonly #remoteOptions: RemoteProviderOptions
  readonly #maxOpen: number
  readonly #refreshMs: number
  readonly #logger: Logger
  // In order of use, the longest unused first.
  readonly #open = new Map<ProviderId, RemoteProvider>()
  readonly #closing = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  #known: ReadonlySet<ProviderId> | undefined
  #refreshedMs = Number.NEGATIVE_INFINITY
  #refreshing: Promise<void> | undefined

  constructor(
    components: NetworkProviderDirectoryComponents,
    options: NetworkProviderDirectoryOptions = {}
  ) {
    const { maxOpen = 256, refreshMs = 5000, ...remoteOptions } = options
    if (!(maxOpen > 0)) throw new RangeError(`maxOpen must be above 0, not ${maxOpen}`)
    this.#components = components
    this.#remoteOptions = remoteOptions
    this.#maxOpen = maxOpen
    this.#refreshMs = refreshMs
    const { logger = noLogger } = components
    this.#logger = logger.forComponent('blobswarm:peer:provider-directory')
  }

  open(id: ProviderId): CollectableProvider | undefined {
    const { local } = this.#components
    if (local !== undefined && id === local.id) return local
    if (this.#stopping.signal.aborted || id === this.#components.node.peerId) return undefined
    if (!this.#isKnown(id)) {
      this.#refreshSoon()
      if (this.#known !== undefined) return undefined
    }
    return this.#remote(id)
  }

  /**
   * Reads the list of providers. Failing is no error: the list is asked for again when it is
   * needed.
   */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#readList().finally(() => {
      this.#refreshing = undefined
    })
    await this.#refreshing
  }

  /** Closes all streams; what is in flight rejects. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the provider directory has stopped'))
    for (const [id, provider] of this.#open) this.#close(id, provider)
    await Promise.all([this.#refreshing, ...this.#closing])
  }

  #isKnown(id: ProviderId): boolean {
    if (this.#known?.has(id)) return true
    const members = this.#components.node.members()
    return members.some(({ peerId, roles }) => peerId === id && roles.has('provider'))
  }

  #remote(id: ProviderId): RemoteProvider {
    const { node, clock, signer } = this.#components
    const components = { node, clock, signer, peerId: id }
    const provider = this.#open.get(id) ?? new RemoteProvider(components, this.#remoteOptions)
    this.#open.delete(id)
    this.#open.set(id, provider)
    if (this.#open.size > this.#maxOpen) this.#closeLongestUnused(id)
    return provider
  }

  #closeLongestUnused(except: ProviderId): void {
    for (const [id, provider] of this.#open) {
      if (id === except || !provider.isIdle) continue
      this.#close(id, provider)
      return
    }
  }

  #close(id: ProviderId, provider: RemoteProvider): void {
    this.#open.delete(id)
    const closing = provider.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #refreshSoon(): void {
    const now = this.#components.clock.monotonic()
    if (now - this.#refreshedMs < this.#refreshMs) return
    void this.refresh() // does not reject; stop() waits for it
  }

  async #readList(): Promise<void> {
    const { providers, clock } = this.#components
    this.#refreshedMs = clock.monotonic()
    try {
      const states = await providers.list({ signal: this.#stopping.signal })
      this.#known = new Set(states.map(({ id }) => id))
    } catch (error) {
      this.#logger.debug('list of providers not read: %e', error)
    }
  }
}
