import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { Manifest } from '../../src/chunks/manifest.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
import { ChunkTable } from '../../src/peer/swarm/chunk-table.ts'
import { type AgentComponents, SimulatedAgent } from './agent.ts'
import { EventQueue } from './event-queue.ts'
import type { Line } from './host.ts'
import { bytesPerSecond, type SwarmOptions } from './options.ts'
import { Peer } from './peer.ts'

// Chance that an agent with few neighbours looks for more at one of its ten ticks a second.
const LOOKS_PER_TICK = 0.1
const LINGER_MS = 15_000
const EVENTS_PER_REPORT = 2 ** 16

/** A simulated swarm: a source, agents, and what happened. */
export class Swarm {
  readonly events = new EventQueue()
  readonly random: Random
  readonly options: SwarmOptions
  readonly source: SimulatedAgent
  readonly agents: SimulatedAgent[] = []
  finishedCount = 0
  /** Hears of progress now and then. */
  onProgress: (swarm: Swarm) => void = () => {}
  readonly #components: AgentComponents

  constructor(options: SwarmOptions, table: ChunkTable) {
    this.options = options
    this.random = seededRandom(options.seed)
    const { events, random } = this
    const onFinished = (): void => {
      this.finishedCount++
    }
    const onTick = (agent: SimulatedAgent): void => this.#lookAround(agent)
    this.#components = { events, random, table, options, onFinished, onTick }
    this.source = new SimulatedAgent('source', this.#components, this.line(), true)
    for (let n = 0; n < options.agents; n++) {
      this.agents.push(new SimulatedAgent(`a${n}`, this.#components, this.line()))
    }
  }

  /** Gives an agent that has no neighbours yet another line. */
  replaceLine(index: number, mbits: number): void {
    const name = `a${index}`
    this.agents[index] = new SimulatedAgent(name, this.#components, this.line(mbits))
  }

  line(mbits = this.options.mbits): Line {
    const rate = bytesPerSecond(mbits)
    return { up: rate, down: rate, latencyMs: this.options.latencyMs }
  }

  /** Connects everybody as the directory and peer exchange would: at random, up to the most. */
  connect(): void {
    const { agents, random, source } = this
    const present = agents.filter(({ isRunning }) => isRunning)
    for (const agent of shuffle(present.slice(), random)) this.visitSource(agent)
    for (const agent of shuffle(present.slice(), random)) this.dial(agent, [source, ...present])
  }

  /** An agent that has lost neighbours looks for others now and then. */
  #lookAround(agent: SimulatedAgent): void {
    const wanted = Math.min(this.options.maxNeighbours / 2, this.agents.length)
    if (agent.neighbours.length >= wanted || this.random() >= LOOKS_PER_TICK) return
    this.#letIdleGo()
    if (!agent.byName.has(this.source.name)) this.visitSource(agent)
    this.dial(agent, this.agents)
  }

  /** Two that have wanted nothing of each other for a while make room for those who do. */
  #letIdleGo(): void {
    const sinceMs = this.events.nowMs - LINGER_MS
    const isIdle = ({ isRunning, finishedMs = 0 }: SimulatedAgent): boolean =>
      !isRunning && finishedMs <= sinceMs
    for (const one of [this.source, ...this.agents]) {
      if (!isIdle(one)) continue
      for (const peer of one.neighbours.slice()) if (isIdle(peer.remote)) peer.leave()
    }
  }

  /** Connects an agent to the source, if that has room. */
  visitSource(agent: SimulatedAgent): void {
    const { source, options } = this
    if (source.host.isDead || source.neighbours.length >= options.maxNeighbours) return
    Peer.join(agent, source)
  }

  /** Connects an agent to others until it has enough neighbours. */
  dial(agent: SimulatedAgent, all: readonly SimulatedAgent[]): void {
    const { maxNeighbours } = this.options
    const isSmall = all.length <= maxNeighbours * 3
    const candidates = isSmall ? shuffle(all.slice(), this.random) : all
    const tries = isSmall ? all.length : maxNeighbours * 10
    for (let n = 0; n < tries && agent.neighbours.length < maxNeighbours; n++) {
      const at = isSmall ? n : Math.floor(this.random() * all.length)
      const other = candidates[at]
      if (other === undefined || other === agent || !isThere(other)) continue
      if (other.neighbours.length >= maxNeighbours || agent.byName.has(other.name)) continue
      Peer.join(agent, other)
    }
  }

  /** Lets everything happen until all agents have finished, or the time is over. */
  run(untilMs: number, isDone = () => this.finishedCount >= this.agents.length): void {
    const { events } = this
    while (!isDone() && events.step(untilMs)) {
      if (events.firedCount % EVENTS_PER_REPORT === 0) this.onProgress(this)
    }
  }

  /** Part of what all agents want that they have. */
  get doneShare(): number {
    const { agents, options } = this
    const held = agents.reduce((sum, agent) => sum + agent.held.onesCount, 0)
    return held / (agents.length * options.chunks)
  }
}

/** It fetches, or has finished, and is not dead. */
function isThere(agent: SimulatedAgent): boolean {
  return !agent.host.isDead && (agent.isRunning || agent.held.hasAll)
}

export function shuffle<T>(items: T[], random: Random): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const [a, b] = [items[at] as T, items[other] as T]
    items[at] = b
    items[other] = a
  }
  return items
}

/** The table of an image of different chunks. */
export async function tableOf(chunks: number, chunkBytes: number): Promise<ChunkTable> {
  const random = seededRandom(chunks)
  const ids = ChunkList.from(
    Array.from({ length: chunks }, () =>
      Uint8Array.from({ length: 32 }, () => Math.floor(random() * 256))
    )
  )
  const root = ids.get(0)
  const shape = { bytes: chunks * chunkBytes, chunkBytes, chunkCount: chunks, levels: 0 }
  const manifest = new Manifest({ root, shape, ids, leafPages: new ChunkList(0), pageIds: [root] })
  return await ChunkTable.build(manifest)
}
