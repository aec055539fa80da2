import type { AbortOptions } from '../lib/abort-options.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import { MovingAverage } from '../lib/moving-average.ts'
import { nextTurn } from '../lib/turn.ts'
import type { ChunkCopier } from './chunk-copier.ts'
import { checkChunkId, isZeroChunk, verifyChunk } from './chunk-id.ts'
import { DeletionCounters, type DeletionReason } from './deletion-counters.ts'
import { StoreFailedError } from './errors.ts'
import { LeaseTable } from './lease-table.ts'
import type {
  ChunkSource,
  CopyCondition,
  ServedProvider,
  WorkOptions
} from './maintenance-types.ts'
import type { ProviderReport } from './provider-manager-types.ts'
import type { CollectChunksOptions, Collected, ProviderPutOptions } from './provider-types.ts'
import { SortedIds } from './sorted-ids.ts'
import type { ChunkStore, PutOptions, ReservingStore, SpaceReservation } from './store-types.ts'
import type { ChunkId, ProviderId } from './types.ts'

/** Chunks that are listed for a collection, or deleted by it, in one call. */
export const MAX_COLLECTED_IDS = 1024

/** Files that one call deletes at the same time; the others that use the disk shall not notice. */
const DELETES_AT_A_TIME = 8

/** Chunks that one call reads again at the same time. */
const CHECKS_AT_A_TIME = 4

/** Ids that are looked through before others have a turn. */
const IDS_PER_TURN = 4096

export interface LocalProviderComponents {
  readonly store: ReservingStore
  /** Tells how many bytes of chunks there is still room for. */
  readonly freeBytes: () => Promise<number>
  /** What this agent has beside that; it is given too, but never promised. @default nothing */
  readonly cache?: Pick<ChunkStore, 'get'> | undefined
  /** @default a table of its own, by the machine's clock and with the default lease */
  readonly leases?: LeaseTable | undefined
  /** Fetches copies from others. @default nothing is ever copied */
  readonly copier?: ChunkCopier | undefined
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
  /** Measures how long puts take. @default the machine's clock */
  readonly clock?: Pick<Clock, 'monotonic'> | undefined
}

/** What a provider's agent knows of it beside its store. */
export interface ReportedAgent {
  /** @default false */
  readonly isDraining?: boolean | undefined
  /** @default '' */
  readonly version?: string | undefined
}

/** Puts that the reported latency is an average of, roughly. */
const LATENCY_SPAN = 32

/**
 * This agent's own store as a provider: verifies what it is given, reports its space and load, and
 * lets collections and repair delete what nobody has a lease on.
 *
 * A lease is given before the store is asked, and looked at in the moment of deletion. So either
 * the deletion sees the lease, or whoever asked for it sees that the chunk is gone.
 */
export class LocalProvider implements ServedProvider {
  readonly id: ProviderId
  readonly #store: ReservingStore
  readonly #freeBytes: () => Promise<number>
  readonly #cache: Pick<ChunkStore, 'get'> | undefined
  readonly #leases: LeaseTable
  readonly #copier: ChunkCopier | undefined
  readonly #log: Logger
  readonly #deleted: DeletionCounters
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #latencyMs = new MovingAverage(LATENCY_SPAN)
  #sortedIds: SortedIds
  #load = 0

  constructor(id: ProviderId, components: LocalProviderComponents) {
    const { store, freeBytes, logger = noLogger, metrics } = components
    const { leases = new LeaseTable({ clock: systemClock }), copier } = components
    const { clock = systemClock } = components
    this.id = id
    this.#store = store
    this.#freeBytes = freeBytes
    this.#cache = components.cache
    this.#leases = leases
    this.#copier = copier
    this.#sortedIds = new SortedIds(store)
    this.#log = logger.forComponent('blobswarm:chunks:local-provider')
    this.#deleted = new DeletionCounters(metrics)
    this.#clock = clock
    metrics?.gauge('blobswarm_chunks_provider_load', {
      help: 'Puts and gets in progress at this provider',
      read: () => this.#load
    })
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => this.#hasLeased(id))
  }

