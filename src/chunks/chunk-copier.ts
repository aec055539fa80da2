import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import { MIB, toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { withDeadline } from '../lib/deadline.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { TokenBucket } from '../lib/token-bucket.ts'
import { verifyChunk } from './chunk-id.ts'
import { MAX_CHUNK_BYTES } from './chunk-size.ts'
import { ChunkMismatchError, ChunkUnavailableError } from './errors.ts'
import type { ChunkSource, WorkOptions } from './maintenance-types.ts'
import type { ChunkProvider } from './provider-types.ts'
import type { ChunkId } from './types.ts'

/** Reaches whoever may have chunks, provider or not. */
export interface ChunkSources {
  /** @returns undefined for somebody who cannot be asked, such as whoever asks. */
  open(source: ChunkSource): Pick<ChunkProvider, 'id' | 'get'> | undefined
}

/** Where copies go. */
export interface CopyTarget {
  /** Tells whether the chunk is there already; a yes is a lease. */
  has(id: ChunkId): boolean
  /** Stores a chunk, whose bytes were verified, durably. */
  put(id: ChunkId, bytes: Uint8Array, options: AbortOptions): Promise<void>
}

export interface ChunkCopierComponents {
  readonly sources: ChunkSources
  readonly clock: Clock
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
}

export interface ChunkCopierOptions {
  /** Chunks that are fetched and stored at the same time, for all callers. @default 8 */
  readonly maxChunks?: number | undefined
  /**
   * Bytes of these. A chunk counts as the longest that its call has met when it asks for room, the
   * first ones as the longest that there can be.
   *
   * @default 64 MiB
   */
  readonly maxBytes?: number | undefined
  /** Bytes fetched a second, for all callers. @default unlimited */
  readonly bytesPerSecond?: number | undefined
  /** Time that a source may take to give a chunk, in milliseconds. @default 60000 */
  readonly sourceTimeoutMs?: number | undefined
}

/** What one call has found out. */
interface Call extends AbortOptions {
  readonly target: CopyTarget
  readonly sources: readonly ChunkSource[]
  /** How often each source has failed to give a chunk. */
  readonly failures: Map<ChunkSource, number>
  /** Bytes of the longest chunk so far. */
  chunkBytes: number
  copiedCount: number
  failedCount: number
  /** Why the target takes nothing any more. */
  refusal: Error | undefined
}

/** Fetches chunks from others for a store here, verified, a few at a time and not too fast. */
export class ChunkCopier {
  readonly #sources: ChunkSources
  readonly #clock: Clock
  readonly #sourceTimeoutMs: number
  readonly #log: Logger
  readonly #slots: Budget
  readonly #bytes: Budget
  readonly #rate: TokenBucket
  readonly #copiedTotal: Counter | undefined
  readonly #copiedBytes: Counter | undefined
  readonly #failedTotal: Counter | undefined

  constructor(components: ChunkCopierComponents, options: ChunkCopierOptions = {}) {
    const { sources, clock, logger = noLogger, metrics } = components
    const { maxChunks = 8, maxBytes = 64 * MIB, bytesPerSecond } = options
    const { sourceTimeoutMs = 60_000 } = options
    if (maxBytes < MAX_CHUNK_BYTES) {
      throw new RangeError(`copies need room for one chunk of ${MAX_CHUNK_BYTES} bytes`)
    }
    this.#sources = sources
    this.#clock = clock
    this.#sourceTimeoutMs = sourceTimeoutMs
    this.#log = logger.forComponent('blobswarm:chunks:copier')
    this.#slots = new Budget(maxChunks, 'chunks being copied')
    this.#bytes = new Budget(maxBytes, 'bytes of chunks being copied')
    this.#rate = new TokenBucket(clock, { perSecond: bytesPerSecond })
    this.#copiedTotal = metrics?.counter('blobswarm_chunks_copied_total', {
      help: 'Chunks that this provider fetched from others because it shall have copies'
    })
    this.#copiedBytes = metrics?.counter('blobswarm_chunks_copied_bytes_total', {
      help: 'Bytes of the chunks that this provider fetched from others'
    })
    this.#failedTotal = metrics?.counter('blobswarm_chunks_copy_failures_total', {
      help: 'Chunks that this provider should have fetched, and nobody gave or it could not store'
    })
  }

  /**
   * Fetches what the target lacks. Each chunk is asked of one source after the other, beginning with
   * those that have failed least; sources take turns in being the first.
   *
   * @returns for each id whether the target holds it now.
   * @throws {StoreFullError | StoreFailedError} if that is why not one chunk could be stored.
   */
  async copy(
    ids: readonly ChunkId[],
    sources: readonly ChunkSource[],
    target: CopyTarget,
    options: WorkOptions = {}
  ): Promise<boolean[]> {
    const { signal } = options
    const call: Call = {
      target,
      sources,
      signal,
      failures: new Map(),
      chunkBytes: 0,
      copiedCount: 0,
      failedCount: 0,
      refusal: undefined
    }
    const held = ids.map(() => false)
    let doneCount = 0
    await forEachConcurrently(
      ids.entries(),
      this.#slots.total,
      async ([at, id]) => {
        held[at] = await this.#copyInTurn(id, at, call)
        options.onProgress?.(++doneCount)
      },
      options
    )
    const { copiedCount, failedCount, refusal } = call
    if (copiedCount + failedCount > 0) {
      const level = failedCount > 0 ? 'info' : 'debug'
      this.#log[level]('copied %d chunks, could not copy %d', copiedCount, failedCount)
    }
    if (refusal !== undefined && copiedCount === 0) throw refusal
    return held
  }

  async #copyInTurn(id: ChunkId, at: number, call: Call): Promise<boolean> {
    const { signal, target } = call
    if (target.has(id)) return true
    await this.#slots.acquire(1, { signal })
    try {
      // Nobody knows how long the first ones are.
      const room = call.chunkBytes === 0 ? MAX_CHUNK_BYTES : call.chunkBytes
      await this.#bytes.acquire(room, { signal })
      try {
        return await this.#copyOne(id, at, call)
      } finally {
        this.#bytes.release(room)
      }
    } finally {
      this.#slots.release(1)
    }
  }

  async #copyOne(id: ChunkId, at: number, call: Call): Promise<boolean> {
    const { signal, target } = call
    if (target.has(id)) return true // came while this one waited
    const bytes = call.refusal === undefined ? await this.#fetch(id, at, call) : undefined
    const isStored = bytes !== undefined && (await this.#store(id, bytes, call))
    signal?.throwIfAborted()
    if (isStored) {
      call.copiedCount++
      this.#copiedTotal?.add(1)
      this.#copiedBytes?.add(bytes.byteLength)
    } else {
      call.failedCount++
      this.#failedTotal?.add(1)
    }
    return isStored
  }

  async #store(id: ChunkId, bytes: Uint8Array, call: Call): Promise<boolean> {
    const { signal, target } = call
    try {
      await target.put(id, bytes, { signal })
      return true
    } catch (thrown) {
      signal?.throwIfAborted()
      call.refusal ??= toError(thrown)
      this.#log.info('a copy was not stored: %e', thrown)
      return false
    }
  }

  async #fetch(id: ChunkId, at: number, call: Call): Promise<Uint8Array | undefined> {
    const { signal, failures } = call
    for (const source of inOrder(call, at)) {
      signal?.throwIfAborted()
      const bytes = await this.#fetchFrom(source, id, signal)
      if (bytes !== undefined) {
        call.chunkBytes = Math.max(call.chunkBytes, bytes.byteLength)
        await this.#rate.take(bytes.byteLength, { signal })
        return bytes
      }
      failures.set(source, (failures.get(source) ?? 0) + 1)
    }
    return undefined
  }

  async #fetchFrom(
    source: ChunkSource,
    id: ChunkId,
    signal: AbortSignal | undefined
  ): Promise<Uint8Array | undefined> {
    const provider = this.#sources.open(source)
    if (provider === undefined) return undefined
    try {
      const bytes = await withDeadline(async (deadline) => provider.get(id, deadline), {
        clock: this.#clock,
        timeoutMs: this.#sourceTimeoutMs,
        timedOut: () => new ChunkUnavailableError(toHex(id), [source.id]),
        signal
      })
      if (bytes === undefined) this.#log.debug('%p does not give a chunk to copy', source.id)
      else verifyChunk(id, bytes)
      return bytes
    } catch (thrown) {
      signal?.throwIfAborted()
      const level = thrown instanceof ChunkMismatchError ? 'info' : 'debug'
      this.#log[level]('no copy of a chunk from %p: %e', source.id, thrown)
      return undefined
    }
  }
}

/** Those that failed least first; among equals, another one is the first for each chunk. */
function inOrder({ sources, failures }: Call, at: number): ChunkSource[] {
  const first = sources.length === 0 ? 0 : at % sources.length
  const turned = [...sources.slice(first), ...sources.slice(0, first)]
  return turned.toSorted((a, b) => (failures.get(a) ?? 0) - (failures.get(b) ?? 0))
}
