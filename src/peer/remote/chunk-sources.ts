import type { ChunkSource, MaintainedProvider } from '../../chunks/maintenance-types.ts'
import type { ChunkId, ProviderId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import { KIB } from '../../lib/bytes.ts'
import { NotRunningError } from '../../lib/errors.ts'
import { LruCache } from '../../lib/lru-cache.ts'
import { STORE_PROTOCOL } from '../protocols/store.ts'
import type { PeerNode } from '../types.ts'
import type { RemoteProvider } from './provider.ts'

/** Memory for the addresses that agents were named with, about 1,000 of them. */
const LEARNED_BYTES = 256 * KIB

/** What an agent that may have chunks is asked. */
export type OpenedSource = Pick<MaintainedProvider, 'id' | 'get' | 'holds'>

export interface NetworkChunkSourcesComponents {
  readonly node: Pick<PeerNode, 'peerId' | 'learnAddresses'>
  /** How others are spoken to. */
  readonly remotes: { open(id: ProviderId): RemoteProvider | undefined }
  /** What this agent keeps itself. */
  readonly local: OpenedSource
}

/** Reaches any member that may have chunks, also one that is no provider, as far as it gives them. */
export class NetworkChunkSources {
  readonly #components: NetworkChunkSourcesComponents
  // The addresses that each was last named with.
  readonly #learned = new LruCache<string>(LEARNED_BYTES)

  constructor(components: NetworkChunkSourcesComponents) {
    this.#components = components
  }

  /** Gives a way to an agent; nothing is opened before it is asked for something. */
  open(source: ChunkSource): OpenedSource {
    const { node, local } = this.#components
    if (source.id === node.peerId) return local
    return {
      id: source.id,
      get: async (id: ChunkId, options?: AbortOptions) =>
        (await this.#reach(source)).get(id, options),
      holds: async (ids: readonly ChunkId[], options?: AbortOptions) =>
        (await this.#reach(source)).holds(ids, options)
    }
  }

  async #reach({ id, addresses }: ChunkSource): Promise<RemoteProvider> {
    const { node, remotes } = this.#components
    const told = addresses.join(' ')
    if (told !== '' && this.#learned.get(id) !== told) {
      await node.learnAddresses(id, addresses)
      this.#learned.set(id, told, id.length + told.length)
    }
    const remote = remotes.open(id)
    if (remote === undefined) throw new NotRunningError(`${STORE_PROTOCOL.id} to ${id}`)
    return remote
  }
}
