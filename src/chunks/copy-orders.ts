import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { HeldChunk } from './holder-check.ts'
import type { MaintainedProvider } from './maintenance-types.ts'
import { openPlaced } from './open-placed.ts'
import type { ProviderLoad } from './provider-load.ts'
import type { ProviderManager } from './provider-manager-types.ts'
import type { ChunkProvider, ProviderDirectory } from './provider-types.ts'
import type { ProviderId } from './types.ts'

export interface CopyOrdersComponents {
  readonly directory: ProviderDirectory
  readonly providers: Pick<ProviderManager, 'reportFailure'>
  readonly load: ProviderLoad
  readonly logger: Logger
}

/** What became of copies that were ordered. */
export interface CopiesMade {
  /** Fetched by their targets. */
  readonly fetched: number
  /** Carried there by way of this agent. */
  readonly carried: number
  /** Providers that failed to take copies. */
  readonly failed: readonly ProviderId[]
}

/** Copies that are wanted, by the provider that shall take them. */
export class CopyList {
  readonly #byTarget = new Map<ProviderId, HeldChunk[]>()

  add(target: ProviderId, chunk: HeldChunk): void {
    const chunks = this.#byTarget.get(target)
    if (chunks === undefined) this.#byTarget.set(target, [chunk])
    else chunks.push(chunk)
  }

  /**
   * Walks the targets.
   *
   * @yields each with its chunks in batches of those that have the same holders.
   */
  *[Symbol.iterator](): Generator<[ProviderId, HeldChunk[][]], void> {
    for (const [target, chunks] of this.#byTarget) {
      const groups = Map.groupBy(chunks, ({ holders }) => [...holders].toSorted().join())
      const batches = Array.from(groups.values()).flatMap((group) =>
        Array.from({ length: Math.ceil(group.length / MAX_COPIED) }, (_, at) =>
          group.slice(at * MAX_COPIED, (at + 1) * MAX_COPIED)
        )
      )
      yield [target, batches]
    }
  }
}

/** Chunks that a provider is told to fetch at once. */
const MAX_COPIED = 256

/** Providers that fetch copies at the same time. */
const TARGETS_AT_A_TIME = 16

/** Chunks on their way through this agent at the same time, all targets together … */
const MAX_CARRIED = 8
/** … and to one target. */
const CARRIED_TO_ONE = 4

/**
 * Has providers fetch copies of chunks from their holders. What one cannot fetch itself is carried
 * there by way of this agent.
 */
export class CopyOrders {
  readonly #components: CopyOrdersComponents
  readonly #slots = new Budget(MAX_CARRIED, 'chunks that are carried')

  constructor(components: CopyOrdersComponents) {
    this.#components = components
  }

  /**
   * Makes the copies, and adds whoever has one to the holders of the chunk; holders that cannot
   * give a chunk are taken off its list.
   */
  async carryOut(list: CopyList, { signal: outer }: AbortOptions): Promise<CopiesMade> {
    const made = { fetched: 0, carried: 0, failed: [] as ProviderId[] }
    await forEachConcurrently(
      list,
      TARGETS_AT_A_TIME,
      async ([target, batches], signal) => {
        try {
          for (const batch of batches) {
            const { fetched, carried } = await this.#copy(target, batch, signal)
            made.fetched += fetched
            made.carried += carried
          }
        } catch (thrown) {
          signal.throwIfAborted()
          made.failed.push(target)
          await this.#noteFailure(target, toError(thrown), { signal })
        }
      },
      { signal: outer }
    )
    return made
  }

  async #copy(target: ProviderId, chunks: HeldChunk[], signal: AbortSignal) {
    const provider = await openPlaced(this.#components.directory, target)
    const fetched = await this.#fetch(provider, chunks, signal)
    const left: HeldChunk[] = []
    for (const [at, chunk] of chunks.entries()) {
      if (fetched[at] === true) chunk.holders.add(target)
      else left.push(chunk)
    }
    await forEachConcurrently(
      left,
      CARRIED_TO_ONE,
      async (chunk, each) => this.#carry(provider, chunk, each),
      { signal }
    )
    const carried = left.filter(({ holders }) => holders.has(target)).length
    return { fetched: chunks.length - left.length, carried }
  }

  /** @returns for each chunk whether the provider has it now. */
  async #fetch(
    provider: ChunkProvider,
    chunks: readonly HeldChunk[],
    signal: AbortSignal
  ): Promise<readonly boolean[]> {
    if (!canCopy(provider)) return []
    const ids = chunks.map(({ id }) => id)
    const sources = Array.from(chunks[0]?.holders ?? [], (id) => ({ id, addresses: [] }))
    try {
      return await provider.copy(ids, sources, { signal })
    } catch (thrown) {
      signal.throwIfAborted()
      this.#components.logger.debug('%p fetches no copies: %e', provider.id, toError(thrown))
      return []
    }
  }

  /** @throws {Error} if the target does not take it. */
  async #carry(target: ChunkProvider, chunk: HeldChunk, signal: AbortSignal): Promise<void> {
    await this.#slots.acquire(1, { signal })
    try {
      const bytes = await this.#read(chunk, signal)
      if (bytes === undefined) return
      await target.put(chunk.id, bytes, { signal })
      chunk.holders.add(target.id)
    } finally {
      this.#slots.release(1)
    }
  }

  async #read({ id, holders }: HeldChunk, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const { directory, logger } = this.#components
    for (const holder of Array.from(holders)) {
      try {
        const bytes = await directory.open(holder)?.get(id, { signal })
        if (bytes !== undefined) return bytes
      } catch (thrown) {
        signal.throwIfAborted()
        logger.info('%p does not give a chunk that it holds: %e', holder, toError(thrown))
      }
      holders.delete(holder)
    }
    return undefined
  }

  async #noteFailure(id: ProviderId, error: Error, options: AbortOptions): Promise<void> {
    const { providers, load, logger } = this.#components
    logger.info('%p did not take copies: %e', id, error)
    const reason = errorCode(error) === 'ERR_STORE_FULL' ? 'full' : 'failed'
    load.fail(id)
    try {
      await providers.reportFailure(id, { reason, signal: options.signal })
    } catch (thrown) {
      options.signal?.throwIfAborted()
      logger.debug('failure of %p not reported: %e', id, toError(thrown))
    }
  }
}

function canCopy(provider: ChunkProvider): provider is MaintainedProvider {
  return 'copy' in provider
}
