import { verifyChunk } from './chunk-id.ts'
import type {
  AbortOptions,
  ChunkId,
  ChunkProvider,
  ChunkStore,
  ProviderId,
  ProviderReport
} from './types.ts'

export interface LocalProviderComponents {
  readonly store: ChunkStore
  /** Tells how many bytes of chunks there is still room for. */
  readonly freeBytes: () => Promise<number>
}

/**
 * This agent's own store as a provider: verifies what it is given, and reports its space and load.
 */
export class LocalProvider implements ChunkProvider {
  readonly id: ProviderId
  readonly #store: ChunkStore
  readonly #freeBytes: () => Promise<number>
  #load = 0

  constructor(id: ProviderId, components: LocalProviderComponents) {
    this.id = id
    this.#store = components.store
    this.#freeBytes = components.freeBytes
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => this.#store.has(id))
  }

  /** @throws {ChunkMismatchError} if the bytes are not the chunk; nothing is stored then. */
  async put(id: ChunkId, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    await this.#counted(async () => {
      if (this.#store.has(id)) return
      verifyChunk(id, bytes)
      await this.#store.put(id, bytes, options)
    })
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    return await this.#counted(() => this.#store.get(id, options))
  }

  /** What the provider manager is told. */
  async report(zone: string): Promise<ProviderReport> {
    const load = this.#load
    const freeBytes = await this.#freeBytes()
    const { chunkCount, storedBytes } = this.#store
    return { id: this.id, zone, freeBytes, storedBytes, chunkCount, load }
  }

  async #counted<T>(work: () => Promise<T>): Promise<T> {
    this.#load++
    try {
      return await work()
    } finally {
      this.#load--
    }
  }
}
