import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { toHex } from '../lib/bytes.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { chunkKey, isZeroChunk } from './chunk-id.ts'
import { ChunkLocator } from './chunk-locator.ts'
import { NotEnoughReplicasError, StoreFullError } from './errors.ts'
import { openPlaced } from './open-placed.ts'
import { PlacementStock } from './placement-stock.ts'
import { ProviderLoad } from './provider-load.ts'
import type { FailureReason, ProviderManager, ProviderState } from './provider-manager-types.ts'
import type { ProviderDirectory } from './provider-types.ts'
import { ReplicaMender } from './replica-mender.ts'
import type {
  ChunkWriter,
  LocateOptions,
  MakeWholeOptions,
  WriteChunkOptions,
  WrittenChunk
} from './replica-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

export interface ReplicatedWriterComponents {
  readonly directory: ProviderDirectory
  readonly providers: Pick<ProviderManager, 'place' | 'list' | 'reportFailure'>
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
  /** Placements that are asked for in one call at most. @default 1024 */
  readonly maxStock?: number | undefined
  /**
   * Time that placements are kept before they are asked for anew, in milliseconds.
   *
   * @default 15_000
   */
  readonly maxStockAgeMs?: number | undefined
}

/** A write in progress: who has acknowledged, who has failed and why. */
interface Attempt {
  readonly id: ChunkId
  readonly bytes: Uint8Array
  readonly stripe: string | undefined
  readonly isVerified: boolean | undefined
  /** Those that had it before are the first. */
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
  readonly #providers: ReplicatedWriterComponents['providers']
  readonly #replicas: number
  readonly #quorum: number
  readonly #maxTries: number
  readonly #logger: Logger
  readonly #underReplicated: Counter | undefined
  readonly #locator: ChunkLocator
  readonly #mender: ReplicaMender
  readonly #load: ProviderLoad
  readonly #stock: PlacementStock
  readonly #writing = new Map<string, Promise<readonly ProviderId[]>>()
  #hasWarned = false

  constructor(components: ReplicatedWriterComponents, options: ReplicatedWriterOptions = {}) {
    const { replicas = 1, writeQuorum = 0, maxTries = 4 } = options
    const { maxStock = 1024, maxStockAgeMs = 15_000 } = options
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
    this.#load = new ProviderLoad(clock)
    const stocking = { providers, clock, load: this.#load }
    this.#stock = new PlacementStock(stocking, { maxStock, maxAgeMs: maxStockAgeMs })
    const onStates = (states: readonly ProviderState[]): void => this.#dropUnfit(states)
    const looking = { directory, providers, logger: this.#logger, clock, onStates }
    this.#locator = new ChunkLocator(looking)
    const mending = { ...looking, locator: this.#locator, load: this.#load, metrics }
    this.#mender = new ReplicaMender(mending, { replicas, quorum: this.#quorum, maxTries })
    this.#underReplicated = metrics?.counter('blobswarm_chunks_under_replicated_total', {
      help: 'Chunks that were written to fewer providers than wanted'
    })
  }

  /**
   * @returns the providers that have it, in alphabetical order; none for the zero chunk.
   * @throws {NoProviderError} if no provider could take the chunk.
   * @throws {StoreFullError} if providers refused it, and at least one for lack of room.
   */
  async write(
    id: ChunkId,
    bytes: Uint8Array,
    options: WriteChunkOptions = {}
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

  async makeWhole(
    chunks: readonly WrittenChunk[],
    options: MakeWholeOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    const found = await this.#mender.makeWhole(chunks, options)
    for (const [at, replicas] of found.entries()) {
      const had = chunks[at]?.replicas.length ?? 0
      const isNews = replicas.length < Math.min(had, this.#replicas)
      if (isNews) this.#noteUnderReplicated(replicas.length)
    }
    return found
  }

  async #write(id: ChunkId, bytes: Uint8Array, options: WriteChunkOptions): Promise<ProviderId[]> {
    const { signal, stripe, isVerified, beside = [] } = options
    const acknowledged = [...beside]
    const chunk = { id, bytes, stripe, isVerified }
    const attempt: Attempt = { ...chunk, acknowledged, failed: [], causes: [] }
    let targets = await this.#firstTargets(attempt, options)
    if (targets.length === 0) return this.#accept(attempt, 1)
    // Fewer than wanted from the start means that there are no more.
    const wanted = targets.length + acknowledged.length
    for (let tries = 1; ; tries++) {
      await Promise.all(targets.map((target) => this.#putOn(target, attempt, options)))
      signal?.throwIfAborted()
      const missing = wanted - acknowledged.length
      if (missing === 0 || tries === this.#maxTries) break
      targets = await this.#replacements(attempt, missing, options)
      if (targets.length === 0) return this.#accept(attempt, 1)
    }
    return this.#accept(attempt, Math.min(this.#quorum, wanted))
  }

  /** @returns none if those that have it are enough, or there is nobody else. */
  async #firstTargets(attempt: Attempt, { signal }: AbortOptions): Promise<readonly ProviderId[]> {
    const { acknowledged, bytes, stripe } = attempt
    const beside = [...acknowledged]
    const replicas = this.#replicas - beside.length
    if (replicas <= 0) return []
    const wanted = { chunkBytes: bytes.byteLength, replicas, stripe, beside }
    try {
      return await this.#stock.take(wanted, { signal })
    } catch (error) {
      if (beside.length > 0 && isNobodyLeft(error)) return []
      throw error
    }
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
    const { id, bytes, isVerified, acknowledged, failed, causes } = attempt
    const ended = this.#load.begin(target, bytes.byteLength)
    try {
      const provider = await openPlaced(this.#directory, target)
      await provider.put(id, bytes, { signal: options.signal, isVerified })
      acknowledged.push(target)
    } catch (thrown) {
      if (options.signal?.aborted === true) return // the caller throws when all others have ended
      const error = toError(thrown)
      failed.push(target)
      causes.push(error)
      const reason = isFull(error) ? 'full' : 'failed'
      const isNews = this.#load.fail(target)
      this.#logger[isNews ? 'info' : 'debug']('%p did not take a chunk: %e', target, error)
      if (isNews) await this.#giveUp(target, reason, options)
    } finally {
      ended()
    }
  }

  async #giveUp(
    failed: ProviderId,
    reason: FailureReason,
    { signal }: AbortOptions
  ): Promise<void> {
    this.#stock.drop(failed)
    try {
      await this.#providers.reportFailure(failed, { reason, signal })
    } catch (thrown) {
      signal?.throwIfAborted()
      this.#logger.debug('failure of %p not reported: %e', failed, toError(thrown))
    }
  }

  /** @returns other providers, none if nobody else is there. */
  async #replacements(
    { acknowledged, failed, bytes, stripe }: Attempt,
    missing: number,
    { signal }: AbortOptions
  ): Promise<ProviderId[]> {
    const chunkBytes = bytes.byteLength
    const fit = { exclude: failed, beside: [...acknowledged], stripe }
    try {
      const request = { count: 1, chunkBytes, replicas: missing, ...fit }
      const [placed = []] = await this.#providers.place(request, { signal })
      return placed
    } catch (error) {
      if (isNobodyLeft(error)) return []
      throw error
    }
  }

  #dropUnfit(states: readonly ProviderState[]): void {
    for (const { id, condition, isDraining } of states) {
      if (condition !== 'live' || isDraining) this.#stock.drop(id)
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

/** Tells whether the error says that there is no other provider to place a chunk on. */
function isNobodyLeft(error: unknown): boolean {
  return errorCode(error) === 'ERR_NO_PROVIDER' || isFull(error)
}
