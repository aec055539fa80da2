import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { chunkKey, isZeroChunk } from './chunk-id.ts'
import type { ChunkLocator } from './chunk-locator.ts'
import { CopyList, CopyOrders } from './copy-orders.ts'
import { NotEnoughReplicasError } from './errors.ts'
import { checkHolders, type HeldChunk, type Trust } from './holder-check.ts'
import type { ProviderLoad } from './provider-load.ts'
import type { ProviderManager, ProviderState } from './provider-manager-types.ts'
import type { ProviderDirectory } from './provider-types.ts'
import type { MakeWholeOptions, WrittenChunk } from './replica-types.ts'
import type { ProviderId } from './types.ts'

export interface ReplicaMenderComponents {
  readonly directory: ProviderDirectory
  readonly providers: Pick<ProviderManager, 'list' | 'place' | 'reportFailure'>
  readonly locator: ChunkLocator
  readonly load: ProviderLoad
  readonly logger: Logger
  readonly metrics?: Metrics | undefined
  readonly clock: Pick<Clock, 'monotonic'>
  /** Told how the providers are, whenever that is learnt. */
  readonly onStates: (states: readonly ProviderState[]) => void
}

export interface ReplicaMenderOptions {
  readonly replicas: number
  readonly quorum: number
  /** Rounds of replacing providers that failed. */
  readonly maxTries: number
  /**
   * Time that a provider has to say what it holds, and the provider manager who there is, in
   * milliseconds.
   *
   * @default 10_000
   */
  readonly timeoutMs?: number | undefined
}

/** A chunk whose copies are counted and made again. */
interface MendedChunk extends HeldChunk {
  /** Whether nobody is left who could take another copy. */
  isFinal: boolean
}

/** What one call of `makeWhole` works with. */
interface Mending {
  readonly chunks: readonly MendedChunk[]
  readonly options: MakeWholeOptions
  /** Providers that could take copies; undefined if the provider manager did not say. */
  readonly usable: ReadonlySet<ProviderId> | undefined
  /** Those who did not answer, or could not take a copy. */
  readonly unfit: Set<ProviderId>
}

/** Chunks that are placed in one call. */
const MAX_PLACED = 1024

/** Calls of the provider manager at the same time. */
const PLACEMENTS_AT_A_TIME = 4

const DEFAULT_CHUNK_BYTES = 262_144

/** A provider that did not answer is not asked again for so long, unless it is heard of. */
const SILENT_MS = 30_000

/** An acknowledgement that is not older is as good as a new one, in milliseconds. */
const FRESH_MS = 250

/**
 * Gives chunks that were written earlier the copies back that they have lost since: finds out who
 * of their holders is still there, and has others fetch what is missing. While nobody has failed
 * that is one list of the providers and one question to each.
 */
export class ReplicaMender {
  readonly #components: ReplicaMenderComponents
  readonly #options: ReplicaMenderOptions
  readonly #timeoutMs: number
  readonly #copyOrders: CopyOrders
  readonly #copies: Counter | undefined
  // Grows by one entry for each provider that was ever asked in vain.
  readonly #silentAt = new Map<ProviderId, number>()

