import type { AbortOptions } from '../lib/abort-options.ts'
import { isZeroChunk } from './chunk-id.ts'
import { ReadOnlyStoreError } from './errors.ts'
import type { CopyCondition, ServedProvider } from './maintenance-types.ts'
import type { Collected } from './provider-types.ts'
import type { ChunkStore } from './store-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

/**
 * The cache of an agent that is no provider: gives what it has, so that repair can save last copies
 * from there. It promises nothing: a yes is no lease, and the chunk may be gone the next moment. It
 * takes nothing and deletes nothing for others.
 */
export class ReadOnlyProvider implements ServedProvider {
  readonly id: ProviderId
  readonly #store: Pick<ChunkStore, 'has' | 'get' | 'lengthOf'>

  constructor(id: ProviderId, store: Pick<ChunkStore, 'has' | 'get' | 'lengthOf'>) {
    this.id = id
    this.#store = store
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    return await this.holds(ids, options)
  }

  async holds(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => isZeroChunk(id) || this.#store.has(id))
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    return await this.#store.get(id, options)
  }

  lengthOf(id: ChunkId): number | undefined {
    return this.#store.lengthOf(id)
  }

  /** @throws {ReadOnlyStoreError} always, as all that follow. */
  async reserve(): Promise<undefined> {
    return this.#refuse()
  }

  async put(): Promise<void> {
    return this.#refuse()
  }

  async check(): Promise<CopyCondition[]> {
    return this.#refuse()
  }

  async copy(): Promise<boolean[]> {
    return this.#refuse()
  }

  async trim(): Promise<Collected> {
    return this.#refuse()
  }

  async beginCollection(): Promise<string> {
    return this.#refuse()
  }

  async unleased(): Promise<ChunkId[]> {
    return this.#refuse()
  }

  async collect(): Promise<Collected> {
    return this.#refuse()
  }

  #refuse(): never {
    throw new ReadOnlyStoreError(this.id)
  }
}
