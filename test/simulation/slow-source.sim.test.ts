import { describe, expect, jest, test } from '@jest/globals'
import { KIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { randomImage, SimulatedAgent, type TestImage } from '../support/simulated-agent.ts'
import { SimulatedNetwork } from '../support/simulated-network.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

jest.setTimeout(60_000) // real time, on a busy machine

/** A provider on a narrow line, agents on wide ones, and nobody else. */
class Swarm {
  readonly clock = new VirtualClock()
  readonly network = new SimulatedNetwork(this.clock, seededRandom(1))
  readonly image: TestImage
  readonly provider: SimulatedAgent
  readonly agents: SimulatedAgent[]
  readonly #bytesPerSecond: number

  constructor(megabits: number, chunkBytes: number, agentCount = 1) {
    this.#bytesPerSecond = (megabits * 1e6) / 8
    this.image = randomImage(8, chunkBytes, seededRandom(1))
    this.provider = new SimulatedAgent(this.network, 'provider', {
      roles: ['provider'],
      knows: [this.image],
      line: { up: this.#bytesPerSecond, latencyMs: 20 }
    })
    this.agents = Array.from({ length: agentCount }, (_, seed) => {
      const line = { up: 6e6, down: 6e6, latencyMs: 5 }
      return new SimulatedAgent(this.network, `agent${seed}`, { seed, line })
    })
  }

  /** The least time in which a copy leaves the provider. */
  get copyMs(): number {
    return (this.image.manifest.bytes / this.#bytesPerSecond) * 1000
  }

  /** Everybody fetches, while something happens to the provider. @returns how long it took. */
  async run(limitMs: number, trouble: () => Promise<void> = async () => {}): Promise<number> {
    await this.provider.fill(this.image)
    await Promise.all([this.provider, ...this.agents].map(async (each) => each.start()))
    const sources = ['provider']
    const fetching = this.agents.map(async (agent) => agent.download(this.image, { sources }))
    await this.clock.until(Promise.all([...fetching, trouble()]), limitMs)
    return this.clock.monotonic()
  }

  /** Nothing gets through to the provider or from there for a while. */
  async pause(ms: number): Promise<void> {
    const others = this.agents.map(({ peerId }) => peerId)
    const heal = this.network.weather.partition([['provider'], others])
    await this.clock.sleep(ms)
    heal()
  }

  /** Times that somebody was dropped for a reason, by anybody. */
  drops(reason: 'failing' | 'silent'): number {
    const name = `blobswarm_peer_swarm_neighbours_left_total{reason=${reason}}`
    const counts = [this.provider, ...this.agents].map(({ metrics }) => metrics.values.get(name))
    return counts.reduce((sum: number, count) => sum + (count ?? 0), 0)
  }
}

describe('a source that nobody can stand in for is kept, however slow it is, when', () => {
  test('a chunk takes longer than others may be silent', async () => {
    const swarm = new Swarm(0.1, 256 * KIB)

    const tookMs = await swarm.run(300_000)

    expect([swarm.drops('failing'), swarm.drops('silent')]).toEqual([0, 0])
    expect(tookMs / swarm.copyMs).toBeLessThan(1.1)
    expect(swarm.provider.sentChunkBytes).toBe(swarm.image.manifest.bytes)
  })

  test('a chunk comes in parts, each of which takes longer than that', async () => {
    const swarm = new Swarm(0.2, 1024 * KIB)

    const tookMs = await swarm.run(500_000)

    expect([swarm.drops('failing'), swarm.drops('silent')]).toEqual([0, 0])
    expect(tookMs / swarm.copyMs).toBeLessThan(1.1)
  })

  test('its line is shared by so many that each gets a part in half a minute', async () => {
    const swarm = new Swarm(0.4, 256 * KIB, 8)

    const tookMs = await swarm.run(300_000)

    expect([swarm.drops('failing'), swarm.drops('silent')]).toEqual([0, 0])
    expect(tookMs / swarm.copyMs).toBeLessThan(2)
  })

  test('it stands still for most of a minute', async () => {
    const swarm = new Swarm(2, 256 * KIB)

    const tookMs = await swarm.run(200_000, async () => {
      await swarm.clock.sleep(2000)
      await swarm.pause(45_000)
    })

    expect(swarm.drops('failing')).toBe(0)
    expect(tookMs).toBeLessThan(45_000 + 1.5 * swarm.copyMs)
  })
})
