import { afterEach, expect, test } from '@jest/globals'
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
const CHUNKS = 160
const AGENTS = 8
const LIMIT_MS = 120_000

const chosen = process.env.SIM_SEED
const seeds = chosen === undefined ? Array.from({ length: 25 }, (_, n) => n + 1) : [Number(chosen)]
let current = 0

afterEach(() => {
  const { currentTestName, numPassingAsserts } = expect.getState()
  if (numPassingAsserts === 0) process.stderr.write(`SIM_SEED=${current} in: ${currentTestName}\n`)
})

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
    const downloads = this.agents.map(async (agent) => this.download(agent, sources))
    await this.clock.until(Promise.all([...downloads, trouble()]), LIMIT_MS)
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

async function onEverySeed(check: (swarm: Swarm) => Promise<void>): Promise<void> {
  for (const seed of seeds) {
    current = seed
    const swarm = new Swarm(seed)
    await swarm.start()
    try {
      await check(swarm)
    } catch (error) {
      throw new Error(`SIM_SEED=${seed}`, { cause: error })
    }
  }
}

test('everybody gets the image, and the provider sends hardly more than one copy', async () => {
  const copies: number[] = []

  await onEverySeed(async (swarm) => {
    await swarm.run()

    copies.push(swarm.copies)
    expect(swarm.copies).toBeLessThan(2)
    await swarm.checkStores()
  })

  const mean = copies.reduce((sum, each) => sum + each, 0) / copies.length
  expect(mean).toBeLessThan(1.2)
})

test('neighbours vanish, silently or not, and come back with what they had', async () => {
  await onEverySeed(async (swarm) => {
    const [first, second] = swarm.agents.splice(0, 2) as [SimulatedAgent, SimulatedAgent]
    const ends = [first, second].map(async (agent) => swarm.download(agent).catch(() => {}))
    await swarm.run(async () => {
      await swarm.clock.sleep(300 + swarm.random() * 1000)
      first.crash(true)
      await swarm.clock.sleep(swarm.random() * 500)
      second.crash()
      await swarm.clock.sleep(1000)
      await second.restart()
      const held = second.store.storedBytes
      const result = await second.download(swarm.image, { sources: ['provider'] })
      expect(result.bytesReused).toBe(held)
    })
    await Promise.all(ends)

    expect(swarm.copies).toBeLessThan(2)
    await swarm.checkStores()
  })
})

test('a liar is believed nothing, and nobody waits for one that answers nothing', async () => {
  await onEverySeed(async (swarm) => {
    await swarm.seeder('liar', { character: 'lying' })
    await swarm.seeder('staller', { character: 'stalling' })

    await swarm.run(undefined, ['liar', 'staller'])

    expect(swarm.copies).toBeLessThan(2)
    await swarm.checkStores()
    for (const agent of swarm.agents) {
      expect(agent.receivedFrom('liar') + agent.receivedFrom('staller')).toBe(0)
    }
  })
})

test('the provider goes away in the middle and comes back', async () => {
  await onEverySeed(async (swarm) => {
    await swarm.run(async () => {
      await swarm.clock.sleep(200 + swarm.random() * 1000)
      swarm.provider.crash(swarm.random() < 0.5)
      await swarm.clock.sleep(5000)
      await swarm.provider.restart()
    })

    await swarm.checkStores()
  })
})

test('the same seed is the same run', async () => {
  const once = async (): Promise<unknown> => {
    const swarm = new Swarm(seeds[0] ?? 1)
    await swarm.start()
    await swarm.run()
    return swarm.agents.map(({ events }) => events.events)
  }

  expect(await once()).toEqual(await once())
})
