import { toHex } from '../lib/bytes.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { ChunkUnavailableError } from './errors.ts'
import type {
  AbortOptions,
  ChunkId,
  ChunkReader,
  ProviderDirectory,
  ProviderId,
  ProviderManager
} from './types.ts'

export interface ReplicatedReaderComponents {
  readonly directory: ProviderDirectory
  readonly providers: Pick<ProviderManager, 'list'>
  readonly random: Random
  /** Provider that costs no network: asked first if it may have the chunk. */
  readonly localId?: ProviderId | undefined
  readonly logger?: LoggerFactory
}

/** Reads chunks from the providers that are said to have them, and when all of those fail from any that has. */
export class ReplicatedReader implements ChunkReader {
  readonly #components: ReplicatedReaderComponents
  readonly #logger: Logger

  constructor(components: ReplicatedReaderComponents) {
    this.#components = components
    const { logger = noLogger } = components
    this.#logger = logger.forComponent('blobswarm:chunks:replicated-reader')
  }

  async read(
    id: ChunkId,
    hint: readonly ProviderId[],
    options: AbortOptions = {}
  ): Promise<Uint8Array> {
    const asked = new Set<ProviderId>()
    let cause: Error | undefined
    const attempt = async (candidates: readonly ProviderId[]): Promise<Uint8Array | undefined> => {
      for (const provider of this.#inOrder(candidates)) {
        if (asked.has(provider)) continue
        asked.add(provider)
        try {
          const bytes = await this.#components.directory.open(provider)?.get(id, options)
          if (bytes !== undefined) return bytes
        } catch (thrown) {
          options.signal?.throwIfAborted()
          cause = toError(thrown)
          this.#logger.debug('%p could not give a chunk: %e', provider, cause)
        }
      }
      return undefined
    }
    const found = (await attempt(hint)) ?? (await attempt(await this.#everyone(options)))
    if (found === undefined) throw new ChunkUnavailableError(toHex(id), [...asked], { cause })
    return found
  }

  async #everyone(options: AbortOptions): Promise<ProviderId[]> {
    const states = await this.#components.providers.list(options)
    return states.filter(({ condition }) => condition !== 'dead').map(({ id }) => id)
  }

  /** The local one first, the others as chance has it, so that readers spread over the replicas. */
  #inOrder(candidates: readonly ProviderId[]): ProviderId[] {
    const { localId, random } = this.#components
    return candidates
      .map((id) => ({ id, rank: id === localId ? -1 : random() }))
      .toSorted((a, b) => a.rank - b.rank)
      .map(({ id }) => id)
  }
}
