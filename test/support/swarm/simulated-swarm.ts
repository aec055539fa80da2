import { equalBytes, isAllZero, KIB } from '../../../src/lib/bytes.ts'
import { type Random, seededRandom } from '../../../src/lib/random.ts'
import type { DownloadResult } from '../../../src/peer/swarm/download.ts'
import type { SessionOptions } from '../../../src/peer/swarm/session.ts'
import {
  randomImage,
  SimulatedAgent,
  type SimulatedAgentOptions,
  type TestImage
} from '../simulated-agent.ts'
import { type Line, SimulatedNetwork } from '../simulated-network.ts'
import { VirtualClock } from '../virtual-clock.ts'
import type { HostileName } from './hostile-behaviours.ts'
import { HostilePeer } from './hostile-peer.ts'
import { SwarmWatch } from './swarm-watch.ts'

export const CHUNK_BYTES = 8 * KIB

export interface SwarmShape {
  readonly chunks?: number
  /** Agents that fetch, all within a second. */
  readonly agents?: number
  /** Bandwidth of hosts, the least and the most. @default [5, 25] */
  readonly megabits?: readonly [number, number]
  /** Line of the provider. @default any */
  readonly providerLine?: Line
}

// Chunks are an eighth of real ones, and so are credits.
const SESSION: SessionOptions = {
  scorecard: { creditBytes: 8 * CHUNK_BYTES },
  download: { secondCopyBytes: 4 * CHUNK_BYTES, silenceMs: 3000 },
  dialling: { targetNeighbours: 6 }
}

// Virtual time after which nothing of a swarm that was stopped may be left: channels close within 5 s.
const AFTERMATH_MS = 60_000

/** One swarm on one seed: a provider with the image, and agents that want it. */
export class SimulatedSwarm {
  readonly clock = new VirtualClock()
  readonly network: SimulatedNetwork
  readonly random: Random
  readonly image: TestImage
  readonly provider: SimulatedAgent
  /** Those that fetch, and are expected to finish. */
  readonly agents: SimulatedAgent[] = []
  readonly watch: SwarmWatch
  readonly #seed: number
  readonly #megabits: readonly [number, number]
  readonly #all: SimulatedAgent[] = []
  readonly #hostile: HostilePeer[] = []

