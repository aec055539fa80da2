import type { SimulatedAgent } from './agent.ts'
import type { EventTarget } from './event-queue.ts'
import { bytesPerSecond, type SwarmOptions } from './options.ts'
import { Swarm, tableOf } from './swarm.ts'

/** What happens to a swarm besides its download. */
export interface Scenario {
  /** So many of the agents come late, one after the other at this distance. */
  readonly late?: { readonly count: number; readonly everyMs: number }
  /** Mbit/s of the first agent, each way. */
  readonly slowMbits?: number
  /** An agent crashes this often and comes back with what it had after `downMs`, until `untilMs`. */
  readonly churn?: { readonly everyMs: number; readonly downMs: number; readonly untilMs: number }
  /** The source goes for good when it has sent so many copies. */
  readonly sourceLeavesAfter?: number
}

/** How a simulated download went. Times are in ms. */
export interface SwarmResult {
  readonly agents: number
  readonly chunks: number
  readonly chunkBytes: number
  readonly mbits: number
  readonly seed: number
  /** From the first to the last finish of those that are as fast as the others. */
  readonly firstMs: number
  readonly medianMs: number
  readonly makespanMs: number
  /** Discrete bound: F/u · (1 + floor(log2 N) / M). */
  readonly boundMs: number
  /** Bound over makespan. */
  readonly efficiency: number
  /** Fluid bound of N hosts as fast as the source: F/u. */
  readonly ratio: number
  /** Time from begin to end of the slowest of those that came late, over F/u. */
  readonly lateRatio: number
  readonly sourceCopies: number
  /** Chunks that came and were not needed, over chunks that were. */
  readonly waste: number
  /** Use of all ways up, and of the source's, in each tenth of F/u. */
  readonly use: readonly number[]
  readonly sourceUse: readonly number[]
  readonly events: number
  readonly unfinished: number
}

const MAX_RATIO = 20
// A source that leaves lets what it has written arrive.
const LAST_BYTES_MS = 200

class Call implements EventTarget {
  readonly fire: () => void

  constructor(fire: () => void) {
    this.fire = fire
  }
}

/** Runs one swarm until everybody who can has finished. */
export async function simulate(
  options: SwarmOptions,
  scenario: Scenario = {},
  onProgress: (swarm: Swarm) => void = () => {}
): Promise<SwarmResult> {
  const swarm = new Swarm(options, await tableOf(options.chunks, options.chunkBytes))
  swarm.onProgress = onProgress
  const imageMs = ((options.chunks * options.chunkBytes) / bytesPerSecond(options.mbits)) * 1000
  const { slowMbits, late, churn } = scenario
  if (slowMbits !== undefined) swarm.replaceLine(0, slowMbits)
  const lateAgents = late === undefined ? [] : swarm.agents.slice(-late.count)
  for (const agent of swarm.agents) if (!lateAgents.includes(agent)) agent.begin()
  swarm.connect()
  const { events } = swarm
  for (const [n, agent] of lateAgents.entries()) {
    events.at((n + 1) * (late?.everyMs ?? 0), new Call(() => join(swarm, agent)), 0)
  }
  if (churn !== undefined) events.at(churn.everyMs, new Call(() => crashOne(swarm, churn)), 0)
  return follow(swarm, scenario, { imageMs, lateAgents })
}

function join(swarm: Swarm, agent: SimulatedAgent): void {
  agent.begin()
  swarm.visitSource(agent)
  swarm.dial(agent, [swarm.source, ...swarm.agents])
}

function crashOne(swarm: Swarm, churn: NonNullable<Scenario['churn']>): void {
  const { events, random } = swarm
  const running = swarm.agents.filter(({ isRunning }) => isRunning)
  const agent = running[Math.floor(random() * running.length)]
  if (events.nowMs < churn.untilMs) {
    events.at(events.nowMs + churn.everyMs, new Call(() => crashOne(swarm, churn)), 0)
  }
  if (agent === undefined) return
  agent.crash()
  const restart = (): void => {
    agent.restart()
    join(swarm, agent)
  }
  events.at(events.nowMs + churn.downMs, new Call(restart), 0)
}

interface Measured {
  readonly imageMs: number
  readonly lateAgents: readonly SimulatedAgent[]
}

function follow(swarm: Swarm, scenario: Scenario, { imageMs, lateAgents }: Measured): SwarmResult {
  const { agents, options, source } = swarm
  const hosts = [source, ...agents].map(({ host }) => host)
  const [use, sourceUse]: [number[], number[]] = [[], []]
  let [usedMs, sourceUsedMs] = [0, 0]
  let leavesAt = (scenario.sourceLeavesAfter ?? Infinity) * options.chunks
  const isDone = (): boolean => {
    if (source.sentChunks >= leavesAt) {
      leavesAt = Infinity
      swarm.events.at(swarm.events.nowMs + LAST_BYTES_MS, new Call(() => source.crash()), 0)
    }
    return swarm.finishedCount >= agents.length
  }
  for (let tenth = 1; tenth <= MAX_RATIO * 10 && !isDone(); tenth++) {
    swarm.run((tenth * imageMs) / 10, isDone)
    const nowUsedMs = hosts.reduce((sum, { busyMs }) => sum + busyMs, 0)
    use.push(rounded((nowUsedMs - usedMs) / hosts.length / (imageMs / 10)))
    sourceUse.push(rounded((source.host.busyMs - sourceUsedMs) / (imageMs / 10)))
    usedMs = nowUsedMs
    sourceUsedMs = source.host.busyMs
  }
  const isSlow = (agent: SimulatedAgent): boolean =>
    scenario.slowMbits !== undefined && agent === agents[0]
  const counted = agents.filter((agent) => !isSlow(agent) && !lateAgents.includes(agent))
  const finished = counted.map(({ finishedMs = Infinity }) => finishedMs).toSorted((a, b) => a - b)
  const makespanMs = finished.at(-1) ?? Infinity
  const boundMs = imageMs * (1 + Math.floor(Math.log2(options.agents)) / options.chunks)
  const lateMs = lateAgents.map(({ finishedMs = Infinity, startedMs }) => finishedMs - startedMs)
  const wasted = agents.reduce((sum, { wastedChunks }) => sum + wastedChunks, 0)
  const { agents: count, chunks, chunkBytes, mbits, seed } = options
  return {
    agents: count,
    chunks,
    chunkBytes,
    mbits,
    seed,
    firstMs: rounded(finished[0] ?? Infinity),
    medianMs: rounded(finished[finished.length >> 1] ?? Infinity),
    makespanMs: rounded(makespanMs),
    boundMs: rounded(boundMs),
    efficiency: rounded(boundMs / makespanMs),
    ratio: rounded(makespanMs / imageMs),
    lateRatio: rounded(Math.max(0, ...lateMs) / imageMs),
    sourceCopies: rounded(source.sentChunks / chunks),
    waste: rounded(wasted / chunks / count),
    use,
    sourceUse,
    events: swarm.events.firedCount,
    unfinished: agents.filter(({ finishedMs }) => finishedMs === undefined).length
  }
}

function rounded(value: number): number {
  return Number(value.toFixed(4))
}
