import type { MaintainedDirectory, MaintainedProvider } from '../../chunks/maintenance-types.ts'
import type { ProviderManager } from '../../chunks/provider-manager-types.ts'
import type { ProviderId } from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Logger, type LoggerFactory, noLogger } from '../../lib/logger.ts'
import type { PeerNode } from '../types.ts'
import type { RemoteProvider } from './provider.ts'

export interface NetworkProviderDirectoryComponents {
  readonly node: Pick<PeerNode, 'peerId' | 'members'>
  readonly clock: Clock
  /** How others are spoken to. */
  readonly remotes: { open(id: ProviderId): RemoteProvider | undefined }
  /** Who knows the providers of the cluster. */
  readonly providers: Pick<ProviderManager, 'list'>
  /** This agent's own store, if it is a provider: used without the network. */
  readonly local?: MaintainedProvider | undefined
  readonly logger?: LoggerFactory
}

export interface NetworkProviderDirectoryOptions {
  /** Least time between two looks at the list of providers, in milliseconds. @default 5000 */
  refreshMs?: number
}

/** Names that are remembered, the newest before those that are not listed any more. */
const MAX_KNOWN = 20_000

/**
 * Opens providers by name: this agent's own store, and others over the network. Names are those on
 * the provider manager's list and members with the role; until the list was read once, any name is
 * given a try, because a fresh agent with the provider manager down must still be able to read.
 */
export class NetworkProviderDirectory implements MaintainedDirectory {
  readonly #components: NetworkProviderDirectoryComponents
  readonly #refreshMs: number
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #known: ReadonlySet<ProviderId> | undefined
  #refreshedMs = Number.NEGATIVE_INFINITY
  #refreshing: Promise<void> | undefined

  constructor(
    components: NetworkProviderDirectoryComponents,
    options: NetworkProviderDirectoryOptions = {}
  ) {
    const { refreshMs = 5000 } = options
    this.#components = components
    this.#refreshMs = refreshMs
    const { logger = noLogger } = components
    this.#logger = logger.forComponent('blobswarm:peer:provider-directory')
  }

  open(id: ProviderId): MaintainedProvider | undefined {
    const { local, remotes } = this.#components
    if (local !== undefined && id === local.id) return local
    if (this.#stopping.signal.aborted || id === this.#components.node.peerId) return undefined
    if (!this.#isKnown(id)) {
      this.#refreshSoon()
      if (this.#known !== undefined) return undefined
    }
    return remotes.open(id)
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

  /** Opens nothing from now on. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the provider directory has stopped'))
    await this.#refreshing
  }

  #isKnown(id: ProviderId): boolean {
    if (this.#known?.has(id)) return true
    const members = this.#components.node.members()
    return members.some(({ peerId, roles }) => peerId === id && roles.has('provider'))
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
      // A manager that has just restarted has not heard of all yet: nobody is forgotten.
      this.#known = new Set(
        [...states.map(({ id }) => id), ...(this.#known ?? [])].slice(0, MAX_KNOWN)
      )
    } catch (error) {
      this.#logger.debug('list of providers not read: %e', error)
    }
  }
}
