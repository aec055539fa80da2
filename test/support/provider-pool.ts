import { ChunkCopier } from '../../src/chunks/chunk-copier.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import type {
  ChunkSource,
  CopyCondition,
  MaintainedDirectory,
  ServedProvider,
  WorkOptions
} from '../../src/chunks/maintenance-types.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import type { CollectChunksOptions, Collected } from '../../src/chunks/provider-types.ts'
import type { PutOptions, SpaceReservation } from '../../src/chunks/store-types.ts'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { GIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { ManualClock } from './manual-clock.ts'

/** What can be asked of a provider and counted. */
export type ProviderCall = 'has' | 'put' | 'get' | 'holds' | 'check' | 'copy' | 'trim'

/** A provider over a memory store whose calls are counted and can be made to wait or to fail. */
export class TestProvider implements ServedProvider {
  readonly id: ProviderId
  readonly store: MemoryStore
  readonly calls = { has: 0, put: 0, get: 0, holds: 0, check: 0, copy: 0, trim: 0 }
  /** Called before each call; may throw or wait. */
  onCall: (call: ProviderCall, options: AbortOptions) => Promise<void> = async () => {}
  readonly #local: LocalProvider

  constructor(id: ProviderId, quotaBytes = GIB, leases?: LeaseTable, copier?: ChunkCopier) {
    this.id = id
    this.store = new MemoryStore({ quotaBytes })
    const freeBytes = async (): Promise<number> => quotaBytes - this.store.storedBytes
    this.#local = new LocalProvider(id, { store: this.store, freeBytes, leases, copier })
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    await this.#called('has', options)
    return await this.#local.has(ids, options)
  }

  async put(id: ChunkId, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    await this.#called('put', options)
    await this.#local.put(id, bytes, options)
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    await this.#called('get', options)
    return await this.#local.get(id, options)
  }

  beginCollection(): Promise<string> {
    return this.#local.beginCollection()
  }

  unleased(collection: string, after: ChunkId | undefined): Promise<ChunkId[]> {
    return this.#local.unleased(collection, after)
  }

  collect(
    collection: string,
    ids: readonly ChunkId[],
    options?: CollectChunksOptions
  ): Promise<Collected> {
    return this.#local.collect(collection, ids, options)
  }

  async holds(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    await this.#called('holds', options)
    return await this.#local.holds(ids, options)
  }

  async check(ids: readonly ChunkId[], options: WorkOptions = {}): Promise<CopyCondition[]> {
    await this.#called('check', options)
    return await this.#local.check(ids, options)
  }

  async copy(
    ids: readonly ChunkId[],
    sources: readonly ChunkSource[],
    options: WorkOptions = {}
  ): Promise<boolean[]> {
    await this.#called('copy', options)
    return await this.#local.copy(ids, sources, options)
  }

  async trim(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<Collected> {
    await this.#called('trim', options)
    return await this.#local.trim(ids, options)
  }

  lengthOf(id: ChunkId): number | undefined {
    return this.#local.lengthOf(id)
  }

  reserve(id: ChunkId, bytes: number): Promise<SpaceReservation | undefined> {
    return this.#local.reserve(id, bytes)
  }

  report(zone: string) {
    return this.#local.report(zone)
  }

  async #called(call: ProviderCall, options: AbortOptions): Promise<void> {
    this.calls[call]++
    await this.onCall(call, options)
  }
}

/**
 * Providers `a`, `b`, `c` … with their manager, all in this process; leases go by the pool's clock.
 * They copy from each other.
 */
export class ProviderPool implements MaintainedDirectory {
  readonly clock = new ManualClock()
  readonly manager = new LocalProviderManager(
    { clock: this.clock, random: seededRandom(1) },
    { placement: 'roundRobin' }
  )
  readonly providers = new Map<ProviderId, TestProvider>()

  static async start(names: string, quotaBytes?: number): Promise<ProviderPool> {
    const pool = new ProviderPool()
    for (const name of names) {
      const leases = new LeaseTable({ clock: pool.clock })
      const sources = { open: ({ id }: ChunkSource) => pool.providers.get(id) }
      const copier = new ChunkCopier({ sources, clock: pool.clock })
      const provider = new TestProvider(name, quotaBytes, leases, copier)
      await provider.store.start()
      pool.providers.set(name, provider)
    }
    await pool.reportAll()
    return pool
  }

  open(id: ProviderId): TestProvider | undefined {
    return this.providers.get(id)
  }

  get(id: ProviderId): TestProvider {
    const provider = this.providers.get(id)
    if (provider === undefined) throw new RangeError(`no provider ${id}`)
    return provider
  }

  async reportAll(): Promise<void> {
    for (const provider of this.providers.values()) {
      await this.manager.report(await provider.report('zone'))
    }
  }

  /** Names of the providers that hold a chunk, in order. */
  holders(id: ChunkId): string {
    const holding = Array.from(this.providers.values()).filter(({ store }) => store.has(id))
    return holding.map((provider) => provider.id).join('')
  }
}
