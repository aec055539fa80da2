import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { isZeroChunk } from './chunk-id.ts'
import { ChunkUnavailableError } from './errors.ts'
import type { MaintainedProvider } from './maintenance-types.ts'
import type { ProviderManager } from './provider-manager-types.ts'
import type { ChunkReader } from './replica-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

export interface ReplicatedReaderComponents {
  readonly directory: {
    open(id: ProviderId): Pick<MaintainedProvider, 'get' | 'holds'> | undefined
  }
  readonly providers: Pick<ProviderManager, 'list'>
  readonly random: Random
  /** Provider that costs no network: asked first if it may have the chunk. */
  readonly localId?: ProviderId | undefined
  readonly logger?: LoggerFactory | undefined
}

export interface ReplicatedReaderOptions {
  /**
   * Providers asked at the same time whether they have a chunk that the hint did not find.
   *
   * @default 16
   */
  readonly maxQuestions?: number | undefined
}

/** One read in progress. */
interface Search {
  readonly id: ChunkId
  readonly asked: Set<ProviderId>
  cause: Error | undefined
}

/**
 * Reads chunks from the providers that are said to have them, one after the other, and when all of
 * those fail from any that has. Relies on providers to verify what they give.
 */
export class ReplicatedReader implements ChunkReader {
  readonly #components: ReplicatedReaderComponents
  readonly #maxQuestions: number
  readonly #logger: Logger

  constructor(components: ReplicatedReaderComponents, options: ReplicatedReaderOptions = {}) {
    const { logger = noLogger } = components
    const { maxQuestions = 16 } = options
    if (!(maxQuestions >= 1)) throw new RangeError(`maxQuestions must be at least 1`)
    this.#components = components
    this.#maxQuestions = maxQuestions
    this.#logger = logger.forComponent('blobswarm:chunks:replicated-reader')
  }

  /** @throws {RangeError} for the zero chunk, whose length the id does not tell. */
  async read(
    id: ChunkId,
    hint: readonly ProviderId[],
    options: AbortOptions = {}
  ): Promise<Uint8Array> {
    options.signal?.throwIfAborted()
    if (isZeroChunk(id)) throw new RangeError('the zero chunk has no length of its own')
    const search: Search = { id, asked: new Set(), cause: undefined }
    for (const provider of this.#inOrder(hint)) {
      const bytes = await this.#getFrom(provider, search, options)
      if (bytes !== undefined) return bytes
    }
    const found = await this.#askEveryone(search, options)
    if (found !== undefined) return found
    const { asked, cause } = search
    throw new ChunkUnavailableError(toHex(id), Array.from(asked), { cause })
  }

  async #getFrom(
    provider: ProviderId,
    search: Search,
    options: AbortOptions
  ): Promise<Uint8Array | undefined> {
    search.asked.add(provider)
    return await this.#attempt(provider, search, options, async () =>
      this.#components.directory.open(provider)?.get(search.id, options)
    )
  }

  /** Asks all others whether they have the chunk; the first that does and can give it is enough. */
  async #askEveryone(search: Search, options: AbortOptions): Promise<Uint8Array | undefined> {
    const states = await this.#components.providers.list(options)
    const others = states.filter(({ id }) => !search.asked.has(id))
    const candidates = others.filter(({ condition }) => condition !== 'dead').map(({ id }) => id)
    const found = Promise.withResolvers<Uint8Array>()
    const enough = new AbortController()
    const signals = [enough.signal, options.signal].filter((signal) => signal !== undefined)
    const asking = forEachConcurrently(
      this.#inOrder(candidates),
      this.#maxQuestions,
      async (provider, signal) => {
        const bytes = await this.#askAndGet(provider, search, { signal })
        if (bytes === undefined) return
        found.resolve(bytes)
        enough.abort()
      },
      { signal: AbortSignal.any(signals) }
    )
    // Its rejection is of interest only while nothing is found.
    const ended = asking.then(
      () => undefined,
      (error: unknown) => {
        if (!enough.signal.aborted) throw error
      }
    )
    return (await Promise.race([found.promise, ended])) ?? undefined
  }

  async #askAndGet(
    provider: ProviderId,
    search: Search,
    options: AbortOptions
  ): Promise<Uint8Array | undefined> {
    search.asked.add(provider)
    const opened = this.#components.directory.open(provider)
    if (opened === undefined) return undefined
    return await this.#attempt(provider, search, options, async () => {
      // No lease: who only reads keeps no surplus copy alive.
      const [hasIt] = await opened.holds([search.id], options)
      return hasIt === true ? await opened.get(search.id, options) : undefined
    })
  }

  async #attempt(
    provider: ProviderId,
    search: Search,
    options: AbortOptions,
    work: () => Promise<Uint8Array | undefined>
  ): Promise<Uint8Array | undefined> {
    try {
      return await work()
    } catch (thrown) {
      options.signal?.throwIfAborted()
      search.cause = toError(thrown)
      this.#logger.debug('%p could not give a chunk: %e', provider, search.cause)
      return undefined
    }
  }

  /** The local one first, the others as chance has it, so that readers spread over the replicas. */
  #inOrder(candidates: readonly ProviderId[]): ProviderId[] {
    const { localId, random } = this.#components
    return Array.from(new Set(candidates), (id) => ({ id, rank: id === localId ? -1 : random() }))
      .toSorted((left, right) => left.rank - right.rank)
      .map(({ id }) => id)
  }
}
