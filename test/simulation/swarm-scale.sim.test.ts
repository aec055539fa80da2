import { expect, test } from '@jest/globals'
import type { SimulatedAgent } from '../../experiments/swarm-simulation/agent.ts'
import { DEFAULTS, type SwarmOptions } from '../../experiments/swarm-simulation/options.ts'
import {
  type Scenario,
  type SwarmResult,
  simulate
} from '../../experiments/swarm-simulation/scenario.ts'
import { Swarm, tableOf } from '../../experiments/swarm-simulation/swarm.ts'
import { KIB } from '../../src/lib/bytes.ts'
import { seededRandom } from '../../src/lib/random.ts'

// The rules alone, without channels and promises; invariants are asserted by the simulated agents.

const chosen = process.env.SIM_SEED
const SEEDS = chosen === undefined ? Array.from({ length: 25 }, (_, n) => n + 1) : [Number(chosen)]

async function onEverySeed(run: (seed: number) => Promise<void>): Promise<void> {
  for (const seed of SEEDS) {
    try {
      await run(seed)
    } catch (error) {
      throw new Error(`SIM_SEED=${seed}`, { cause: error })
    }
  }
}

const SMALL: SwarmOptions = { ...DEFAULTS, agents: 8, chunks: 128, chunkBytes: 128 * KIB }

const many = async (options: Partial<SwarmOptions>, scenario?: Scenario): Promise<SwarmResult> =>
  simulate({ ...SMALL, ...options }, scenario)

test('a swarm takes little more than the bound, and the source sends each chunk once', async () => {
  await onEverySeed(async (seed) => {
    const result = await many({ seed, agents: 4 + (seed % 13) })

    expect(result.unfinished).toBe(0)
    expect(result.efficiency).toBeGreaterThan(0.8)
    expect(result.sourceCopies).toBeLessThan(1.1)
    expect(result.waste).toBeLessThan(0.01)
  })
})

test('with lost, late and slow agents everybody finishes, and the source sends little twice', async () => {
  await onEverySeed(async (seed) => {
    const random = seededRandom(seed)
    const result = await many(
      { seed, agents: 6 + Math.floor(random() * 10), maxNeighbours: 4 + Math.floor(random() * 6) },
      {
        churn: { everyMs: 300 + random() * 500, downMs: 200 + random() * 500, untilMs: 3000 },
        ...(random() < 0.5 ? { slowMbits: 5 } : {}),
        ...(random() < 0.5 ? { late: { count: 3, everyMs: 700 } } : {})
      }
    )

    expect(result.unfinished).toBe(0)
    expect(result.sourceCopies).toBeLessThan(1.5)
  })
})

test('the source may go when everything has left it', async () => {
  for (const seed of SEEDS.slice(0, 2)) {
    const result = await many({ seed, agents: 16 }, { sourceLeavesAfter: 1 })

    expect(result.unfinished).toBe(0)
  }
})

test('one slow agent hardly delays the others', async () => {
  const ratios = { without: 0, with: 0 }
  for (const seed of SEEDS.slice(0, 1)) {
    ratios.without += (await many({ seed, chunks: 512 })).ratio
    ratios.with += (await many({ seed, chunks: 512 }, { slowMbits: 5 })).ratio
  }

  expect(ratios.with / ratios.without).toBeLessThan(1.1)
})

/** Lets an agent wait for one missing chunk after the other. @returns how long each took. */
function demandAll(swarm: Swarm, agent: SimulatedAgent, everyMs: number): number[] {
  const waits: number[] = []
  for (let beginMs = 1000; agent.isRunning && beginMs < 4000; beginMs += everyMs) {
    swarm.run(beginMs, () => false)
    const missing = Array.from(agent.held.missing())
    const chunk = missing[Math.floor(swarm.random() * missing.length)]
    if (chunk === undefined) break
    agent.demand(chunk)
    swarm.run(beginMs + 10_000, () => agent.held.get(chunk))
    waits.push(swarm.events.nowMs - beginMs)
  }
  return waits.toSorted((a, b) => a - b)
}

test('demanded chunks come soon through lines that are full, and the others go on coming', async () => {
  const options = { ...SMALL, chunks: 1024, chunkBytes: 64 * KIB, windowBytes: 16 * KIB }
  const swarm = new Swarm(options, await tableOf(options.chunks, options.chunkBytes))
  for (const agent of swarm.agents) agent.begin()
  swarm.connect()
  const guest = swarm.agents[0] as SimulatedAgent

  const waits = demandAll(swarm, guest, 150)

  // A chunk on its own takes 12 ms; with a ninth of the way up, 94 ms.
  expect(waits.length).toBeGreaterThan(15)
  expect(waits[waits.length >> 1]).toBeLessThan(90)
  expect(waits.at(-1)).toBeLessThan(150)
  expect(guest.held.onesCount).toBeGreaterThan(2 * waits.length)
})
