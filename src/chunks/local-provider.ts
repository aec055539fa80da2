import { systemClock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { type Logger, type LoggerFactory, noLogger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { nextTurn } from '../lib/turn.ts'
import { checkChunkId, verifyChunk } from './chunk-id.ts'
import { LeaseTable } from './lease-table.ts'
import { SortedIds } from './sorted-ids.ts'
import type {
  AbortOptions,
  ChunkId,
  ChunkStore,
  CollectableProvider,
  CollectChunksOptions,
  Collected,
  ProviderId,
  ProviderReport
} from './types.ts'

/** Chunks that are listed for a collection, or deleted by it, in one call. */
export const MAX_COLLECTED_IDS = 1024

/** Files that one call deletes at the same time; the others that use the disk shall not notice. */
const DELETES_AT_A_TIME = 8

/** Ids that are looked through before others have a turn. */
const IDS_PER_TURN = 4096

export interface LocalProviderComponents {
  readonly store: ChunkStore
  /** Tells how many bytes of chunks there is still room for. */
  readonly freeBytes: () => Promise<number>
  /** @default a table of its own, by the machine's clock and with the default lease */
  readonly leases?: LeaseTable | undefined
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
}

/**
 * This agent's own store as a provider: verifies what it is given, reports its space and load, and
 * lets a collection delete what nobody has a lease on.
 *
 * A lease is given before the store is asked, and looked at in the moment of deletion. So either
 * the deletion sees the lease, or whoever asked for it sees that the chunk is gone.
 */
export class LocalProvider implements CollectableProvider {
  readonly id: ProviderId
  readonly #store: ChunkStore
  readonly #freeBytes: () => Promise<number>
  readonly #leases: LeaseTable
  readonly #log: Logger
  readonly #collectedTotal: Counter | undefined
  readonly #collectedBytes: Counter | undefined
  #sortedIds: SortedIds
  #load = 0

  constructor(id: ProviderId, components: LocalProviderComponents) {
    const { store, freeBytes, logger = noLogger, metrics } = components
    const { leases = new LeaseTable({ clock: systemClock }) } = components
    this.id = id
    this.#store = store
    this.#freeBytes = freeBytes
    this.#leases = leases
    this.#sortedIds = new SortedIds(store)
    this.#log = logger.forComponent('blobswarm:chunks:local-provider')
    this.#collectedTotal = metrics?.counter('blobswarm_chunks_collected_total', {
      help: 'Chunks that a collection deleted'
    })
    this.#collectedBytes = metrics?.counter('blobswarm_chunks_collected_bytes_total', {
      help: 'Bytes of the chunks that a collection deleted'
    })
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    options.signal?.throwIfAborted()
    return ids.map((id) => {
      const isHeld = this.#store.has(id)
      if (isHeld) this.#leases.grant(id)
      return isHeld
    })
  }

  /** @throws {ChunkMismatchError} if the bytes are not the chunk; nothing is stored then. */
  async put(id: ChunkId, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    await this.#counted(async () => {
      if (!this.#store.has(id)) verifyChunk(id, bytes)
      this.#leases.grant(id)
      await this.#store.put(id, bytes, options)
      this.#leases.grant(id) // anew: a slow disk is no reason for a short lease
    })
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    return await this.#counted(() => this.#store.get(id, options))
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
    const collected = { count: 0, bytes: 0 }
    try {
      await forEachConcurrently(
        ids,
        DELETES_AT_A_TIME,
        async (id) => {
          const bytes = this.#store.lengthOf(id)
          const isKept = (): boolean => this.#leases.isLeased(collection, id)
          if (bytes === undefined || !(await this.#store.delete(id, { isKept }))) return
          collected.count++
          collected.bytes += bytes
        },
        options
      )
    } finally {
      this.#noteCollected(collected, ids.length)
    }
    return collected
  }

  /** What the provider manager is told. */
  async report(zone: string): Promise<ProviderReport> {
    const load = this.#load
    const freeBytes = await this.#freeBytes()
    const { chunkCount, storedBytes } = this.#store
    return { id: this.id, zone, freeBytes, storedBytes, chunkCount, load }
  }

  /** What `collect` would delete. */
  #collectable(collection: string, ids: readonly ChunkId[]): Collected {
    const lengths = ids
      .filter((id) => !this.#leases.isLeased(collection, id))
      .flatMap((id) => this.#store.lengthOf(id) ?? [])
    return { count: lengths.length, bytes: lengths.reduce((sum, bytes) => sum + bytes, 0) }
  }

  #noteCollected({ count, bytes }: Collected, asked: number): void {
    this.#collectedTotal?.add(count)
    this.#collectedBytes?.add(bytes)
    this.#log.info('collected %d of %d chunks, %d bytes', count, asked, bytes)
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
