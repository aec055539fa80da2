import { expect, test } from '@jest/globals'
import { clusterHealth } from '../../src/agent/cluster-health.ts'
import type { RepairFigures } from '../../src/chunks/maintenance-types.ts'
import type { ProviderState } from '../../src/chunks/provider-manager-types.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const state = (condition: ProviderState['condition'], isDraining = false): ProviderState =>
  ({ condition, isDraining }) as ProviderState
const never = async (): Promise<never> => await new Promise(() => {})
const figures = { replicas: 2, chunks: 10 } as RepairFigures

test('counts providers by how they are', async () => {
  const states = [
    state('live'),
    state('live'),
    state('suspect'),
    state('dead'),
    state('live', true),
    state('suspect', true),
    state('dead', true)
  ]

  const health = await clusterHealth({
    providers: { list: async () => states },
    repair: { figures: async () => figures },
    clock: new VirtualClock()
  })

  expect(health).toEqual({
    providers: { live: 2, suspect: 1, dead: 2, draining: 2 },
    repair: figures
  })
})

test('says that nothing is known yet before the first look', async () => {
  const { repair } = await clusterHealth({
    providers: { list: async () => [] },
    repair: { figures: async () => undefined },
    clock: new VirtualClock()
  })

  expect(repair).toEqual({ error: 'where all chunks are has not been looked at yet' })
})

test('does not wait for a provider manager that does not answer', async () => {
  const clock = new VirtualClock()
  const asking = clusterHealth({
    providers: { list: never },
    repair: {
      figures: async () => {
        throw new Error('connection refused')
      }
    },
    clock
  })
  const health = await clock.until(asking, 10_000)

  expect(health).toEqual({
    providers: { error: 'the provider manager does not answer' },
    repair: { error: 'connection refused' }
  })
})
