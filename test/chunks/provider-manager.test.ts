import { describe, expect, test } from '@jest/globals'
import {
  LocalProviderManager,
  type LocalProviderManagerOptions
} from '../../src/chunks/provider-manager.ts'
import type { ProviderReport } from '../../src/chunks/types.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { ManualClock } from '../support/manual-clock.ts'

const start = (
  options: LocalProviderManagerOptions = {}
): { manager: LocalProviderManager; clock: ManualClock } => {
  const clock = new ManualClock()
  return { manager: new LocalProviderManager({ clock, random: seededRandom(1) }, options), clock }
}
const report = (id: string, more: Partial<ProviderReport> = {}): ProviderReport => ({
  id,
  zone: 'zone',
  freeBytes: 1_000_000,
  storedBytes: 0,
  chunkCount: 0,
  load: 0,
  ...more
})
const conditionsOf = async (manager: LocalProviderManager): Promise<string[]> => {
  const states = await manager.list()
  return states.map(({ id, condition }) => `${id} ${condition}`)
}
const request = { count: 1, chunkBytes: 100, replicas: 1 }

describe('the condition of a provider', () => {
  test('is live, suspect, dead as it stays silent, and live again when it reports', async () => {
    const { manager, clock } = start()
    await manager.report(report('a'))
    const seen: string[][] = []

    for (const silentMs of [30_000, 1, 270_000 - 1, 1]) {
      clock.advance(silentMs)
      seen.push(await conditionsOf(manager))
    }
    await manager.report(report('a'))

    expect(seen.flat()).toEqual(['a live', 'a suspect', 'a suspect', 'a dead'])
    expect(await conditionsOf(manager)).toEqual(['a live'])
  })

  test('is suspect from a reported failure to the next report', async () => {
    const { manager } = start()
    await manager.report(report('a'))
    await manager.reportFailure('a')
    await manager.reportFailure('unknown')

    expect(await conditionsOf(manager)).toEqual(['a suspect'])
    await expect(manager.place(request)).rejects.toMatchObject({ code: 'ERR_NO_PROVIDER' })

    await manager.report(report('a'))
    expect(await manager.place(request)).toEqual([['a']])
  })

  test('shows what was reported last and when', async () => {
    const { manager, clock } = start()
    await manager.report(report('a', { storedBytes: 1 }))
    clock.advance(7)
    await manager.report(report('a', { storedBytes: 2 }))

    expect(await manager.list()).toEqual([
      { ...report('a', { storedBytes: 2 }), condition: 'live', isDraining: false, seenMs: 7 }
    ])
  })
})

describe('placing', () => {
  test('uses live providers only', async () => {
    const { manager, clock } = start()
    await manager.report(report('silent'))
    clock.advance(30_001)
    await manager.report(report('live'))

    expect(await manager.place({ ...request, count: 2, replicas: 2 })).toEqual([['live'], ['live']])
  })

  test('uses nobody who is being drained', async () => {
    const { manager } = start()
    await manager.report(report('a'))
    await manager.report(report('b'))
    manager.setDraining('a', true)

    expect(await manager.place({ ...request, replicas: 2 })).toEqual([['b']])

    manager.setDraining('a', false)
    expect((await manager.place({ ...request, replicas: 2 })).flat()).toHaveLength(2)
  })

  test('gives a newcomer no more than its share', async () => {
    const { manager } = start({ placement: 'roundRobin' })
    await manager.report(report('old'))
    await manager.place({ ...request, count: 1000 })
    await manager.report(report('new'))

    const placed = await manager.place({ ...request, count: 100 })

    expect(placed.filter(([id]) => id === 'new')).toHaveLength(50)
  })

  test('goes on counting where it was after a heartbeat', async () => {
    const { manager } = start({ placement: 'roundRobin' })
    for (const id of ['a', 'b']) await manager.report(report(id))
    await manager.place({ ...request, count: 11 })

    await manager.report(report('a'))
    const placed = await manager.place({ ...request, count: 11 })

    expect(placed.filter(([id]) => id === 'b')).toHaveLength(6)
  })

  test('says that the cluster is full when those that could take a chunk are', async () => {
    const { manager } = start()
    await manager.report(report('a', { freeBytes: 99 }))

    await expect(manager.place(request)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
  })

  test('says that nobody takes chunks when all are drained, excluded or unheard of', async () => {
    const { manager } = start()
    for (const id of ['a', 'b', 'c']) await manager.report(report(id))
    manager.setDraining('a', true)
    await manager.reportFailure('b')

    const placing = manager.place({ ...request, exclude: ['c'] })

    await expect(placing).rejects.toThrow('3 known, 2 live')
    await expect(placing).rejects.toMatchObject({ code: 'ERR_NO_PROVIDER' })
  })

  test.each([{ count: 0 }, { count: 4097 }, { replicas: 0 }])('refuses %p', async (wrong) => {
    const { manager } = start()

    await expect(manager.place({ ...request, ...wrong })).rejects.toThrow(RangeError)
  })
})

describe('limits', () => {
  test('refuses more providers than it may know, and forgets those long gone', async () => {
    const { manager, clock } = start({ maxProviders: 2, forgetAfterMs: 1_000_000 })
    await manager.report(report('a'))
    await manager.report(report('b'))

    await expect(manager.report(report('c'))).rejects.toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' })
    clock.advance(1_000_001)
    await manager.report(report('b'))
    await manager.report(report('c'))

    expect(await conditionsOf(manager)).toEqual(['b live', 'c live'])
  })

  test.each([{ suspectAfterMs: 0 }, { suspectAfterMs: 10, deadAfterMs: 9 }, { forgetAfterMs: 1 }])(
    'refuses %p',
    (options) => {
      expect(() => start(options)).toThrow(RangeError)
    }
  )
})
