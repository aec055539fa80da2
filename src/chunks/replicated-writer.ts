import { abortable } from '../lib/abortable.ts'
import { toHex } from '../lib/bytes.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { chunkKey, isZeroChunk } from './chunk-id.ts'
import { ChunkLocator } from './chunk-locator.ts'
import { NoProviderError, NotEnoughReplicasError, StoreFullError } from './errors.ts'
import { PlacementStock } from './placement-stock.ts'
import type {
  AbortOptions,
  ChunkId,
  ChunkWriter,
  LocateOptions,
  ProviderDirectory,
  ProviderId,
  ProviderManager
} from './types.ts'

export interface ReplicatedWriterComponents {
  readonly directory: ProviderDirectory
  readonly providers: ProviderManager
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
  /** @default the machine's clock */
  readonly clock?: Clock | undefined
}

export interface ReplicatedWriterOptions {
  /** Copies of each chunk. @default 1 */
  readonly replicas?: number | undefined
  /** Copies that must be acknowledged; 0 for as many as `replicas`. @default 0 */
  readonly writeQuorum?: number | undefined
  /** Rounds of replacing providers that failed. @default 4 */
  readonly maxTries?: number | undefined
  /** Placements that are asked for in one call at most. @default 64 */
  readonly maxStock?: number | undefined
  /**
   * Time that placements are kept before they are asked for anew, in milliseconds.
   *
   * @default 5000
   */
  readonly maxStockAgeMs?: number | undefined
}

/** A write in progress: who has acknowledged, who has failed and why. */
interface Attempt {
  readonly id: ChunkId
  readonly bytes: Uint8Array
  readonly acknowledged: ProviderId[]
  readonly failed: ProviderId[]
  readonly causes: Error[]
}

/**
 * Writes each chunk to several providers in parallel and waits for all of them. A provider that
 * fails is reported and replaced. Several writes of one chunk at the same time are one.
 *
 * Where there are fewer providers than copies wanted, a write is accepted with as many as there
 * are, warned about once and counted. Providers that fail while others could take their place make
 * a write fail when fewer than the quorum acknowledged.
 */
export class ReplicatedWriter implements ChunkWriter {
  readonly #directory: ProviderDirectory
  readonly #providers: ProviderManager
  readonly #replicas: number
  readonly #quorum: number
  readonly #maxTries: number
  readonly #logger: Logger
  readonly #underReplicated: Counter | undefined
  readonly #locator: ChunkLocator
  readonly #stock: PlacementStock
  readonly #writing = new Map<string, Promise<readonly ProviderId[]>>()
  #hasWarned = false

