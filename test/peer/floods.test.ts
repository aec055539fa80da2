import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Connection } from '@libp2p/interface'
import { KIB } from '../../src/lib/bytes.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import type { Libp2pNode } from '../../src/peer/node.ts'
import { SWARM_PROTOCOL } from '../../src/peer/protocols/swarm.ts'
import type { DownloadResult } from '../../src/peer/swarm/download.ts'
import { addressOf, DEPLOYER, PeerCluster } from '../support/peer-cluster.ts'
import { RawPeer } from '../support/raw-peer.ts'
import { randomImage } from '../support/simulated-agent.ts'
import { floodStreams } from '../support/stream-flood.ts'
import { LoopbackAgent } from '../support/swarm/loopback-agent.ts'

jest.setTimeout(60_000)

const CHUNKS = 16
const IMAGE = randomImage(CHUNKS, 64 * KIB, seededRandom(1))
const PULL_MS = 300
const STREAMS = 400
/** A tenth of what an agent has, so that a flood is cheap. */
const DOORS = { streams: { maxStreams: 50, maxRefusals: 100, burst: 200 } }

/** A provider that somebody pulls an image from, and that is attacked meanwhile. */
class Stage {
  readonly cluster = new PeerCluster()
  readonly metrics = new MemoryMetrics()
  readonly logger = new MemoryLogger()
  readonly #stops: (() => Promise<void>)[] = [async () => this.cluster.stop()]
  node!: Libp2pNode

  async start(): Promise<void> {
    const { metrics, logger } = this
    this.node = await this.cluster.member({ components: { metrics, logger }, doors: DOORS })
    const uploads = { bytesPerSecond: (IMAGE.manifest.bytes / PULL_MS) * 1000 }
    const provider = new LoopbackAgent(this.node, [IMAGE], { uploads })
    await provider.start()
    await provider.fill(IMAGE)
    this.#stops.push(async () => provider.stop())
  }

  /** Begins a pull by an agent that has just connected. */
  async pull(): Promise<DownloadResult> {
    const node = await this.cluster.member({ grant: DEPLOYER })
    await node.connect(addressOf(this.node))
    const agent = new LoopbackAgent(node)
    await agent.start()
    this.#stops.push(async () => agent.stop())
    return agent.service.download(IMAGE.manifest, { sources: [this.node.peerId] })
  }

  async attacker(isMember: boolean): Promise<{ peer: RawPeer; connection: Connection }> {
    const peer = await RawPeer.start()
    this.#stops.push(async () => peer.stop())
    const connection = await peer.dial(addressOf(this.node))
    const { authority } = this.cluster
    const certificate = authority.issue(peer.peerId, DEPLOYER)
    if (isMember) await peer.sayHello(connection, { clusterId: authority.clusterId, certificate })
    return { peer, connection }
  }

  refused(what: 'streams' | 'connections', reason: string): number {
    return this.metrics.values.get(`blobswarm_peer_${what}_refused_total{reason=${reason}}`) ?? 0
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.toReversed()) await stop()
  }
}

let stage: Stage
beforeEach(async () => {
  stage = new Stage()
  await stage.start()
})
afterEach(async () => stage.stop())

async function untilClosed(connection: Connection): Promise<void> {
  while (connection.status === 'open') await nextTurn()
}

describe('streams without end', () => {
  test.each([
    ['of a protocol, by a member', true, SWARM_PROTOCOL.id],
    ['of a protocol that is not spoken, by a member', true, '/blobswarm/swarm/2'],
    ['of none, by a member', true, undefined],
    ['of a protocol, by a stranger', false, SWARM_PROTOCOL.id],
    ['of none, by a stranger', false, undefined]
  ])('%s, end with its connection, and a pull goes on', async (_name, isMember, protocol) => {
    const { peer, connection } = await stage.attacker(isMember)
    const pull = stage.pull()

    await floodStreams(connection, STREAMS, protocol)
    await untilClosed(connection)
    const result = await pull
    const again = peer.dial(addressOf(stage.node))

    await expect(again.then(untilClosed)).resolves.toBeUndefined()
    expect(result.chunksDone).toBe(CHUNKS)
    expect(stage.refused('streams', 'tooMany')).toBeGreaterThan(isMember ? 90 : 60)
    expect(stage.refused('streams', 'tooMany')).toBeLessThan(STREAMS)
    expect(stage.refused('connections', 'flooding')).toBeGreaterThan(0)
    expect(stage.logger.lines).toContainEqual(
      expect.objectContaining({ level: 'info', format: '%p is cut off for a while: %e' })
    )
  })

  test('that are few at a time end in the same way', async () => {
    const { connection } = await stage.attacker(true)

    for (let turn = 0; turn < 50 && connection.status === 'open'; turn++) {
      await floodStreams(connection, 40, '/blobswarm/nothing/1')
      for (const stream of connection.streams) stream.abort(new Error('enough of it'))
    }
    await untilClosed(connection)

    expect(stage.refused('connections', 'flooding')).toBe(1)
  })
})

test('a few streams too many cost a member nothing', async () => {
  const { connection } = await stage.attacker(true)

  await floodStreams(connection, 100, '/blobswarm/nothing/1')
  await stage.pull()

  expect(connection.status).toBe('open')
})
