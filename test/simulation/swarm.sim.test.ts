import { expect, test } from '@jest/globals'
import { equalBytes, isAllZero, KIB } from '../../src/lib/bytes.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
import type { SessionOptions } from '../../src/peer/swarm/session.ts'
import {
  randomImage,
  SimulatedAgent,
  type SimulatedAgentOptions,
  type TestImage
} from '../support/simulated-agent.ts'
import { SimulatedNetwork } from '../support/simulated-network.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const CHUNK_BYTES = 8 * KIB
const CHUNKS = 96
const AGENTS = 8
const LIMIT_MS = 120_000

const TEST_TIMEOUT_MS = 180_000 // of real time, on a machine that is busy with something else

const chosen = process.env.SIM_SEED
const seedsFrom = (first: number, count: number): number[] =>
  chosen === undefined ? Array.from({ length: count }, (_, n) => first + n) : [Number(chosen)]

// Chunks are an eighth of real ones, and so are credits.
const session: SessionOptions = {
  scorecard: { creditBytes: 8 * CHUNK_BYTES },
  download: { secondCopyBytes: 4 * CHUNK_BYTES, silenceMs: 3000 },
  dialling: { targetNeighbours: 6 }
}

/** One swarm on one seed. */
class Swarm {
  readonly clock = new VirtualClock()
  readonly network = new SimulatedNetwork(this.clock)
  readonly random: Random
  readonly image: TestImage
  readonly agents: SimulatedAgent[] = []
  readonly provider: SimulatedAgent
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
    this.random = seededRandom(seed)
    this.image = randomImage(CHUNKS, CHUNK_BYTES, this.random)
    this.provider = this.#agent('provider', { roles: ['provider'], knows: [this.image] })
    for (let n = 0; n < AGENTS; n++) this.agents.push(this.#agent(`agent${n}`))
  }

  async start(): Promise<void> {
    await this.provider.fill(this.image)
    await Promise.all([this.provider, ...this.agents].map(async (agent) => agent.start()))
  }

  /** An agent that has the image already. */
  async seeder(name: string, options: SimulatedAgentOptions): Promise<SimulatedAgent> {
    const agent = this.#agent(name, options)
    await agent.fill(this.image)
    await agent.start()
    await agent.service.hold(this.image.manifest)
    return agent
  }

  /** Downloads begin within a second of each other. */
  async download(agent: SimulatedAgent, sources: readonly string[] = []): Promise<void> {
    await this.clock.sleep(this.random() * 1000)
    await agent.download(this.image, { sources: ['provider', ...sources] })
  }

  /** Everybody fetches at once, while `trouble` happens. */
  async run(trouble: () => Promise<void> = async () => {}, sources: string[] = []): Promise<void> {
    const troubles = trouble()
    const downloads = this.agents.map(async (agent) => this.download(agent, sources))
    await this.clock.until(Promise.all([...downloads, troubles]), LIMIT_MS)
  }

  /** Copies of the image that the provider sent. */
  get copies(): number {
    return this.provider.sentChunkBytes / this.image.manifest.bytes
  }

  async checkStores(): Promise<void> {
    for (const agent of this.agents) {
      for (const [index, chunk] of this.image.chunks.entries()) {
        if (isAllZero(chunk)) continue
        const bytes = await agent.store.get(this.image.manifest.chunkId(index))
        expect(bytes !== undefined && equalBytes(bytes, chunk)).toBe(true)
      }
    }
  }

  #agent(name: string, options: SimulatedAgentOptions = {}): SimulatedAgent {
    const megabits = 5 + this.random() * 20
    const rate = (megabits * 1e6) / 8
    const line = { up: rate, down: rate, latencyMs: 0.2 + this.random() * 10 }
    const seed = this.#seed * 100 + this.agents.length
    return new SimulatedAgent(this.network, name, { seed, line, session, ...options })
  }
}

async function onEverySeed(
  seeds: readonly number[],
  check: (swarm: Swarm) => Promise<void>
): Promise<void> {
  for (const seed of seeds) {
    const swarm = new Swarm(seed)
    await swarm.start()
    try {
      await check(swarm)
    } catch (error) {
      throw new Error(`SIM_SEED=${seed}`, { cause: error })
    }
  }
}

