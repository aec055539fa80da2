import type { AbortOptions } from '../lib/abort-options.ts'
import type { CollectableProvider, Collected } from './provider-types.ts'
import type { ChunkCondition, PutOptions, SpaceReservation } from './store-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

/** Somebody who may have chunks, provider or not, and where to find it. */
export interface ChunkSource {
  readonly id: ProviderId
  /** Full multiaddrs; none if whoever is asked to copy knows them already. */
  readonly addresses: readonly string[]
}

/** What reading a chunk again has shown; absent if the provider does not hold it. */
export type CopyCondition = ChunkCondition | 'absent'

export interface WorkOptions extends AbortOptions {
  /** Told now and then how many of the ids are done. */
  readonly onProgress?: ((doneCount: number) => void) | undefined
}

/**
 * What repair, verification and draining ask of a provider. Only `copy` gives leases, as a put does:
 * who counts copies is not about to refer to them.
 */
export interface MaintainedProvider extends CollectableProvider {
  /** Tells for each id whether the provider holds the chunk, without a lease. */
  holds(ids: readonly ChunkId[], options?: AbortOptions): Promise<boolean[]>
  /**
   * Reads each chunk from the disk again and hashes it. What is corrupt or missing is no longer
   * held afterwards.
   */
  check(ids: readonly ChunkId[], options?: WorkOptions): Promise<CopyCondition[]>
  /**
   * Fetches chunks that the provider lacks from others, one source after the other until one gives
   * the right bytes, and stores them durably. Sources of a chunk are those listed, for all ids.
   *
   * @returns for each id whether the provider holds it now.
   * @throws {StoreFullError | StoreFailedError} if that is why not one chunk could be stored.
   */
  copy(
    ids: readonly ChunkId[],
    sources: readonly ChunkSource[],
    options?: WorkOptions
  ): Promise<boolean[]>
  /** Deletes surplus copies, those of the chunks that have no lease. At most 1,024 ids. */
  trim(ids: readonly ChunkId[], options?: AbortOptions): Promise<Collected>
}

/** A provider that others reach over the network: it says at once whether it takes a chunk. */
export interface ServedProvider extends MaintainedProvider {
  /** Length of a chunk that `get` would give, in bytes; undefined if it is not held. */
  lengthOf(id: ChunkId): number | undefined
  /**
   * Promises space to a chunk whose bytes are on their way. Pass the promise to `put`, or release it.
   *
   * @returns undefined for a chunk that is held already.
   * @throws {StoreFullError | StoreFailedError | ReadOnlyStoreError} if the put could not succeed.
   */
  reserve(id: ChunkId, bytes: number): Promise<SpaceReservation | undefined>
  /** As `ChunkProvider`. */
  put(id: ChunkId, bytes: Uint8Array, options?: PutOptions): Promise<void>
}

/** Opens providers of the cluster for maintenance; undefined when a name is unknown. */
export interface MaintainedDirectory {
  open(id: ProviderId): MaintainedProvider | undefined
}

/** How well chunks are replicated, and what repair has done about it since its process began. */
export interface RepairFigures {
  /** Copies that each chunk shall have. */
  readonly replicas: number
  /** Chunks of all images, by the last complete look at the location records. */
  readonly chunks: number
  /** Of these, chunks with fewer copies at live providers that are not draining than wanted. */
  readonly underReplicated: number
  /** Of these, chunks that no live provider holds. */
  readonly unreachable: number
  /** Copies beyond those wanted. */
  readonly surplus: number
  /**
   * Whether the figures hold now: a look that began after the last change of who is live, draining
   * or has lost chunks has ended, and nothing is left to be copied that could be.
   */
  readonly isCurrent: boolean
  /** End of the last complete look, milliseconds since the epoch; 0 before the first. */
  readonly lookedMs: number
  /** Copies that are waiting to be made, or being made. */
  readonly pending: number
  readonly copiedChunks: number
  readonly copiedBytes: number
  /** Copies that could not be made; they are tried again with the next look. */
  readonly failedCopies: number
  readonly trimmedChunks: number
}

/** Tells how repair is getting on, here or at the provider manager's agent. */
export interface RepairOverview {
  /** @returns undefined while nobody repairs, because the provider manager has just begun. */
  figures(options?: AbortOptions): Promise<RepairFigures | undefined>
}
