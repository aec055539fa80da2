import type { ProviderId } from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Signer } from '../../metadata/signature-types.ts'
import type { PeerNode } from '../types.ts'
import { RemoteProvider, type RemoteProviderOptions } from './provider.ts'

export interface RemoteProvidersComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** Signs orders to delete, where this agent is a manager. */
  readonly signer?: Signer | undefined
}

export interface RemoteProvidersOptions extends RemoteProviderOptions {
  /**
   * Agents with streams kept open; those of the longest unused one are closed beyond that.
   *
   * @default 256
   */
  maxOpen?: number
}

/** The agents that this one speaks store/1 with, each once, whoever wants something of them. */
export class RemoteProviders {
  readonly #components: RemoteProvidersComponents
  readonly #options: RemoteProviderOptions
  readonly #maxOpen: number
  // In order of use, the longest unused first.
  readonly #open = new Map<ProviderId, RemoteProvider>()
  readonly #closing = new Set<Promise<void>>()
  #isStopped = false

  constructor(components: RemoteProvidersComponents, options: RemoteProvidersOptions = {}) {
    const { maxOpen = 256, ...remoteOptions } = options
    if (!(maxOpen > 0)) throw new RangeError(`maxOpen must be above 0, not ${maxOpen}`)
    this.#components = components
    this.#options = remoteOptions
    this.#maxOpen = maxOpen
  }

  /** Gives the client of an agent; nothing is sent yet. @returns undefined after `stop`. */
  open(id: ProviderId): RemoteProvider | undefined {
    if (this.#isStopped) return undefined
    const components = { ...this.#components, peerId: id }
    const provider = this.#open.get(id) ?? new RemoteProvider(components, this.#options)
    this.#open.delete(id)
    this.#open.set(id, provider)
    if (this.#open.size > this.#maxOpen) this.#closeLongestUnused(id)
    return provider
  }

  /** Closes all streams; what is in flight rejects. */
  async stop(): Promise<void> {
    this.#isStopped = true
    for (const [id, provider] of this.#open) this.#close(id, provider)
    await Promise.all(this.#closing)
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
}
