import type { SimulatedAgent } from '../simulated-agent.ts'
import type { Heal } from '../simulated-weather.ts'
import type { SimulatedSwarm } from './simulated-swarm.ts'

/** Something that goes wrong in a swarm that runs, and is over when it resolves. */
export type Fault = (swarm: SimulatedSwarm) => Promise<void>

// Faults begin in this time and last for less than that.
const BEGIN_MS = 1500
const LAST_MS = 5000

const between = (swarm: SimulatedSwarm, from: number, to: number): number =>
  from + swarm.random() * (to - from)

const pause = async (swarm: SimulatedSwarm, from: number, to: number): Promise<void> =>
  swarm.clock.sleep(between(swarm, from, to))

function shuffled<T>(swarm: SimulatedSwarm, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, rank: swarm.random() }))
    .toSorted((left, right) => left.rank - right.rank)
    .map(({ item }) => item)
}

function hosts(swarm: SimulatedSwarm): string[] {
  return [swarm.provider, ...swarm.agents].map(({ peerId }) => peerId)
}

/** One-way paths between hosts, in random order. */
function paths(swarm: SimulatedSwarm): [string, string][] {
  const all = hosts(swarm)
  const pairs = all.flatMap((from) => all.map((to): [string, string] => [from, to]))
  return shuffled(
    swarm,
    pairs.filter(([from, to]) => from !== to)
  )
}

/** Lets something be wrong for a while. */
async function forAWhile(swarm: SimulatedSwarm, begin: () => Heal): Promise<void> {
  await pause(swarm, 0, BEGIN_MS)
  const heal = begin()
  await pause(swarm, 300, LAST_MS)
  heal()
}

/** Takes an agent that takes part at first and then has its own fate. */
function take(swarm: SimulatedSwarm): SimulatedAgent {
  const agent = swarm.agents.pop()
  if (agent === undefined) throw new Error('no agent is left')
  swarm.fetchSoon(agent).catch(() => {}) // it will be interrupted
  return agent
}

/** Everything that can go wrong for a while, after which everybody finishes. */
export const FAULTS = {
  'packets are lost': async (swarm) =>
    forAWhile(swarm, () => {
      swarm.network.weather.lossRate = 0.05
      return () => {
        swarm.network.weather.lossRate = 0
      }
    }),

  'delays vary': async (swarm) =>
    forAWhile(swarm, () => {
      swarm.network.weather.jitterMs = 80
      return () => {
        swarm.network.weather.jitterMs = 0
      }
    }),

  'the network falls apart': async (swarm) =>
    forAWhile(swarm, () => {
      const all = shuffled(swarm, hosts(swarm))
      const at = 1 + Math.floor(swarm.random() * (all.length - 1))
      return swarm.network.weather.partition([all.slice(0, at), all.slice(at)])
    }),

  'some hear others and are not heard': async (swarm) =>
    forAWhile(swarm, () => {
      const heals = paths(swarm)
        .slice(0, 6)
        .map(([from, to]) => swarm.network.weather.block(from, to))
      return () => {
        for (const heal of heals) heal()
      }
    }),

  'paths clog one by one and open in another order': async (swarm) => {
    const heals: Heal[] = []
    for (const [from, to] of paths(swarm)) {
      heals.push(swarm.network.weather.block(from, to))
      await pause(swarm, 0, 50)
    }
    for (const heal of shuffled(swarm, heals)) {
      heal()
      await pause(swarm, 0, 50)
    }
  },

  'the directory is silent': async (swarm) =>
    forAWhile(swarm, () => {
      swarm.network.isDirectoryDown = true
      return () => {
        swarm.network.isDirectoryDown = false
      }
    }),

  'an agent vanishes and nobody is told': async (swarm) => {
    const lost = take(swarm)
    await pause(swarm, 300, BEGIN_MS)
    lost.crash(true)
  },

  'an agent crashes and goes on with what it had': async (swarm) => {
    const agent = take(swarm)
    await pause(swarm, 300, BEGIN_MS)
    agent.crash(swarm.random() < 0.5)
    await pause(swarm, 0, 2000)
    await agent.restart()
    const held = agent.store.storedBytes
    const { bytesReused } = await swarm.fetch(agent)
    if (bytesReused !== held) swarm.watch.broke(`${bytesReused} bytes reused of ${held}`)
    swarm.agents.push(agent)
  },

  'the provider crashes and comes back': async (swarm) => {
    await pause(swarm, 200, BEGIN_MS)
    swarm.provider.crash(swarm.random() < 0.5)
    await pause(swarm, 0, LAST_MS)
    await swarm.provider.restart()
  },

  'somebody comes late': async (swarm) => {
    await pause(swarm, 1000, LAST_MS)
    const agent = swarm.agent('late')
    await agent.start()
    await swarm.fetch(agent)
    swarm.agents.push(agent)
  }
} satisfies Record<string, Fault>

export type FaultName = keyof typeof FAULTS

export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[]

/** Ends the provider for good once every chunk is with somebody else. */
export const killProviderWhenSpread: Fault = async (swarm) => {
  const { image, agents } = swarm
  const isSpread = (): boolean =>
    image.chunks.every((_, index) =>
      agents.some(({ store }) => store.has(image.manifest.chunkId(index)))
    )
  while (!isSpread()) await swarm.clock.sleep(20)
  swarm.provider.crash(true)
}

/** Several faults at a time, each one in so many of the cases. */
export async function storm(swarm: SimulatedSwarm, share: number): Promise<void> {
  const chosen = FAULT_NAMES.filter(() => swarm.random() < share)
  await Promise.all(chosen.map(async (name) => FAULTS[name](swarm)))
}
