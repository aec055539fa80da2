import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createConnection } from 'node:net'
import { afterEach, expect, jest, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { seededRandom, systemRandom } from '../../src/lib/random.ts'
import { SWARM_PROTOCOL } from '../../src/peer/protocols/swarm.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'
import { randomImage } from '../support/simulated-agent.ts'
import type { HostileName } from '../support/swarm/hostile-behaviours.ts'
import { HostilePeer } from '../support/swarm/hostile-peer.ts'
import { LoopbackAgent } from '../support/swarm/loopback-agent.ts'

jest.setTimeout(60_000)

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

const CHUNKS = 64
const IMAGE = randomImage(CHUNKS, 64 * KIB, seededRandom(1))
const PULL_MS = 1000

/** Those that do most harm, and why each of them is dropped or turned away. */
const FATES: Partial<Record<HostileName, string>> = {
  'sends wrong bytes': 'lied',
  'announces and vanishes': 'ended',
  'repeats what it announced': 'flooding',
  'asks for everything at once': 'flooding',
  'sends parts out of order': 'violation',
  'speaks a later version': 'violation',
  'says random bytes': 'violation'
}

const descriptors = (): number => readdirSync('/proc/self/fd').length

function newCluster(): PeerCluster {
  const cluster = new PeerCluster()
  stops.push(async () => cluster.stop())
  return cluster
}

async function providerOf(cluster: PeerCluster): Promise<LoopbackAgent> {
  const bytesPerSecond = (IMAGE.manifest.bytes / PULL_MS) * 1000
  const uploads = { bytesPerSecond }
  const provider = new LoopbackAgent(await cluster.member(), [IMAGE], { uploads })
  await provider.start()
  await provider.fill(IMAGE)
  stops.push(async () => provider.stop())
  return provider
}

async function agentOf(cluster: PeerCluster, provider: LoopbackAgent): Promise<LoopbackAgent> {
  const node = await cluster.member({ grant: DEPLOYER })
  await node.connect(addressOf(provider.node))
  const agent = new LoopbackAgent(node)
  await agent.start()
  stops.push(async () => agent.stop())
  return agent
}

/** Members that break the rules, each known to the agent that they go to. */
async function hostileTo(agent: LoopbackAgent, cluster: PeerCluster): Promise<HostilePeer[]> {
  const peers: HostilePeer[] = []
  for (const name of Object.keys(FATES) as HostileName[]) {
    const node = await cluster.member({ grant: DEPLOYER })
    await node.connect(addressOf(agent.node))
    const parts = { node, image: IMAGE, clock: systemClock, random: systemRandom }
    const peer = new HostilePeer(parts, name)
    await peer.start()
    peers.push(peer)
  }
  return peers
}

test('a pull finishes while members of bad kinds are at it, which are dropped for what they do', async () => {
  const cluster = newCluster()
  const provider = await providerOf(cluster)
  const agent = await agentOf(cluster, provider)
  const hostile = await hostileTo(agent, cluster)
  const before = descriptors()
  const sources = [provider.node.peerId]

  const pull = agent.service.download(IMAGE.manifest, { sources })
  for (const peer of hostile) peer.attack([agent.node.peerId])
  const result = await pull
  await Promise.all(hostile.map(async (peer) => peer.stop()))

  expect(result).toMatchObject({ chunksDone: CHUNKS, bytesFromPeers: 0 })
  for (const [name, reason] of Object.entries(FATES)) {
    expect([name, agent.timesOf(reason) > 0]).toEqual([name, true])
  }
  expect(agent.log.lines.some(({ format }) => format.includes('is dropped and banned'))).toBe(true)
  expect(descriptors()).toBeLessThan(before + 10)
})

test('a member that opens streams without end gets a few, and others are served meanwhile', async () => {
  const cluster = newCluster()
  const provider = await providerOf(cluster)
  const agent = await agentOf(cluster, provider)
  const greedy = await cluster.member({ grant: DEPLOYER })
  await greedy.connect(addressOf(provider.node))
  const peer = provider.node.peerId
  const opened = Array.from({ length: 300 }, async () => greedy.open(peer, SWARM_PROTOCOL))
  const settled = Promise.allSettled(opened)

  const result = await agent.service.download(IMAGE.manifest, { sources: [peer] })

  const granted = (await settled).filter(({ status }) => status === 'fulfilled')
  expect(result.chunksDone).toBe(CHUNKS)
  expect(granted.length).toBeLessThanOrEqual(SWARM_PROTOCOL.maxStreams ?? 32)
})

test('connections on which nobody says anything keep no member out, and leave nothing behind', async () => {
  const cluster = newCluster()
  const provider = await providerOf(cluster)
  const [, port = ''] = /\/tcp\/(\d+)/.exec(addressOf(provider.node)) ?? []
  const before = descriptors()
  const sockets = Array.from({ length: 700 }, () => createConnection(Number(port), '127.0.0.1'))
  for (const socket of sockets) socket.on('error', () => {}) // being cut off is what it asks for
  await Promise.all(sockets.map(async (socket) => once(socket, 'connect')))

  const agent = await agentOf(cluster, provider)
  const sources = [provider.node.peerId]
  const result = await agent.service.download(IMAGE.manifest, { sources })
  await Promise.all(
    sockets.map(async (socket) => {
      if (socket.closed) return // others came
      const closed = once(socket, 'close')
      socket.destroy()
      await closed
    })
  )

  expect(result.chunksDone).toBe(CHUNKS)
  while (descriptors() > before + 10) await systemClock.sleep(20)
})