  /** @throws {ChunkMismatchError} if the bytes are not the chunk; nothing is stored then. */
  async put(
    id: ChunkId,
    bytes: Uint8Array,
    options: PutOptions & ProviderPutOptions = {}
  ): Promise<void> {
    await this.#counted(async () => {
      if (options.isVerified !== true && !this.#store.has(id)) verifyChunk(id, bytes)
      await this.#putLeased(id, bytes, options)
    })
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    return await this.#counted(
      async () => (await this.#store.get(id, options)) ?? (await this.#cache?.get(id, options))
    )
  }

  async beginCollection(options: AbortOptions = {}): Promise<string> {
    options.signal?.throwIfAborted()
    this.#sortedIds = new SortedIds(this.#store)
    return this.#leases.begin()
  }

  async unleased(
    collection: string,
    after: ChunkId | undefined,
    options: AbortOptions = {}
  ): Promise<ChunkId[]> {
    if (after !== undefined) checkChunkId(after)
    this.#leases.checkOpen(collection)
    const sortedIds = this.#sortedIds
    const found: ChunkId[] = []
    let untilTurn = IDS_PER_TURN
    for (let firstByte = after?.[0] ?? 0; firstByte < 256; firstByte++) {
      options.signal?.throwIfAborted()
      const ids = sortedIds.startingWith(firstByte, after)
      for (const id of ids) {
        if (this.#leases.isLeased(collection, id) || !this.#store.has(id)) continue
        if (found.push(id.slice()) === MAX_COLLECTED_IDS) return found
      }
      untilTurn -= ids.length
      if (untilTurn > 0) continue
      untilTurn = IDS_PER_TURN
      await nextTurn()
    }
    return found
  }

  /** @throws {RangeError} for more than 1,024 ids. */
  async collect(
    collection: string,
    ids: readonly ChunkId[],
    options: CollectChunksOptions = {}
  ): Promise<Collected> {
    if (ids.length > MAX_COLLECTED_IDS) throw new RangeError(`${ids.length} chunks at once`)
    for (const id of ids) checkChunkId(id)
    this.#leases.checkOpen(collection)
    if (options.isDryRun === true) return this.#collectable(collection, ids)
    const isKept = (id: ChunkId): boolean => this.#leases.isLeased(collection, id)
    return await this.#delete('collected', ids, isKept, options)
  }

  async holds(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => this.#store.has(id))
  }

  async check(ids: readonly ChunkId[], options: WorkOptions = {}): Promise<CopyCondition[]> {
    const conditions: CopyCondition[] = ids.map(() => 'intact')
    let doneCount = 0
    await forEachConcurrently(
      ids.entries(),
      CHECKS_AT_A_TIME,
      async ([at, id], signal) => {
        if (!isZeroChunk(id)) conditions[at] = await this.#checkOne(id, { signal })
        options.onProgress?.(++doneCount)
      },
      options
    )
    return conditions
  }

  async copy(
    ids: readonly ChunkId[],
    sources: readonly ChunkSource[],
    options: WorkOptions = {}
  ): Promise<boolean[]> {
    for (const id of ids) checkChunkId(id)
    if (this.#copier === undefined) return this.has(ids, options)
    const target = {
      has: (id: ChunkId): boolean => this.#hasLeased(id),
      put: async (id: ChunkId, bytes: Uint8Array, { signal }: AbortOptions): Promise<void> =>
        this.#counted(async () => this.#putLeased(id, bytes, { signal }))
    }
    return await this.#copier.copy(ids, sources, target, options)
  }

  /** @throws {RangeError} for more than 1,024 ids. */
  async trim(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<Collected> {
    if (ids.length > MAX_COLLECTED_IDS) throw new RangeError(`${ids.length} chunks at once`)
    for (const id of ids) checkChunkId(id)
    return await this.#delete('trimmed', ids, (id) => this.#leases.hasLease(id), options)
  }

  lengthOf(id: ChunkId): number | undefined {
    return this.#store.lengthOf(id)
  }

  async reserve(id: ChunkId, bytes: number): Promise<SpaceReservation | undefined> {
    return this.#store.has(id) ? undefined : await this.#store.reserve(bytes)
  }

  /** What the provider manager is told; of a store that takes no writes, that it has no room. */
  async report(zone: string, agent: ReportedAgent = {}): Promise<ProviderReport> {
    const { isDraining = false, version = '' } = agent
    const load = this.#load
    const latencyMs = Math.round(this.#latencyMs.value)
    const { isWritable, lostCount } = this.#store
    const freeBytes = isWritable ? await this.#freeBytes() : 0
    const { chunkCount, storedBytes } = this.#store
    const space = { freeBytes, storedBytes, chunkCount }
    return { id: this.id, zone, ...space, load, isDraining, version, latencyMs, lostCount }
  }

  /** What `collect` would delete. */
  #collectable(collection: string, ids: readonly ChunkId[]): Collected {
    const lengths = ids
      .filter((id) => !this.#leases.isLeased(collection, id))
      .flatMap((id) => this.#store.lengthOf(id) ?? [])
    return { count: lengths.length, bytes: lengths.reduce((sum, bytes) => sum + bytes, 0) }
  }

  #hasLeased(id: ChunkId): boolean {
    const isHeld = this.#store.has(id)
    if (isHeld) this.#leases.grant(id)
    return isHeld
  }

  async #putLeased(id: ChunkId, bytes: Uint8Array, options: PutOptions): Promise<void> {
    this.#leases.grant(id)
    const startedMs = this.#clock.monotonic()
    const isNew = await this.#store.put(id, bytes, options)
    if (isNew) this.#latencyMs.add(this.#clock.monotonic() - startedMs)
    this.#leases.grant(id) // anew: a slow disk is no reason for a short lease
  }

  async #checkOne(id: ChunkId, options: AbortOptions): Promise<CopyCondition> {
    try {
      return (await this.#store.check(id, options)) ?? 'absent'
    } catch (error) {
      if (!(error instanceof StoreFailedError)) throw error
      return 'missing' // unreadable; the store has said so in the log
    }
  }

  async #delete(
    why: DeletionReason,
    ids: readonly ChunkId[],
    isKept: (id: ChunkId) => boolean,
    options: AbortOptions
  ): Promise<Collected> {
    const deleted = { count: 0, bytes: 0 }
    try {
      await forEachConcurrently(
        ids,
        DELETES_AT_A_TIME,
        async (id) => {
          const bytes = this.#store.lengthOf(id)
          if (bytes === undefined) return
          if (!(await this.#store.delete(id, { isKept: () => isKept(id) }))) return
          deleted.count++
          deleted.bytes += bytes
        },
        options
      )
    } finally {
      this.#deleted.add(why, deleted)
      const { count, bytes } = deleted
      this.#log.info('%s %d of %d chunks, %d bytes', why, count, ids.length, bytes)
    }
    return deleted
  }

  async #counted<T>(work: () => Promise<T>): Promise<T> {
    this.#load++
    try {
      return await work()
    } finally {
      this.#load--
    }
  }
}
