import { afterEach, expect, test } from '@jest/globals'
import { MemoryStore } from '../../../src/chunks/memory-store.ts'
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

interface Agent {
  readonly node: Libp2pNode
  readonly store: MemoryStore
  readonly service: SwarmService
  readonly events: MemoryEventLog<SwarmEvent>
}

async function agentOn(node: Libp2pNode, knows: readonly TestImage[] = []): Promise<Agent> {
  const store = new MemoryStore()
  const events = new MemoryEventLog<SwarmEvent>()
  const shared = { node, clock: systemClock, random: systemRandom, logger: noLogger }
  const directory = new KadImageDirectory({ ...shared, dht: node.dht })
  const service = new SwarmService({
    ...shared,
    store,
    directory,
    events,
    loadManifest: async (root) =>
      knows.find(({ manifest }) => Buffer.compare(manifest.root, root) === 0)?.manifest
  })
  await store.start()
  await service.start()
  stops.push(async () => {
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

  const results = await Promise.all(
    agents.map(async ({ service }) => service.download(image.manifest, { sources }))
  )

  const fromProvider = results.reduce((sum, result) => sum + result.bytesFromProviders, 0)
  expect(results.map(({ chunksDone }) => chunksDone)).toEqual([64, 64, 64])
  expect(fromProvider).toBeLessThan(1.5 * image.manifest.bytes)
  expect(agents.every(({ store }) => store.chunkCount === 64)).toBe(true)
})

test('chunks of several parts arrive whole, and an agent that stops lets go of everything', async () => {
  const image = randomImage(6, 1024 * KIB, seededRandom(2))
  const [provider, agent] = await swarmOf(image, 1)
  const sources = [provider.node.peerId]

  const result = await agent?.service.download(image.manifest, { sources })
  await agent?.service.stop()

  expect(result).toMatchObject({ bytesFromProviders: image.manifest.bytes })
  expect(agent?.service.images()).toEqual([])
})
