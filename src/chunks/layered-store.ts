import type { AbortOptions } from '../lib/abort-options.ts'
import type { CheckableStore, ChunkCondition, DeleteOptions, PutOptions } from './store-types.ts'
import type { ChunkId } from './types.ts'

/**
 * Two stores that are read as one: what this agent keeps for others, and what it keeps for itself
 * as long as there is room. Whatever is put or deleted here is put into or deleted from its cache:
 * what it keeps for others is changed by its provider alone. Starting and stopping them is left to
 * whoever made them.
 */
export class LayeredStore implements CheckableStore {
  readonly #kept: CheckableStore
  readonly #cache: CheckableStore

  constructor(kept: CheckableStore, cache: CheckableStore) {
    this.#kept = kept
    this.#cache = cache
  }

  /** A chunk that is in both counts twice. */
  get chunkCount(): number {
    return this.#kept.chunkCount + this.#cache.chunkCount
  }

  get storedBytes(): number {
    return this.#kept.storedBytes + this.#cache.storedBytes
  }

  get lostCount(): number {
    return (this.#kept.lostCount ?? 0) + (this.#cache.lostCount ?? 0)
  }

  get isWritable(): boolean {
    return this.#cache.isWritable ?? true
  }

  has(id: ChunkId): boolean {
    return this.#kept.has(id) || this.#cache.has(id)
  }

  async put(id: ChunkId, bytes: Uint8Array, options: PutOptions = {}): Promise<boolean> {
    if (!this.#kept.has(id)) return await this.#cache.put(id, bytes, options)
    options.reservation?.release()
    return false
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    const kept = await this.#kept.get(id, options)
    return kept ?? (await this.#cache.get(id, options))
  }

  async check(id: ChunkId, options: AbortOptions = {}): Promise<ChunkCondition | undefined> {
    const found = [await this.#kept.check(id, options), await this.#cache.check(id, options)]
    return (
      found.find((condition) => condition !== undefined && condition !== 'intact') ??
      found[0] ??
      found[1]
    )
  }

  lengthOf(id: ChunkId): number | undefined {
    return this.#kept.lengthOf(id) ?? this.#cache.lengthOf(id)
  }

  async delete(id: ChunkId, options: DeleteOptions = {}): Promise<boolean> {
    return await this.#cache.delete(id, options)
  }

  *ids(firstByte?: number): Generator<ChunkId, void> {
    yield* this.#kept.ids(firstByte)
    for (const id of this.#cache.ids(firstByte)) if (!this.#kept.has(id)) yield id
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}
}
