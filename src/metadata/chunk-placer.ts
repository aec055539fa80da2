import { chunkKey } from '../chunks/chunk-id.ts'
import type { ChunkWriter } from '../chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { equalBytes } from '../lib/bytes.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import type { Logger } from '../lib/logger.ts'
import { LruCache } from '../lib/lru-cache.ts'
import type { ManifestView } from './manifest-view.ts'

/** Chunks of one upload whose places are remembered, for images that repeat themselves. */
const MAX_REMEMBERED = 8192

const NOBODY: readonly ProviderId[] = []

/** Ids that are looked up together. */
const MAX_LOOK_UP = 256

export interface ChunkPlacerComponents {
  readonly writer: ChunkWriter
  /** Manifest of the version that is written over; undefined when there is none. */
  readonly parent: ManifestView | undefined
  /** Name of what the chunks belong to: they go to the same few providers. */
  readonly stripe?: string | undefined
  /** Aborted when the upload ends; look-ups that several chunks share heed it. */
  readonly signal: AbortSignal
  readonly logger: Logger
}

/** Where a chunk is, and whether its bytes had to be moved there. */
export interface PlacedChunk {
  readonly replicas: readonly ProviderId[]
  readonly isNew: boolean
}

interface Chunk {
  readonly id: ChunkId
  readonly bytes: Uint8Array
}

interface LookUp {
  readonly id: ChunkId
  /** Who is asked; none for all. */
  readonly among: readonly ProviderId[]
  found: readonly ProviderId[]
}

/**
 * Finds a place for each chunk of an upload, and moves bytes only if it must: not when enough
 * providers have it, which is one batched look-up for all chunks that wait at the same time. When
 * too few have it, others get the copies that are missing. Where
 * the parent has the same chunk at the same index, only the providers that have it there are asked.
 * That they are is not enough: what is acknowledged must be held by somebody who is alive. Places are
 * remembered for the whole upload, which is right because their leases are renewed for as long
 * (chunk-leases.ts).
 */
export class ChunkPlacer {
  readonly #components: ChunkPlacerComponents
  readonly #lookUps: GroupCommit<LookUp>
  /** Replicas by chunk. */
  readonly #placed = new LruCache<readonly ProviderId[]>(MAX_REMEMBERED)
  /** Chunks that are being placed; who has the same one joins. */
  readonly #placing = new Map<string, Promise<PlacedChunk>>()
  readonly #writing = new Set<Promise<unknown>>()
  /** Copies that a chunk must have to be left alone; not more than a write can reach. */
  #enoughReplicas: number

  constructor(components: ChunkPlacerComponents, replicas: number) {
    const { writer, signal } = components
    this.#components = components
    this.#enoughReplicas = replicas
    const find = async (lookUps: LookUp[]): Promise<void> => {
      const found = await writer.locate(
        lookUps.map(({ id }) => id),
        { signal, among: lookUps.map(({ among }) => among) }
      )
      for (const [at, lookUp] of lookUps.entries()) lookUp.found = found[at] ?? []
    }
    this.#lookUps = new GroupCommit(find, { maxItems: MAX_LOOK_UP })
  }

  /**
   * Gives the chunk a place. The id must have been computed from these bytes, which must not change
   * before it resolves.
   *
   * @throws {NotEnoughReplicasError | NoProviderError} if it cannot be stored.
   */
  async place(index: number, chunk: Chunk, options: AbortOptions = {}): Promise<PlacedChunk> {
    const { parent, signal } = this.#components
    const isInParent = parent !== undefined && index < parent.chunkCount
    const likely = isInParent ? await this.#findInParent(parent, index, chunk.id, options) : NOBODY
    options.signal?.throwIfAborted()
    const key = chunkKey(chunk.id)
    const replicas = this.#placed.get(key)
    if (replicas !== undefined) return { replicas, isNew: false }
    const joined = this.#placing.get(key)
    const placing = joined ?? this.#place(key, chunk, likely)
    // As a rule the upload's own signal is all there is, and who places a chunk heeds that.
    const isOwn = options.signal === undefined || options.signal === signal
    const placed = isOwn ? await placing : await abortable(placing, options.signal)
    return joined === undefined ? placed : { replicas: placed.replicas, isNew: false }
  }

  /** Resolves when no bytes are on their way any more, after the last `place` has ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#writing)
  }

  /** Places a chunk that is not being placed yet, for all who want it. */
  #place(key: string, chunk: Chunk, likely: readonly ProviderId[]): Promise<PlacedChunk> {
    const placing = this.#locateOrWrite(chunk, likely).then(
      (placed) => {
        this.#placing.delete(key)
        this.#placed.set(key, placed.replicas, 1)
        return placed
      },
      (error: unknown) => {
        this.#placing.delete(key)
        throw error
      }
    )
    this.#placing.set(key, placing)
    return placing
  }

  async #findInParent(
    parent: ManifestView,
    index: number,
    id: ChunkId,
    options: AbortOptions
  ): Promise<readonly ProviderId[]> {
    try {
      if (!equalBytes(await parent.chunkId(index, options), id)) return []
      return await parent.replicas(index, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      // It would only have saved work.
      const { logger } = this.#components
      logger.info('chunk %d of the parent version is not to be had: %e', index, error)
      return []
    }
  }

  /** @param likely providers that are asked before all others. */
  async #locateOrWrite({ id, bytes }: Chunk, likely: readonly ProviderId[]): Promise<PlacedChunk> {
    let held = NOBODY
    for (const among of likely.length > 0 ? [likely, NOBODY] : [NOBODY]) {
      const lookUp: LookUp = { id, among, found: [] }
      await this.#lookUps.add(lookUp)
      held = lookUp.found
      if (held.length >= Math.max(1, this.#enoughReplicas)) return { replicas: held, isNew: false }
    }
    const { writer, stripe, signal } = this.#components
    const copying = { stripe, beside: held, isVerified: true, signal }
    const replicas = await this.#tracked(writer.write(id, bytes, copying))
    this.#enoughReplicas = Math.min(this.#enoughReplicas, replicas.length)
    return { replicas, isNew: replicas.length > held.length }
  }

  /** A disk goes on with what it has begun, also when nobody waits for it any more. */
  async #tracked<T>(writing: Promise<T>): Promise<T> {
    this.#writing.add(writing)
    try {
      return await writing
    } finally {
      this.#writing.delete(writing)
    }
  }
}
