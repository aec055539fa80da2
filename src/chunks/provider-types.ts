import type { AbortOptions } from '../lib/abort-options.ts'
import type { ChunkId, ProviderId } from './types.ts'

/** How a chunk is put at a provider. */
export interface ProviderPutOptions extends AbortOptions {
  /**
   * The id was computed from these very bytes in this process, so that the agent's own provider
   * need not do it again. Others always do.
   *
   * @default false
   */
  readonly isVerified?: boolean | undefined
}

/**
 * A place that keeps chunks durably for others: this agent's own store or another agent's over the
 * network.
 */
export interface ChunkProvider {
  readonly id: ProviderId
  /**
   * Tells for each id whether the provider has the chunk; a yes is a lease (design: section 4,
   * store).
   */
  has(ids: readonly ChunkId[], options?: AbortOptions): Promise<boolean[]>
  /** Stores a chunk durably. @throws {StoreFullError | ProviderError} */
  put(id: ChunkId, bytes: Uint8Array, options?: ProviderPutOptions): Promise<void>
  /** Reads a chunk, verified. @returns undefined if the provider does not have it. */
  get(id: ChunkId, options?: AbortOptions): Promise<Uint8Array | undefined>
}

/** What a collection took away. */
export interface Collected {
  readonly count: number
  readonly bytes: number
}

/** How chunks are collected. */
export interface CollectChunksOptions extends AbortOptions {
  /** Only say what would be deleted. @default false */
  readonly isDryRun?: boolean | undefined
}

/**
 * What collection asks of a provider. A chunk has a lease for a while after it was stored and after
 * each yes to `has`: whoever is about to refer to it needs no other protection until a ticket names
 * it. After a start every chunk has a lease, because nobody remembers the earlier ones.
 */
export interface CollectableProvider extends ChunkProvider {
  /**
   * Opens a collection, in place of any before. Chunks that have a lease now, or get one from now
   * on, are safe from it until it ends.
   *
   * @returns its name; it ends with the provider's process, with the next one, or after an hour.
   */
  beginCollection(options?: AbortOptions): Promise<string>
  /**
   * Chunks that the collection may delete, in the order of their ids, above `after`; at most 1,024,
   * none when there are no more.
   *
   * @throws {CollectionEndedError}
   */
  unleased(
    collection: string,
    after: ChunkId | undefined,
    options?: AbortOptions
  ): Promise<ChunkId[]>
  /**
   * Deletes those of the chunks that still have no lease.
   *
   * @throws {CollectionEndedError}
   */
  collect(
    collection: string,
    ids: readonly ChunkId[],
    options?: CollectChunksOptions
  ): Promise<Collected>
}

/** Opens providers by name; undefined when a name is unknown to the cluster. */
export interface ProviderDirectory {
  open(id: ProviderId): ChunkProvider | undefined
  /** Looks again who belongs to the cluster, where that is remembered. Does not reject. */
  refresh?(): Promise<void>
}
