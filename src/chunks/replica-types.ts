import type { AbortOptions } from '../lib/abort-options.ts'
import type { ProviderPutOptions } from './provider-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

/** Where chunks are looked for. */
export interface LocateOptions extends AbortOptions {
  /** For each id the providers that are asked; none for all. @default all, for every id */
  readonly among?: readonly (readonly ProviderId[])[] | undefined
  /**
   * Told of each provider that should have been asked and gave no answer, so that nobody knows what
   * it has; of undefined if not even the list of providers could be had.
   */
  readonly onUnanswered?: ((provider: ProviderId | undefined) => void) | undefined
}

/** How a new chunk is stored. */
export interface WriteChunkOptions extends ProviderPutOptions {
  /** Live providers that have the chunk already; they count as copies. @default none */
  readonly beside?: readonly ProviderId[] | undefined
  /** As in `PlacementRequest`. @default no stripe */
  readonly stripe?: string | undefined
}

/** What is known of the chunks whose copies are counted. */
export interface MakeWholeOptions extends AbortOptions {
  /**
   * Time since the first of the chunks was acknowledged, or all were last confirmed, in
   * milliseconds. What has just been acknowledged by providers that have not failed since needs no
   * question.
   *
   * @default unknown
   */
  readonly ageMs?: number | undefined
  /** Bytes of a chunk at most; replacements must have room for as much. @default 262_144 */
  readonly chunkBytes?: number | undefined
  /** As in `PlacementRequest`. @default no stripe */
  readonly stripe?: string | undefined
}

/** A chunk that was written, and the providers that have acknowledged it. */
export interface WrittenChunk {
  readonly id: ChunkId
  readonly replicas: readonly ProviderId[]
}

/** Stores a new chunk on as many providers as asked, and says where. */
export interface ChunkWriter {
  /**
   * @returns the providers that acknowledged and those `beside`, together at least the write quorum.
   * @throws {NotEnoughReplicasError} if they are fewer.
   */
  write(id: ChunkId, bytes: Uint8Array, options?: WriteChunkOptions): Promise<readonly ProviderId[]>
  /** Tells for each id which live providers have it already (one batched look-up a provider). */
  locate(ids: readonly ChunkId[], options?: LocateOptions): Promise<(readonly ProviderId[])[]>
  /**
   * Makes sure that written chunks still have their copies at live providers: what those that are
   * gone had acknowledged is copied from its twins to others.
   *
   * @returns for each chunk the live providers that have it now; none for the zero chunk.
   * @throws {NotEnoughReplicasError} if a chunk has fewer copies than the write quorum though there
   *   are providers that could take one.
   */
  makeWhole(
    chunks: readonly WrittenChunk[],
    options?: MakeWholeOptions
  ): Promise<(readonly ProviderId[])[]>
}

/** Reads a chunk from wherever it is. */
export interface ChunkReader {
  /**
   * Fetches and verifies a chunk, trying the providers of the hint first, then every provider.
   *
   * @throws {ChunkUnavailableError} if nobody could give it.
   */
  read(id: ChunkId, hint: readonly ProviderId[], options?: AbortOptions): Promise<Uint8Array>
}