  constructor(seed: number, shape: SwarmShape = {}) {
    const { chunks = 96, agents = 8, megabits = [5, 25], providerLine } = shape
    this.#seed = seed
    this.#megabits = megabits
    this.random = seededRandom(seed)
    this.network = new SimulatedNetwork(this.clock, seededRandom(seed + 1e6))
    this.image = randomImage(chunks, CHUNK_BYTES, this.random)
    this.watch = new SwarmWatch(this.network, this.image, this.#all)
    this.provider = this.agent('provider', {
      roles: ['provider'],
      knows: [this.image],
      ...(providerLine === undefined ? {} : { line: providerLine })
    })
    for (let n = 0; n < agents; n++) this.agents.push(this.agent(`agent${n}`))
  }

  /** Adds an agent that does nothing before it is started. */
  agent(name: string, options: SimulatedAgentOptions = {}): SimulatedAgent {
    const seed = this.#seed * 100 + this.#all.length
    const line = this.anyLine()
    const session = SESSION
    const agent = new SimulatedAgent(this.network, name, { seed, line, session, ...options })
    this.#all.push(agent)
    return agent
  }

  /** A line like those of all hosts. */
  anyLine(): Line {
    const [least, most] = this.#megabits
    const rate = ((least + this.random() * (most - least)) * 1e6) / 8
    return { up: rate, down: rate, latencyMs: 0.2 + this.random() * 10 }
  }

  async start(): Promise<void> {
    await this.provider.fill(this.image)
    await Promise.all([this.provider, ...this.agents].map(async (agent) => agent.start()))
  }

  /** An agent that has the image already. */
  async seeder(name: string, options: SimulatedAgentOptions = {}): Promise<SimulatedAgent> {
    const agent = this.agent(name, options)
    if (options.character !== undefined) this.watch.distrust(name)
    await agent.fill(this.image)
    await agent.start()
    await agent.service.hold(this.image.manifest)
    return agent
  }

  /** A member that breaks the rules with all agents, and is announced as one that has the image. */
  async hostile(name: HostileName): Promise<HostilePeer> {
    const { clock, image, network } = this
    const peerId = `hostile${this.#hostile.length}`
    this.watch.distrust(peerId)
    const random = seededRandom(this.#seed)
    const node = network.node(peerId, { roles: new Set(['deploy']) }, this.anyLine())
    const peer = new HostilePeer({ node, image, clock, random }, name)
    this.#hostile.push(peer)
    network.directory(peerId).announce(image.manifest.root)
    await peer.start()
    peer.attack([...this.agents, this.provider].map((agent) => agent.peerId))
    return peer
  }

  /** Fetches the image, from the provider or whoever else is found. */
  async fetch(agent: SimulatedAgent, sources: readonly string[] = []): Promise<DownloadResult> {
    return agent.download(this.image, { sources: ['provider', ...sources] })
  }

  /** Fetches it as one of many, which begin within a second. */
  async fetchSoon(agent: SimulatedAgent, sources: readonly string[] = []): Promise<void> {
    await this.clock.sleep(this.random() * 1000)
    await this.fetch(agent, sources)
  }

  /** Lets everybody fetch while `trouble` happens, for so much virtual time at most. */
  async run(limitMs: number, trouble: (swarm: SimulatedSwarm) => Promise<void> = async () => {}) {
    const troubles = trouble(this)
    const fetching = this.agents.map(async (agent) => this.fetchSoon(agent))
    await this.until(Promise.all([...fetching, troubles]), limitMs)
  }

  /** Lets time pass until a promise has settled, while the rules are watched. */
  async until<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    this.watch.start()
    try {
      return await this.clock.until(promise, limitMs)
    } finally {
      this.watch.stop()
    }
  }

  /** Copies of the image that the provider sent to those who keep to the rules. */
  get copies(): number {
    const bytes = this.provider.sentBytesTo((peer) => !this.watch.isDistrusted(peer))
    return bytes / this.image.manifest.bytes
  }

  /** Stops everybody. @throws {Error} if something was wrong on the way, or anything is left. */
  async end(): Promise<void> {
    await this.#checkStores()
    const stopping = [...this.#hostile, ...this.#all.map(({ service }) => service)]
    const stopped = Promise.all(stopping.map(async (each) => each.stop()))
    await this.clock.until(stopped, AFTERMATH_MS)
    await this.clock.advance(AFTERMATH_MS)
    this.watch.checkNothingLeft()
    this.watch.throwIfBroken()
  }

  async #checkStores(): Promise<void> {
    for (const agent of this.agents) {
      for (const [index, chunk] of this.image.chunks.entries()) {
        if (isAllZero(chunk)) continue
        const bytes = await agent.store.get(this.image.manifest.chunkId(index))
        if (bytes !== undefined && equalBytes(bytes, chunk)) continue
        this.watch.broke(`${agent.peerId} lacks chunk ${index}`)
      }
    }
  }
}

const chosen = process.env.SIM_SEED

/** Seeds of a run, or the one that `SIM_SEED` names; `SIM_RUNS` multiplies their number. */
export function seedsFrom(first: number, count: number): number[] {
  if (chosen !== undefined) return [Number(chosen)]
  const runs = Number(process.env.SIM_RUNS ?? 1)
  return Array.from({ length: count * runs }, (_, n) => first + n)
}

/** Plays a scenario on each seed, to its end. @throws {Error} that names the seed. */
export async function onEverySeed(
  seeds: readonly number[],
  play: (swarm: SimulatedSwarm) => Promise<void>,
  shape: SwarmShape = {}
): Promise<void> {
  for (const seed of seeds) {
    const swarm = new SimulatedSwarm(seed, shape)
    await swarm.start()
    try {
      await play(swarm)
      await swarm.end()
    } catch (error) {
      throw new Error(`SIM_SEED=${seed}`, { cause: error })
    }
  }
}
