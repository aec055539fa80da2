import { describe, expect, jest, test } from '@jest/globals'
import type { SimulatedAgent } from '../support/simulated-agent.ts'
import { HOSTILE_NAMES, type HostileName } from '../support/swarm/hostile-behaviours.ts'
import { onEverySeed, seedsFrom } from '../support/swarm/simulated-swarm.ts'

jest.setTimeout(60_000 * Number(process.env.SIM_RUNS ?? 1)) // real time, on a busy machine

const LIMIT_MS = 60_000
// Longer than the deadlines that a hostile peer can run into.
const ATTACK_MS = 12_000
const LONG_ATTACK_MS = 55_000
const SHAPE = { agents: 4, chunks: 48, providerLine: { up: 25_000, latencyMs: 2 } }

/** What each of them comes to: why it is dropped, or turned away; undefined if it does no harm. */
const FATES: Record<HostileName, string | undefined> = {
  'sends wrong bytes': 'lied',
  'claims all and gives nothing': 'failing',
  'says notHeld to everything': 'failing',
  'says notHeld and announces it again': 'failing',
  'says failed to everything': 'failing',
  'says spread to everything': undefined,
  'stalls after half a chunk': 'failing',
  'sends a byte every few seconds': 'failing',
  'announces and vanishes': 'ended',
  'repeats what it announced': 'flooding',
  'says nothing, often': 'flooding',
  'asks for everything at once': 'violation',
  'cancels what it never asked for': 'flooding',
  'wants and does not want': 'flooding',
  'names peers that do not exist': 'flooding',
  'asks for pages without end': 'flooding',
  'reads nothing': 'silent',
  'says hello twice': 'violation',
  'answers what was not asked': 'violation',
  'sends parts out of order': 'violation',
  'sends chunks of another length': 'violation',
  'announces chunks that do not exist': 'violation',
  'speaks a later version': 'violation',
  'has another number of chunks': 'violation',
  'has a bitfield of the wrong length': 'violation',
  'says random bytes': 'violation',
  'says nothing at all': 'timeout'
}

const METRICS = [
  'blobswarm_peer_swarm_neighbours_left_total',
  'blobswarm_peer_swarm_refused_total'
] as const

/** How often an agent dropped or turned somebody away for a reason. */
const timesOf = ({ metrics }: SimulatedAgent, reason: string | undefined): number =>
  METRICS.reduce((sum, name) => sum + (metrics.values.get(`${name}{reason=${reason}}`) ?? 0), 0)

describe('with a member among them everybody finishes, and it is dropped if need be: it', () => {
  test.each(Object.entries(FATES))('%s', async (name, fate) => {
    let times = 0

    await onEverySeed(
      seedsFrom(1, 1),
      async (swarm) => {
        const { peerId } = await swarm.hostile(name as HostileName)
        const attackMs = name === 'reads nothing' ? LONG_ATTACK_MS : ATTACK_MS
        await swarm.run(LIMIT_MS, async () => swarm.clock.sleep(attackMs))
        const agents = [swarm.provider, ...swarm.agents]
        times += agents.reduce((sum, agent) => sum + timesOf(agent, fate), 0)
        expect(agents.filter((agent) => agent.receivedFrom(peerId) > 0)).toEqual([])
        expect(swarm.copies).toBeLessThan(2)
      },
      SHAPE
    )

    if (fate !== undefined) expect(times).toBeGreaterThan(0)
  })
})

test('all of them at once keep nobody from the only one who gives anything, however short the deadlines are', async () => {
  const hasty = { handshakeMs: 1000, download: { silenceMs: 100 } }
  const shape = { agents: 0, chunks: 12, providerLine: { up: 40_000, latencyMs: 2 } }

  await onEverySeed(
    seedsFrom(1, 1),
    async (swarm) => {
      const agent = swarm.agent('agent', { session: hasty })
      swarm.agents.push(agent)
      await agent.start()
      for (const name of HOSTILE_NAMES) await swarm.hostile(name)

      await swarm.run(25_000)

      expect(agent.receivedFrom('provider')).toBe(swarm.image.manifest.bytes)
    },
    shape
  )
})