/** What goes wrong in one run; each thing happens in half of the runs. */
class Trouble {
  readonly swarm: Swarm
  /** Agents that are of no use, although they say that they hold the image. */
  readonly sources: string[] = []
  readonly #happening: (() => Promise<void>)[] = []

  constructor(swarm: Swarm) {
    this.swarm = swarm
    for (const arrange of [this.#loss, this.#restart, this.#providerRestart]) {
      if (swarm.random() < 0.5) this.#happening.push(arrange)
    }
  }

  async invite(): Promise<void> {
    for (const character of ['lying', 'stalling'] as const) {
      if (this.swarm.random() < 0.5) continue
      await this.swarm.seeder(character, { character })
      this.sources.push(character)
    }
  }

  readonly happen = async (): Promise<void> => {
    await Promise.all(this.#happening.map(async (arrange) => arrange()))
  }

  /** A neighbour vanishes and nobody is told. */
  readonly #loss = async (): Promise<void> => {
    const { clock, random } = this.swarm
    const lost = this.#take()
    await clock.sleep(300 + random() * 1000)
    lost.crash(true)
  }

  /** An agent crashes, comes back and goes on with what it had. */
  readonly #restart = async (): Promise<void> => {
    const { clock, image, random } = this.swarm
    const agent = this.#take()
    await clock.sleep(300 + random() * 1500)
    agent.crash(random() < 0.5)
    await clock.sleep(random() * 2000)
    await agent.restart()
    const held = agent.store.storedBytes
    const result = await agent.download(image, { sources: ['provider'] })
    expect(result.bytesReused).toBe(held)
  }

  readonly #providerRestart = async (): Promise<void> => {
    const { clock, provider, random } = this.swarm
    await clock.sleep(200 + random() * 1000)
    provider.crash(random() < 0.5)
    await clock.sleep(3000)
    await provider.restart()
  }

  /** An agent that takes part at first and then has its own fate. */
  #take(): SimulatedAgent {
    const agent = this.swarm.agents.pop() as SimulatedAgent
    this.swarm.download(agent).catch(() => {}) // it will be interrupted
    return agent
  }
}

test(
  'everybody gets the image, and the provider sends hardly more than one copy',
  async () => {
    const copies: number[] = []

    await onEverySeed(seedsFrom(1, 8), async (swarm) => {
      await swarm.run()

      copies.push(swarm.copies)
      expect(swarm.copies).toBeLessThan(2)
      await swarm.checkStores()
    })

    const mean = copies.reduce((sum, each) => sum + each, 0) / copies.length
    expect(mean).toBeLessThan(1.2)
  },
  TEST_TIMEOUT_MS
)

test(
  'losses, restarts, a liar and one that answers nothing keep nobody from finishing',
  async () => {
    await onEverySeed(seedsFrom(101, 25), async (swarm) => {
      const trouble = new Trouble(swarm)
      await trouble.invite()

      await swarm.run(trouble.happen, trouble.sources)

      expect(swarm.copies).toBeLessThan(2)
      await swarm.checkStores()
      for (const agent of swarm.agents) {
        expect(trouble.sources.filter((source) => agent.receivedFrom(source) > 0)).toEqual([])
      }
    })
  },
  TEST_TIMEOUT_MS
)

test(
  'who comes when another has just finished gets the image from that one',
  async () => {
    await onEverySeed(seedsFrom(61, 8), async (swarm) => {
      const [first, second] = swarm.agents.splice(0) as [SimulatedAgent, SimulatedAgent]
      const fetchBoth = async (): Promise<void> => {
        await swarm.download(first)
        await swarm.download(second)
      }

      await swarm.clock.until(fetchBoth(), LIMIT_MS)

      swarm.agents.push(first, second)
      await swarm.checkStores()
      expect(swarm.copies).toBeLessThan(1.5)
    })
  },
  TEST_TIMEOUT_MS
)

test('the same seed is the same run', async () => {
  const runs = [new Swarm(1), new Swarm(1)]
  for (const swarm of runs) {
    await swarm.start()
    await swarm.run()
  }

  const [one, other] = runs.map(({ agents }) => agents.map(({ events }) => events.events.length))
  expect(one).toEqual(other)
})
