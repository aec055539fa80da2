import { describe, expect, test } from '@jest/globals'
import {
  FAULT_NAMES,
  FAULTS,
  type FaultName,
  killProviderWhenSpread,
  storm
} from '../support/swarm/faults.ts'
import { HOSTILE_NAMES } from '../support/swarm/hostile-behaviours.ts'
import { onEverySeed, type SwarmShape, seedsFrom } from '../support/swarm/simulated-swarm.ts'

// Virtual time: faults are over after 10 s at most, and then it takes half a minute at most to find
// out who has vanished and to fetch what is missing.
const LIMIT_MS = 40_000
// Of real time, on a machine that is busy with something else.
const TEST_TIMEOUT_MS = 180_000 * Number(process.env.SIM_RUNS ?? 1)

// So slow that faults hit what is on its way.
const SLOW: SwarmShape = { megabits: [1, 5] }

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length

/** Copies that the provider may send in the mean; more where agents cannot hear each other for a while. */
const MAX_COPIES: Partial<Record<FaultName, number>> = {
  'the network falls apart': 2.5,
  'paths clog one by one and open in another order': 2.5,
  'the provider crashes and comes back': 2
}

describe('everybody finishes although', () => {
  test.each(FAULT_NAMES)(
    '%s',
    async (name) => {
      const copies: number[] = []

      await onEverySeed(
        seedsFrom(201, 2),
        async (swarm) => {
          await swarm.run(LIMIT_MS, FAULTS[name])
          copies.push(swarm.copies)
        },
        SLOW
      )

      expect(mean(copies)).toBeLessThan(MAX_COPIES[name] ?? 1.5)
    },
    TEST_TIMEOUT_MS
  )

  test(
    'the provider vanishes for good when every chunk is with somebody else',
    async () => {
      await onEverySeed(
        seedsFrom(231, 2),
        async (swarm) => {
          await swarm.run(LIMIT_MS, killProviderWhenSpread)
          expect(swarm.copies).toBeLessThan(1.5)
        },
        SLOW
      )
    },
    TEST_TIMEOUT_MS
  )
})

test(
  'everybody finishes after a storm of faults, with two among them that break the rules',
  async () => {
    const copies: number[] = []

    await onEverySeed(
      seedsFrom(301, 6),
      async (swarm) => {
        for (let n = 0; n < 2; n++) {
          const place = Math.floor(swarm.random() * HOSTILE_NAMES.length)
          await swarm.hostile(HOSTILE_NAMES[place] ?? 'sends wrong bytes')
        }
        await swarm.run(LIMIT_MS, async () => storm(swarm, 0.5))
        copies.push(swarm.copies)
      },
      SLOW
    )

    expect(mean(copies)).toBeLessThan(2)
  },
  TEST_TIMEOUT_MS
)
