import { ChunkCopier } from '../../../src/chunks/chunk-copier.ts'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../../src/chunks/chunk-list.ts'
import { LeaseTable } from '../../../src/chunks/lease-table.ts'
import type { ChunkSource, RepairFigures } from '../../../src/chunks/maintenance-types.ts'
import { buildManifest } from '../../../src/chunks/manifest.ts'
import { LocalProviderManager } from '../../../src/chunks/provider-manager.ts'
import type { ChunkId, ProviderId } from '../../../src/chunks/types.ts'
import { KIB } from '../../../src/lib/bytes.ts'
import { MemoryLogger } from '../../../src/lib/logger.ts'
import { MemoryMetrics } from '../../../src/lib/metrics.ts'
import { type Random, seededRandom } from '../../../src/lib/random.ts'
import { decodeLocation, locationRecordName, signLocation } from '../../../src/metadata/location.ts'
import { MemoryMetadataStore } from '../../../src/metadata/memory-node-store.ts'
import { Repairer } from '../../../src/metadata/repair.ts'
import type {
  RepairerComponents,
  RepairerOptions,
  ScannedMetadata
} from '../../../src/metadata/repair-types.ts'
import { TestProvider } from '../provider-pool.ts'
import { sampleBytes } from '../sample-bytes.ts'
import { testSigner, trusting } from '../signing.ts'
import { VirtualClock } from '../virtual-clock.ts'

/** Times of a cluster in a hurry, in milliseconds. */
export const TIMES: Times = { beat: 1000, suspect: 3000, dead: 10_000, lease: 60_000 }

/** How fast things go, in milliseconds. */
export interface Times {
  readonly beat: number
  readonly suspect: number
  readonly dead: number
  readonly lease: number
}

/** An image of one manifest page. */
export interface SampleImage {
  readonly page: ChunkId
  readonly ids: readonly ChunkId[]
}

/** A provider that can be switched off. */
export interface Machine {
  readonly provider: TestProvider
  readonly zone: string
  isUp: boolean
  /** Chunks that it has found broken. */
  lostCount: number
}

export interface RepairBenchOptions extends RepairerOptions {
  readonly seed?: number
  readonly components?: Partial<RepairerComponents>
  readonly times?: Times
}

/**
 * Providers `a`, `b`, `c` … each in a zone of its own, their manager, metadata in memory and the
 * repairer of it all, on virtual time. Providers that are up report once a second.
 */
export class RepairBench {
  readonly clock = new VirtualClock()
  readonly logger = new MemoryLogger()
  readonly metrics = new MemoryMetrics()
  readonly signer = testSigner()
  readonly random: Random
  readonly metadata: MemoryMetadataStore
  readonly manager: LocalProviderManager
  readonly machines = new Map<ProviderId, Machine>()
  readonly repairer: Repairer
  readonly replicas: number
  readonly times: Times
  /** Metadata providers that are walked through. */
  scanned: ScannedMetadata[]
  #chunkCount = 0
  #isStopped = false

