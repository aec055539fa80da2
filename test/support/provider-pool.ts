import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { LocalProvider } from '../../src/chunks/local-provider.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { LocalProviderManager } from '../../src/chunks/provider-manager.ts'
import type {
  AbortOptions,
  ChunkId,
  CollectableProvider,
  CollectChunksOptions,
  Collected,
  ProviderDirectory,
  ProviderId
} from '../../src/chunks/types.ts'
import { GIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { ManualClock } from './manual-clock.ts'

/** A provider over a memory store whose calls are counted and can be made to wait or to fail. */
export class TestProvider implements CollectableProvider {
  readonly id: ProviderId
  readonly store: MemoryStore
  readonly calls = { has: 0, put: 0, get: 0 }
  /** Called before each call; may throw or wait. */
  onCall: (call: 'has' | 'put' | 'get', options: AbortOptions) => Promise<void> = async () => {}
  readonly #local: LocalProvider

  constructor(id: ProviderId, quotaBytes = GIB, leases?: LeaseTable) {
    this.id = id
    this.store = new MemoryStore({ quotaBytes })
    const freeBytes = async (): Promise<number> => quotaBytes - this.store.storedBytes
    this.#local = new LocalProvider(id, { store: this.store, freeBytes, leases })
  }

  async has(ids: readonly ChunkId[], options: AbortOptions = {}): Promise<boolean[]> {
    this.calls.has++
    await this.onCall('has', options)
    return await this.#local.has(ids, options)
  }

  async put(id: ChunkId, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    this.calls.put++
    await this.onCall('put', options)
    await this.#local.put(id, bytes, options)
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    this.calls.get++
    await this.onCall('get', options)
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

  report(zone: string) {
    return this.#local.report(zone)
  }
}

/**
 * Providers `a`, `b`, `c` … with their manager, all in this process; leases go by the pool's clock.
 */
export class ProviderPool implements ProviderDirectory {
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
      const provider = new TestProvider(name, quotaBytes, leases)
      await provider.store.start()
      pool.providers.set(name, provider)
    }
    await pool.reportAll()
    return pool
  }

  open(id: ProviderId): CollectableProvider | undefined {
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
