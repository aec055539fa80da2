import { afterEach, expect, test } from '@jest/globals'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
import type { ChunkId } from '../../../src/chunks/types.ts'
import type { AbortOptions } from '../../../src/lib/abort-options.ts'
import { KIB } from '../../../src/lib/bytes.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { MemoryEventLog } from '../../../src/lib/events.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { seededRandom, systemRandom } from '../../../src/lib/random.ts'
import { KadImageDirectory } from '../../../src/peer/discovery.ts'
import type { Libp2pNode } from '../../../src/peer/node.ts'
import type { SwarmEvent } from '../../../src/peer/swarm/events.ts'
import { SwarmService } from '../../../src/peer/swarm/swarm-service.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../../support/peer-cluster.ts'
import { randomImage, type TestImage } from '../../support/simulated-agent.ts'

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

/** A store that gives nothing until it is opened. */
class ClosedStore extends MemoryStore {
  readonly #opened = Promise.withResolvers<void>()

  open(): void {
    this.#opened.resolve()
  }

  override async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    await this.#opened.promise
    return await super.get(id, options)
  }
}

/** Events, with a promise of the time at which so many neighbours have come. */
class Meetings extends MemoryEventLog<SwarmEvent> {
  readonly #waiting: { readonly count: number; readonly resolve: () => void }[] = []

  override emit(event: SwarmEvent): void {
    super.emit(event)
    for (const { count, resolve } of this.#waiting) if (this.#count() >= count) resolve()
  }

  async neighbours(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ count, resolve })
    if (this.#count() >= count) resolve()
    await promise
  }

  #count(): number {
    const joined = this.events.filter(({ event }) => event === 'neighbour-joined')
    return new Set(joined.map((event) => ('peer' in event ? event.peer : ''))).size
  }
}

interface Agent {
  readonly node: Libp2pNode
  readonly store: ClosedStore
  readonly service: SwarmService
  readonly events: Meetings
}

// How long sources are left in peace must not depend on how busy this machine is.
const PATIENT = { patienceMs: 3000, secondCopyBytes: 64 * KIB }

async function agentOn(node: Libp2pNode, knows: readonly TestImage[] = []): Promise<Agent> {
  const store = new ClosedStore()
  const events = new Meetings()
  const shared = { node, clock: systemClock, random: systemRandom, logger: noLogger }
  const directory = new KadImageDirectory({ ...shared, dht: node.dht })
  const service = new SwarmService(
    {
      ...shared,
      store,
      directory,
      events,
      loadManifest: async (root) =>
        knows.find(({ manifest }) => Buffer.compare(manifest.root, root) === 0)?.manifest
    },
    { session: { download: PATIENT } }
  )
  await store.start()
  await service.start()
  stops.push(async () => {
    store.open()
    await service.stop()
    await directory.stop()
  })
  return { node, store, service, events }
}

async function swarmOf(image: TestImage, count: number): Promise<[Agent, ...Agent[]]> {
  const cluster = new PeerCluster()
  stops.push(async () => cluster.stop())
  const provider = await agentOn(await cluster.member(), [image])
  for (const [index, bytes] of image.chunks.entries()) {
    await provider.store.put(image.manifest.chunkId(index), bytes)
  }
  const agents: Agent[] = []
  for (let n = 0; n < count; n++) {
    const node = await cluster.member({ grant: DEPLOYER })
    await node.connect(addressOf(provider.node))
    agents.push(await agentOn(node))
  }
  return [provider, ...agents]
}

test('three agents share an image over libp2p, and the provider sends little more than one copy', async () => {
  const image = randomImage(64, 64 * KIB, seededRandom(1))
  const [provider, ...agents] = await swarmOf(image, 3)
  const sources = [provider.node.peerId]

  const downloads = Promise.all(
    agents.map(async ({ service }) => service.download(image.manifest, { sources }))
  )
  await Promise.all(agents.map(async ({ events }) => events.neighbours(3)))
  for (const { store } of [provider, ...agents]) store.open()
  const results = await downloads

  const fromProvider = results.reduce((sum, result) => sum + result.bytesFromProviders, 0)
  expect(results.map(({ chunksDone }) => chunksDone)).toEqual([64, 64, 64])
  expect(fromProvider).toBeLessThan(1.5 * image.manifest.bytes)
  expect(agents.every(({ store }) => store.chunkCount === 64)).toBe(true)
})

test('chunks of several parts arrive whole, and an agent that stops lets go of everything', async () => {
  const image = randomImage(6, 1024 * KIB, seededRandom(2))
  const [provider, agent] = await swarmOf(image, 1)
  const sources = [provider.node.peerId]

  provider.store.open()

  const result = await agent?.service.download(image.manifest, { sources })
  await agent?.service.stop()

  expect(result).toMatchObject({ bytesFromProviders: image.manifest.bytes })
  expect(agent?.service.images()).toEqual([])
})