  private constructor(given: RepairBenchOptions) {
    const { seed = 1, components, times = TIMES, ...options } = given
    const { clock, logger, signer, metrics } = this
    const verifier = trusting(signer)
    this.random = seededRandom(seed)
    this.times = times
    this.replicas = options.replicas ?? 2
    this.metadata = new MemoryMetadataStore({ verifier, clock })
    this.scanned = [{ id: 'metadata', store: this.metadata }]
    this.manager = new LocalProviderManager(
      { clock, random: this.random },
      { suspectAfterMs: times.suspect, deadAfterMs: times.dead }
    )
    this.repairer = new Repairer(
      {
        providers: this.manager,
        directory: { open: (id) => this.#open(id) },
        metadataProviders: () => this.scanned,
        metadata: this.metadata,
        signer,
        verifier,
        clock,
        random: this.random,
        logger,
        metrics,
        ...components
      },
      { replicas: this.replicas, deadAfterMs: times.dead, askTimeoutMs: 2000, ...options }
    )
  }

  /** A cluster in which the repairer has looked once. */
  static async start(names: string, options: RepairBenchOptions = {}): Promise<RepairBench> {
    const bench = new RepairBench(options)
    for (const name of names) await bench.addProvider(name)
    bench.#beat()
    bench.repairer.start()
    await bench.clock.advance(1000)
    return bench
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.manager.stop()
    await this.repairer.stop()
  }

  async addProvider(name: ProviderId, zone = name): Promise<void> {
    const { clock } = this
    const leases = new LeaseTable({ clock }, { leaseMs: this.times.lease, collectionMs: 1000 })
    const copier = new ChunkCopier({ sources: { open: ({ id }) => this.#open(id) }, clock })
    const provider = new TestProvider(name, undefined, leases, copier)
    await provider.store.start()
    const machine = { provider, zone, isUp: true, lostCount: 0 }
    this.machines.set(name, machine)
    await this.#report(machine)
  }

  machine(name: ProviderId): Machine {
    const machine = this.machines.get(name)
    if (machine === undefined) throw new RangeError(`no provider ${name}`)
    return machine
  }

  kill(...names: readonly ProviderId[]): void {
    for (const name of names) this.machine(name).isUp = false
  }

  async revive(name: ProviderId): Promise<void> {
    const machine = this.machine(name)
    machine.isUp = true
    await this.#report(machine)
  }

  /** Stores an image whose chunks are where the manager says. */
  async upload(chunkCount: number): Promise<SampleImage> {
    const { replicas } = this
    const placed = await this.manager.place({ count: chunkCount, chunkBytes: 100, replicas })
    return await this.publish(placed)
  }

  /** Stores an image with one new chunk for each set of providers. */
  async publish(placed: readonly (readonly ProviderId[])[]): Promise<SampleImage> {
    const ids: ChunkId[] = []
    for (const names of placed) {
      const bytes = sampleBytes(100, ++this.#chunkCount)
      const id = chunkId(bytes)
      ids.push(id)
      for (const name of names) await this.machine(name).provider.put(id, bytes)
    }
    return await this.name(ids, placed)
  }

  /** Stores a page of chunks, and its record in the place of any before. */
  async name(
    ids: readonly ChunkId[],
    replicas: readonly (readonly ProviderId[])[]
  ): Promise<SampleImage> {
    const built = buildManifest(ChunkList.from(ids), ids.length * 64 * KIB, 64 * KIB)
    await this.metadata.putPages(built.pages)
    const [known] = await this.metadata.getRecords([locationRecordName(built.root)])
    const record = { page: built.root, sequence: (known?.sequence ?? 0) + 1, replicas }
    await this.metadata.putRecords([signLocation(this.signer, record)])
    return { page: built.root, ids }
  }

  /** Who holds each chunk and is up, such as `ab`. */
  holders({ ids }: SampleImage): string[] {
    const up = [...this.machines.values()].filter(({ isUp }) => isUp)
    return ids.map((id) =>
      up
        .filter(({ provider }) => provider.store.has(id))
        .map(({ provider }) => provider.id)
        .join('')
    )
  }

  /** Who has each chunk according to the record. */
  async recorded({ page }: SampleImage): Promise<string[]> {
    const [record] = await this.metadata.getRecords([locationRecordName(page)])
    if (record === undefined) return []
    return decodeLocation(record.envelope.payload).replicas.map((set) => set.join(''))
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms)
  }

  /** Looks once more, and lets it come to its end. */
  async look(): Promise<RepairFigures> {
    return await this.clock.until(this.repairer.lookNow())
  }

  async figures(): Promise<RepairFigures> {
    const figures = await this.repairer.figures()
    if (figures === undefined) throw new Error('the repairer has not looked yet')
    return figures
  }

  /** What was logged at a level, the format only. */
  logged(level: 'error' | 'info'): string[] {
    return this.logger.lines.filter((line) => line.level === level).map(({ format }) => format)
  }

  #open(id: ProviderId): TestProvider | undefined {
    const machine = this.machines.get(id)
    return machine?.isUp === true ? machine.provider : undefined
  }

  #beat(): void {
    if (this.#isStopped) return
    this.clock.schedule(() => this.#beat(), this.times.beat)
    for (const machine of this.machines.values()) {
      if (machine.isUp) void this.#report(machine)
    }
  }

  async #report({ provider, zone, lostCount }: Machine): Promise<void> {
    const report = await provider.report(zone)
    await this.manager.report({ ...report, lostCount })
  }
}

/** Names a provider as a source of copies. */
export function sourceOf(id: ProviderId): ChunkSource {
  return { id, addresses: [] }
}