  constructor(components: ReplicaMenderComponents, options: ReplicaMenderOptions) {
    const { timeoutMs = 10_000 } = options
    this.#components = components
    this.#options = options
    this.#timeoutMs = timeoutMs
    this.#copyOrders = new CopyOrders(components)
    this.#copies = components.metrics?.counter('blobswarm_chunks_upload_copies_total', {
      help: 'Copies of chunks of uploads made again before the upload ended',
      labels: ['way']
    })
  }

  /** As `ChunkWriter.makeWhole`. */
  async makeWhole(
    written: readonly WrittenChunk[],
    options: MakeWholeOptions = {}
  ): Promise<(readonly ProviderId[])[]> {
    const byKey = new Map<string, MendedChunk>()
    for (const { id, replicas } of written) {
      if (isZeroChunk(id)) continue
      const chunk = byKey.get(chunkKey(id)) ?? { id, holders: new Set(), isFinal: false }
      for (const provider of replicas) chunk.holders.add(provider)
      byKey.set(chunkKey(id), chunk)
    }
    const chunks = [...byKey.values()]
    if (!this.#isFresh(chunks, options)) await this.#mend(chunks, options)
    return written.map(({ id }) => [...(byKey.get(chunkKey(id))?.holders ?? [])].toSorted())
  }

  #isFresh(chunks: readonly MendedChunk[], { ageMs = Infinity }: MakeWholeOptions): boolean {
    if (chunks.length === 0) return true
    if (ageMs > FRESH_MS) return false
    const holders = new Set<ProviderId>()
    for (const chunk of chunks) {
      if (chunk.holders.size < this.#options.replicas) return false
      for (const holder of chunk.holders) holders.add(holder)
    }
    return ![...holders].some((id) => this.#components.load.hasFailed(id))
  }

  async #mend(chunks: readonly MendedChunk[], options: MakeWholeOptions): Promise<void> {
    const { maxTries, quorum } = this.#options
    const { signal } = options
    const states = await this.#list(options)
    const unfit = new Set(await this.#check(chunks, states, options))
    const usable = states?.filter((state) => isUsable(state) && !unfit.has(state.id))
    const ids = usable && new Set(usable.map(({ id }) => id))
    const mending: Mending = { chunks, options, usable: ids, unfit }
    for (let tries = 1; ; tries++) {
      signal?.throwIfAborted()
      await this.#findLost(mending)
      const short = this.#shortOf(mending)
      if (short.length === 0) return
      if (tries > maxTries) {
        for (const chunk of short) this.#require(chunk, quorum)
        return
      }
      const orders = await this.#place(short, mending)
      const { failed, fetched, carried } = await this.#copyOrders.carryOut(orders, { signal })
      for (const id of failed) unfit.add(id)
      this.#copies?.add(fetched, { way: 'fetched' })
      this.#copies?.add(carried, { way: 'carried' })
      const said = '%d chunks of an upload lacked copies: %d were fetched, %d carried'
      this.#components.logger.info(said, short.length, fetched, carried)
    }
  }

  /** @returns undefined if the provider manager could not be asked. */
  async #list({ signal }: AbortOptions): Promise<readonly ProviderState[] | undefined> {
    try {
      const within = anySignal([signal, AbortSignal.timeout(this.#timeoutMs)])
      const states = await this.#components.providers.list({ signal: within })
      this.#components.onStates(states)
      return states
    } catch (thrown) {
      signal?.throwIfAborted()
      this.#components.logger.info('providers not listed: %e', toError(thrown))
      return undefined
    }
  }

  /** @returns those who did not answer. */
  async #check(
    chunks: readonly MendedChunk[],
    states: readonly ProviderState[] | undefined,
    { signal }: AbortOptions
  ): Promise<ProviderId[]> {
    const { load, providers, logger, clock } = this.#components
    const conditions = new Map(states?.map(({ id, condition }) => [id, condition]))
    const trustOf = (id: ProviderId): Trust => {
      const condition = states === undefined ? 'live' : conditions.get(id)
      if (condition === 'dead') return 'none'
      if (condition !== 'live' && this.#wasSilent(id)) return 'none'
      return condition === 'live' && !load.hasFailed(id) ? 'full' : 'some'
    }
    const asking = { trustOf, timeoutMs: this.#timeoutMs, signal }
    const silent = await checkHolders(this.#components, chunks, asking)
    for (const id of silent) {
      if (!this.#wasSilent(id)) this.#silentAt.set(id, clock.monotonic())
      load.fail(id)
      if (conditions.get(id) !== 'live') continue
      await providers.reportFailure(id, { signal }).catch((thrown: unknown) => {
        logger.debug('failure of %p not reported: %e', id, toError(thrown))
      })
    }
    return silent
  }

  /** Tells whether the provider did not answer a moment ago: it is not waited for again. */
  #wasSilent(id: ProviderId): boolean {
    const silentAt = this.#silentAt.get(id) ?? -Infinity
    return this.#components.clock.monotonic() - silentAt < SILENT_MS
  }

  /** Looks everywhere for chunks that their own holders have no more. @throws {NotEnoughReplicasError} */
  async #findLost({ chunks, options }: Mending): Promise<void> {
    const lost = chunks.filter(({ holders }) => holders.size === 0)
    if (lost.length === 0) return
    const ids = lost.map(({ id }) => id)
    const found = await this.#components.locator.locate(ids, { signal: options.signal })
    for (const [at, chunk] of lost.entries()) {
      for (const provider of found[at] ?? []) chunk.holders.add(provider)
      this.#require(chunk, 1)
    }
  }

  /** Chunks with fewer copies than wanted, where somebody could take one. */
  #shortOf({ chunks, usable, unfit }: Mending): MendedChunk[] {
    const { replicas, quorum } = this.#options
    const fit = usable && new Set([...usable].filter((id) => !unfit.has(id)))
    return chunks.filter(({ holders, isFinal }) => {
      if (isFinal) return false
      if (fit === undefined) return holders.size < quorum
      if (holders.size >= replicas) return false
      return [...holders].filter((id) => fit.has(id)).length < fit.size
    })
  }

  /** Finds targets for the copies that chunks lack; notes where there is nobody. */
  async #place(short: readonly MendedChunk[], mending: Mending) {
    const { chunkBytes = DEFAULT_CHUNK_BYTES, stripe, signal } = mending.options
    const orders = new CopyList()
    await forEachConcurrently(
      batchesOf(short),
      PLACEMENTS_AT_A_TIME,
      async (batch, each) => {
        const beside = [...(batch[0]?.holders ?? [])]
        const replicas = this.#options.replicas - beside.length
        const fit = { exclude: [...mending.unfit], beside, stripe }
        const request = { count: batch.length, chunkBytes, replicas, ...fit }
        const placed = await this.#placeSome(request, { signal: each })
        for (const [at, chunk] of batch.entries()) {
          const targets = placed[at] ?? []
          if (targets.length === 0) chunk.isFinal = true
          for (const target of targets) orders.add(target, chunk)
        }
      },
      { signal }
    )
    return orders
  }

  /** @returns nothing if nobody is left. */
  async #placeSome(
    request: Parameters<ProviderManager['place']>[0],
    options: AbortOptions
  ): Promise<ProviderId[][]> {
    try {
      return await this.#components.providers.place(request, options)
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ERR_NO_PROVIDER' || code === 'ERR_STORE_FULL') return []
      throw error
    }
  }

  #require({ id, holders }: MendedChunk, needed: number): void {
    if (holders.size >= needed) return
    throw new NotEnoughReplicasError(toHex(id), holders.size, this.#options.quorum)
  }
}

function isUsable({ condition, isDraining }: ProviderState): boolean {
  return condition === 'live' && !isDraining
}

/** Groups chunks by who holds them. */
function batchesOf(chunks: readonly MendedChunk[]): MendedChunk[][] {
  const groups = Map.groupBy(chunks, ({ holders }) => [...holders].toSorted().join())
  return Array.from(groups.values()).flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / MAX_PLACED) }, (_, at) =>
      group.slice(at * MAX_PLACED, (at + 1) * MAX_PLACED)
    )
  )
}