  constructor(components: ReplicatedWriterComponents, options: ReplicatedWriterOptions = {}) {
    const { replicas = 1, writeQuorum = 0, maxTries = 4 } = options
    const { maxStock = 64, maxStockAgeMs = 5000 } = options
    const { directory, providers, logger = noLogger, metrics, clock = systemClock } = components
    if (!(replicas >= 1) || !(writeQuorum >= 0) || writeQuorum > replicas) {
      throw new RangeError(`write quorum ${writeQuorum} of ${replicas} replicas`)
    }
    if (!(maxTries >= 1) || !(maxStock >= 1)) {
      throw new RangeError(`${maxTries} tries, ${maxStock} placements in stock`)
    }
    this.#directory = directory
    this.#providers = providers
    this.#replicas = replicas
    this.#quorum = writeQuorum === 0 ? replicas : writeQuorum
    this.#maxTries = maxTries
    this.#logger = logger.forComponent('blobswarm:chunks:replicated-writer')
    this.#locator = new ChunkLocator({ directory, providers, logger: this.#logger })
    const stock = { replicas, maxStock, maxAgeMs: maxStockAgeMs }
    this.#stock = new PlacementStock({ providers, clock }, stock)
    this.#underReplicated = metrics?.counter('blobswarm_chunks_under_replicated_total', {
      help: 'Chunks that were written to fewer providers than wanted'
    })
  }

  /**
   * @returns the providers that acknowledged, in alphabetical order; none for the zero chunk.
   * @throws {NoProviderError} if no provider could take the chunk.
   * @throws {StoreFullError} if providers refused it, and at least one for lack of room.
   */
  async write(
    id: ChunkId,
    bytes: Uint8Array,
    options: AbortOptions = {}
  ): Promise<readonly ProviderId[]> {
    options.signal?.throwIfAborted()
    if (isZeroChunk(id)) return []
    const key = chunkKey(id)
    for (;;) {
      const shared = this.#writing.get(key)
      if (shared === undefined) break
      const [outcome] = await abortable(Promise.allSettled([shared]), options.signal)
      if (outcome.status === 'fulfilled') return outcome.value
      // It may have been given up by its caller, which is no reason to fail here: write it oneself.
    }
    const writing = this.#write(id, bytes, options)
    this.#writing.set(key, writing)
    try {
      return await writing
    } finally {
      this.#writing.delete(key)
    }
  }

  async locate(
    ids: readonly ChunkId[],
    options: LocateOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    return await this.#locator.locate(ids, options)
  }

  async #write(id: ChunkId, bytes: Uint8Array, options: AbortOptions): Promise<ProviderId[]> {
    const attempt: Attempt = { id, bytes, acknowledged: [], failed: [], causes: [] }
    let targets = await this.#stock.take(bytes.byteLength, options)
    // Fewer than wanted from the start means that there are no more.
    const wanted = targets.length
    for (let tries = 1; ; tries++) {
      await Promise.all(targets.map((target) => this.#putOn(target, attempt, options)))
      options.signal?.throwIfAborted()
      const missing = wanted - attempt.acknowledged.length
      if (missing === 0 || tries === this.#maxTries) break
      targets = await this.#replacements(attempt, missing, options)
      if (targets.length === 0) return this.#accept(attempt, 1)
    }
    return this.#accept(attempt, Math.min(this.#quorum, wanted))
  }

  /** @returns the acknowledgements if there are `needed`. */
  #accept({ id, acknowledged, causes, bytes }: Attempt, needed: number): ProviderId[] {
    if (acknowledged.length < needed) {
      const full = causes.find(isFull)
      if (full !== undefined) {
        throw new StoreFullError('a provider', bytes.byteLength, { cause: full })
      }
      const cause = causes.at(-1)
      throw new NotEnoughReplicasError(toHex(id), acknowledged.length, this.#quorum, { cause })
    }
    if (acknowledged.length < this.#replicas) this.#noteUnderReplicated(acknowledged.length)
    return acknowledged.toSorted()
  }

  async #putOn(target: ProviderId, attempt: Attempt, options: AbortOptions): Promise<void> {
    try {
      const provider = this.#directory.open(target)
      if (provider === undefined) throw new NoProviderError(`${target} is unknown`)
      await provider.put(attempt.id, attempt.bytes, options)
      attempt.acknowledged.push(target)
    } catch (thrown) {
      if (options.signal?.aborted === true) return // the caller throws when all others have ended
      const error = toError(thrown)
      this.#logger.info('%p did not take a chunk: %e', target, error)
      attempt.failed.push(target)
      attempt.causes.push(error)
      this.#stock.drop(target)
      // A full one is alive: it says itself how much room it has.
      if (!isFull(error)) await this.#reportFailure(target, options)
    }
  }

  async #reportFailure(failed: ProviderId, options: AbortOptions): Promise<void> {
    try {
      await this.#providers.reportFailure(failed, options)
    } catch (thrown) {
      options.signal?.throwIfAborted()
      this.#logger.debug('failure of %p not reported: %e', failed, toError(thrown))
    }
  }

  /** @returns other providers, none if nobody else is there. */
  async #replacements(
    attempt: Attempt,
    missing: number,
    options: AbortOptions
  ): Promise<ProviderId[]> {
    const { acknowledged, failed, bytes } = attempt
    const exclude = [...acknowledged, ...failed]
    const request = { count: 1, chunkBytes: bytes.byteLength, replicas: missing, exclude }
    try {
      const [placed = []] = await this.#providers.place(request, options)
      return placed
    } catch (error) {
      // By its code: the manager may be in another process.
      if (errorCode(error) === 'ERR_NO_PROVIDER' || isFull(error)) return []
      throw error
    }
  }

  #noteUnderReplicated(copies: number): void {
    this.#underReplicated?.add(1)
    if (this.#hasWarned) return
    this.#hasWarned = true
    this.#logger.info('chunks get %d of %d copies: too few providers', copies, this.#replicas)
  }
}

/** By its code: the provider, or the manager, may be in another process. */
function isFull(error: unknown): boolean {
  return errorCode(error) === 'ERR_STORE_FULL'
}
