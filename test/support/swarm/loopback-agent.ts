import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { MemoryEventLog } from '../../../src/lib/events.ts'
import { MemoryLogger } from '../../../src/lib/logger.ts'
import { MemoryMetrics } from '../../../src/lib/metrics.ts'
import { systemRandom } from '../../../src/lib/random.ts'
import { KadImageDirectory } from '../../../src/peer/discovery.ts'
import type { Libp2pNode } from '../../../src/peer/node.ts'
import type { SwarmEvent } from '../../../src/peer/swarm/events.ts'
import { type SwarmOptions, SwarmService } from '../../../src/peer/swarm/swarm-service.ts'
import type { TestImage } from '../simulated-agent.ts'

/** A real node with the swarm service over a store in memory. */
export class LoopbackAgent {
  readonly node: Libp2pNode
  readonly store = new MemoryStore()
  readonly events = new MemoryEventLog<SwarmEvent>()
  readonly log = new MemoryLogger()
  readonly metrics = new MemoryMetrics()
  readonly service: SwarmService
  readonly #directory: KadImageDirectory

  /** `knows` is what it serves to whoever asks, as a provider does. */
  constructor(node: Libp2pNode, knows: readonly TestImage[] = [], options: SwarmOptions = {}) {
    const shared = { node, clock: systemClock, random: systemRandom, logger: this.log }
    this.node = node
    this.#directory = new KadImageDirectory({ ...shared, dht: node.dht })
    const { store, events, metrics } = this
    this.service = new SwarmService(
      {
        ...shared,
        store,
        events,
        metrics,
        directory: this.#directory,
        loadManifest: async (root) =>
          knows.find(({ manifest }) => Buffer.compare(manifest.root, root) === 0)?.manifest
      },
      options
    )
  }

  async start(): Promise<void> {
    await this.store.start()
    await this.service.start()
  }

  /** Puts all chunks of an image into the store. */
  async fill(image: TestImage): Promise<void> {
    for (const [index, bytes] of image.chunks.entries()) {
      await this.store.put(image.manifest.chunkId(index), bytes)
    }
  }

  /** How often it dropped or turned somebody away for a reason. */
  timesOf(reason: string): number {
    return ['neighbours_left', 'refused']
      .map((name) =>
        this.metrics.values.get(`blobswarm_peer_swarm_${name}_total{reason=${reason}}`)
      )
      .reduce((sum: number, times) => sum + (times ?? 0), 0)
  }

  async stop(): Promise<void> {
    await this.service.stop()
    await this.#directory.stop()
  }
}
