import { toHex } from '../lib/bytes.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import { chunkKey, isZeroChunk } from './chunk-id.ts'
import { NoProviderError, NotEnoughReplicasError, StoreFullError } from './errors.ts'
import type {
  AbortOptions,
  ChunkId,
  ChunkWriter,
  ProviderDirectory,
  ProviderId,
  ProviderManager
} from './types.ts'

export interface ReplicatedWriterComponents {
  readonly directory: ProviderDirectory
  readonly providers: ProviderManager
  readonly logger?: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface ReplicatedWriterOptions {
  /** Copies of each chunk. @default 1 */
  replicas?: number | undefined
  /** Copies that must be acknowledged; 0 for as many as `replicas`. @default 0 */
  writeQuorum?: number | undefined
  /** Providers that one copy is tried on before the write fails. @default 4 */
  maxTries?: number | undefined
  /** Placements that are asked for in one call at most. @default 64 */
  maxStock?: number | undefined
}

/** A write in progress: who has acknowledged, who has failed. */
interface Attempt {
  readonly id: ChunkId
  readonly bytes: Uint8Array
  readonly acknowledged: ProviderId[]
  readonly failed: ProviderId[]
  readonly causes: Error[]
}

const FIRST_STOCK = 8

/**
 * Writes each chunk to several providers in parallel. A provider that fails is reported and replaced.
 * Placements are asked for by the dozen and kept in stock, so that a large upload asks seldom. Several
 * writes of one chunk at the same time are one.
 *
 * Where there are fewer providers than copies wanted, a write is accepted with as many as there are,
 * warned about once and counted.
 */
export class ReplicatedWriter implements ChunkWriter {
  readonly #components: ReplicatedWriterComponents
  readonly #replicas: number
  readonly #quorum: number
  readonly #maxTries: number
  readonly #maxStock: number
  readonly #logger: Logger
  readonly #underReplicated: Counter | undefined
  readonly #writing = new Map<string, Promise<readonly ProviderId[]>>()
  /** Placements by chunk size; each is used once. */
  readonly #stock = new Map<number, ProviderId[][]>()
  readonly #asking = new Map<number, Promise<void>>()
  #nextStock = FIRST_STOCK
  #hasWarned = false

  constructor(components: ReplicatedWriterComponents, options: ReplicatedWriterOptions = {}) {
    const { replicas = 1, writeQuorum = 0, maxTries = 4, maxStock = 64 } = options
    if (!(replicas >= 1) || !(writeQuorum >= 0) || writeQuorum > replicas) {
      throw new RangeError(`write quorum ${writeQuorum} of ${replicas} replicas`)
    }
    const { logger = noLogger, metrics } = components
    this.#components = components
    this.#replicas = replicas
    this.#quorum = writeQuorum === 0 ? replicas : writeQuorum
    this.#maxTries = maxTries
    this.#maxStock = maxStock
    this.#logger = logger.forComponent('blobswarm:chunks:replicated-writer')
    this.#underReplicated = metrics?.counter('blobswarm_chunks_under_replicated_total', {
      help: 'Chunks that were written to fewer providers than wanted.'
    })
  }

  async write(
    id: ChunkId,
    bytes: Uint8Array,
    options: AbortOptions = {}
  ): Promise<readonly ProviderId[]> {
    if (isZeroChunk(id)) return []
    const key = chunkKey(id)
    const shared = this.#writing.get(key)
    if (shared !== undefined) return shared
    const writing = this.#write(id, bytes, options).finally(() => this.#writing.delete(key))
    this.#writing.set(key, writing)
    return writing
  }

  async locate(
    ids: readonly ChunkId[],
    options: AbortOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    const found = ids.map((): ProviderId[] => [])
    const states = await this.#components.providers.list(options)
    const live = states.filter(({ condition }) => condition === 'live')
    await Promise.all(
      live.map(async ({ id: provider }) => {
        try {
          const answers = await this.#components.directory.open(provider)?.has(ids, options)
          for (const [at, isThere] of answers?.entries() ?? []) {
            if (isThere) found[at]?.push(provider)
          }
        } catch (thrown) {
          options.signal?.throwIfAborted()
          // It only would have saved a transfer.
          this.#logger.debug('%p did not say what it has: %e', provider, toError(thrown))
        }
      })
    )
    return found.map((providers) => providers.toSorted())
  }

  async #write(id: ChunkId, bytes: Uint8Array, options: AbortOptions): Promise<ProviderId[]> {
    const attempt: Attempt = { id, bytes, acknowledged: [], failed: [], causes: [] }
    let wanted = this.#replicas
    let targets = await this.#takePlacement(bytes.byteLength, options)
    for (let tries = 1; ; tries++) {
      await Promise.all(targets.map(async (target) => this.#putOn(target, attempt, options)))
      const missing = wanted - attempt.acknowledged.length
      if (missing <= 0 || tries >= this.#maxTries) break
      targets = await this.#replacements(attempt, missing, options)
      if (targets.length === 0) {
        // Nobody else is there: as many as there are is enough, unless somebody failed.
        wanted = attempt.acknowledged.length
        break
      }
    }
    return this.#accept(attempt)
  }

  #accept(attempt: Attempt): ProviderId[] {
    const { id, acknowledged, causes, bytes } = attempt
    const quorum = causes.length === 0 ? Math.min(this.#quorum, acknowledged.length) : this.#quorum
    if (acknowledged.length < Math.max(1, quorum)) {
      const full = causes.find((cause) => cause instanceof StoreFullError)
      if (full !== undefined && acknowledged.length === 0) {
        throw new StoreFullError('every provider', bytes.byteLength, { cause: full })
      }
      throw new NotEnoughReplicasError(toHex(id), acknowledged.length, this.#quorum, {
        cause: causes.at(-1)
      })
    }
    if (acknowledged.length < this.#replicas) this.#warn(acknowledged.length)
    return acknowledged.toSorted()
  }

  async #putOn(target: ProviderId, attempt: Attempt, options: AbortOptions): Promise<void> {
    const { directory, providers } = this.#components
    try {
      const provider = directory.open(target)
      if (provider === undefined) throw new NoProviderError(`${target} is unknown`)
      await provider.put(attempt.id, attempt.bytes, options)
      attempt.acknowledged.push(target)
    } catch (thrown) {
      options.signal?.throwIfAborted()
      const error = toError(thrown)
      this.#logger.info('%p did not take a chunk: %e', target, error)
      attempt.failed.push(target)
      attempt.causes.push(error)
      this.#dropFromStock(target)
      await providers.reportFailure(target, options).catch((failure: unknown) => {
        this.#logger.debug('failure of %p not reported: %e', target, toError(failure))
      })
    }
  }

  async #replacements(
    attempt: Attempt,
    missing: number,
    options: AbortOptions
  ): Promise<ProviderId[]> {
    const { acknowledged, failed, bytes } = attempt
    const exclude = [...acknowledged, ...failed]
    const request = { count: 1, chunkBytes: bytes.byteLength, replicas: missing, exclude }
    try {
      const [placed = []] = await this.#components.providers.place(request, options)
      return placed
    } catch (error) {
      if (isNoProvider(error)) return []
      throw error
    }
  }

  async #takePlacement(chunkBytes: number, options: AbortOptions): Promise<ProviderId[]> {
    for (;;) {
      const placement = this.#stock.get(chunkBytes)?.pop()
      if (placement !== undefined) return placement
      let asking = this.#asking.get(chunkBytes)
      if (asking === undefined) {
        asking = this.#restock(chunkBytes).finally(() => this.#asking.delete(chunkBytes))
        this.#asking.set(chunkBytes, asking)
      }
      await asking
      options.signal?.throwIfAborted()
    }
  }

  async #restock(chunkBytes: number): Promise<void> {
    const { providers } = this.#components
    const request = { chunkBytes, replicas: this.#replicas }
    let placed: ProviderId[][]
    try {
      placed = await providers.place({ ...request, count: this.#nextStock })
      this.#nextStock = Math.min(this.#maxStock, this.#nextStock * 2)
    } catch (error) {
      if (!isNoProvider(error)) throw error
      placed = await providers.place({ ...request, count: 1 }) // room for one at least?
      this.#nextStock = FIRST_STOCK
    }
    if (this.#stock.size > 64) this.#stock.clear() // odd sizes of last chunks
    this.#stock.set(chunkBytes, placed)
  }

  #dropFromStock(failed: ProviderId): void {
    for (const [chunkBytes, placements] of this.#stock) {
      const kept = placements.filter((placement) => !placement.includes(failed))
      this.#stock.set(chunkBytes, kept)
    }
  }

  #warn(copies: number): void {
    this.#underReplicated?.add(1)
    if (this.#hasWarned) return
    this.#hasWarned = true
    this.#logger.info('chunks get %d of %d copies: too few providers', copies, this.#replicas)
  }
}

/** The manager may be another process: its errors arrive with their code, not their class. */
function isNoProvider(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === 'ERR_NO_PROVIDER'
}
