import { describe, expect, test } from '@jest/globals'
import {
  LocalProviderManager,
  type LocalProviderManagerOptions
} from '../../src/chunks/provider-manager.ts'
import type { ProviderReport } from '../../src/chunks/provider-manager-types.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
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
  isDraining: false,
  version: '1.2.3',
  latencyMs: 0,
  lostCount: 0,
  ...more
})
const conditionsOf = async (manager: LocalProviderManager): Promise<string[]> => {
  const states = await manager.list()
  return states.map(({ id, condition }) => `${id} ${condition}`)
}
const request = { count: 1, chunkBytes: 100, replicas: 1 }
const refuse = async (manager: LocalProviderManager): Promise<void> => {
  await manager.reportFailure('a', { reason: 'full' })
  await manager.report(report('a'))
}
const isFull = async (manager: LocalProviderManager): Promise<boolean> => {
  try {
    await manager.place(request)
    return false
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_STORE_FULL' })
    return true
  }
}
const drained = async (manager: LocalProviderManager): Promise<boolean | undefined> =>
  (await manager.list())[0]?.isDraining
const watch = () => {
  const logger = new MemoryLogger()
  const metrics = new MemoryMetrics()
  const clock = new ManualClock()
  const manager = new LocalProviderManager({ clock, random: seededRandom(1), logger, metrics })
  let told = 0
  const end = manager.onChange(() => told++)
  return { manager, clock, logger, metrics, end, told: () => told }
}

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
      { ...report('a', { storedBytes: 2 }), condition: 'live', seenMs: 7 }
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

  test('refuses writers that want more copies than repair keeps', async () => {
    const { manager } = start({ maxReplicas: 2 })
    await manager.report(report('a'))

    await expect(manager.place({ ...request, replicas: 3 })).rejects.toMatchObject({
      code: 'ERR_TOO_MANY_REPLICAS',
      message: expect.stringContaining('3 copies of each chunk are wanted')
    })
    expect(await manager.place({ ...request, replicas: 2 })).toEqual([['a']])
  })

  test('uses nobody who is being drained', async () => {
    const { manager } = start()
    await manager.report(report('a'))
    await manager.report(report('b'))
    await manager.setDraining('a', true)

    expect(await manager.place({ ...request, replicas: 2 })).toEqual([['b']])

    await manager.setDraining('a', false)
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
    await manager.setDraining('a', true)
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

describe('a provider that says it has room and refuses', () => {
  test('counts as full, not as failed, until it reports anew', async () => {
    const { manager } = start()
    await manager.report(report('a'))
    await manager.reportFailure('a', { reason: 'full' })

    expect(await isFull(manager)).toBe(true)
    expect(await conditionsOf(manager)).toEqual(['a live'])
    await manager.report(report('a'))
    expect(await isFull(manager)).toBe(false)
  })

  test('counts as full for longer each time, but not for ever', async () => {
    const { manager, clock } = start({ suspectAfterMs: 1e9, deadAfterMs: 1e9, forgetAfterMs: 1e9 })
    await manager.report(report('a'))
    const times: number[] = []

    for (let time = 0; time < 10; time++) {
      await refuse(manager)
      const since = clock.monotonic()
      while (await isFull(manager)) clock.advance(1000)
      times.push((clock.monotonic() - since) / 1000)
    }

    expect(times).toEqual([0, 10, 20, 40, 80, 160, 320, 600, 600, 600])
  })

  test('is refused by many at once only one time', async () => {
    const { manager } = start()
    await manager.report(report('a'))
    for (let writer = 0; writer < 100; writer++) {
      await manager.reportFailure('a', { reason: 'full' })
    }

    await manager.report(report('a'))

    expect(await isFull(manager)).toBe(false)
  })

  test('is forgiven when it has kept its word for a while', async () => {
    const { manager, clock } = start()
    await manager.report(report('a'))
    for (let time = 0; time < 3; time++) {
      await refuse(manager)
      clock.advance(60_000)
      await manager.report(report('a'))
    }
    clock.advance(700_000)
    await manager.report(report('a'))

    await refuse(manager)

    expect(await isFull(manager)).toBe(false)
  })
})

describe('draining', () => {
  test('is ordered with the answer to a report until the provider says that it does', async () => {
    const { manager } = start()
    const answers = [(await manager.report(report('a'))).isDraining]
    await manager.setDraining('a', true)

    answers.push((await manager.report(report('a'))).isDraining)
    answers.push((await manager.report(report('a'))).isDraining)
    answers.push((await manager.report(report('a', { isDraining: true }))).isDraining)
    // Now its own word counts: somebody may have told it otherwise while this manager was away.
    answers.push((await manager.report(report('a', { isDraining: false }))).isDraining)

    expect(answers).toEqual([false, true, true, true, false])
  })

  test('is taken from the word of a provider that is new to the manager', async () => {
    const { manager } = start()

    expect(await manager.report(report('a', { isDraining: true }))).toEqual({ isDraining: true })
    expect(await drained(manager)).toBe(true)
    await expect(manager.place(request)).rejects.toMatchObject({ code: 'ERR_NO_PROVIDER' })
  })

  test('that is called off at once is not insisted on', async () => {
    const { manager } = start()
    await manager.report(report('a'))

    await manager.setDraining('a', true)
    const state = await manager.setDraining('a', false)

    expect(state).toMatchObject({ id: 'a', isDraining: false, condition: 'live' })
    expect(await manager.report(report('a'))).toEqual({ isDraining: false })
  })

  test('of one that nobody knows is refused', async () => {
    const { manager } = start()

    await expect(manager.setDraining('a', true)).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_PROVIDER'
    })
  })
})

describe('changes', () => {
  test('are told of, and counted, and a report of the same is none', async () => {
    const { manager, told } = watch()
    const seen: number[] = []
    const steps = [
      () => manager.report(report('a')),
      () => manager.report(report('a', { freeBytes: 7, chunkCount: 9 })),
      () => manager.report(report('a', { lostCount: 1 })),
      () => manager.setDraining('a', true),
      () => manager.report(report('a', { lostCount: 1, isDraining: true })),
      () => manager.reportFailure('a'),
      () => manager.reportFailure('a'),
      () => manager.report(report('a', { lostCount: 1, isDraining: true }))
    ]

    for (const step of steps) {
      await step()
      seen.push(told())
    }

    expect(seen).toEqual([1, 1, 2, 3, 3, 4, 4, 5])
    expect(manager.changes).toBe(5)
  })

  test('come with time alone', async () => {
    const { manager, clock, told, logger } = watch()
    await manager.report(report('a'))
    await manager.report(report('b'))
    clock.advance(20_000)
    await manager.report(report('b'))
    const seen: [number, number][] = []

    for (const ms of [10_000, 1, 20_000, 250_000, 20_000, 604_800_000]) {
      clock.advance(ms)
      seen.push([clock.monotonic(), told()])
    }

    expect(seen.map(([, count]) => count)).toEqual([2, 3, 4, 5, 6, 8])
    expect(await manager.list()).toEqual([])
    const lines = logger.lines.map(({ level, values }) => [level, ...values].join(' '))
    expect(lines).toEqual([
      'info a zone',
      'info b zone',
      'info a suspect live 30',
      'info b suspect live 30',
      'error a dead suspect 300',
      'error b dead suspect 300',
      'info a',
      'info b'
    ])
  })

  test('are told to nobody after it was stopped', async () => {
    const { manager, clock, told, end } = watch()
    await manager.report(report('a'))
    end()
    await manager.report(report('b'))
    manager.stop()
    clock.advance(1_000_000)

    expect(told()).toBe(1)
    expect(manager.changes).toBe(2)
  })

  test('show in the metrics', async () => {
    const { manager, clock, metrics } = watch()
    for (const id of ['a', 'b', 'c']) await manager.report(report(id))
    await manager.setDraining('b', true)
    await manager.place({ count: 10, chunkBytes: 1000, replicas: 3 })
    await manager.reportFailure('c')
    clock.advance(10_000)

    const shown = Object.fromEntries(
      Array.from(metrics.values, ([name, value]) => [name.replace('blobswarm_chunks_', ''), value])
    )

    expect(shown).toEqual({
      'providers{condition=live}': 2,
      'providers{condition=suspect}': 1,
      'providers{condition=dead}': 0,
      providers_draining: 1,
      placed_total: 20,
      unplaced_total: 0,
      'provider_failures_total{reason=failed}': 1
    })
  })
})

const restarted = () => start({ settleMs: 10_000 })

describe('a provider manager that has just begun', () => {
  test('waits for as many providers as there shall be copies', async () => {
    const { manager } = restarted()
    const placing = manager.place({ ...request, replicas: 2 })
    await manager.report(report('a'))
    await manager.report(report('draining', { isDraining: true }))
    await manager.report(report('b'))

    const [placed = []] = await placing
    expect(placed.toSorted()).toEqual(['a', 'b'])
  })

  test('does so only for a while', async () => {
    const { manager, clock } = restarted()
    const none = manager.place(request)
    const one = manager.place({ ...request, replicas: 2, exclude: ['b'] })
    await manager.report(report('a'))
    await manager.report(report('b'))

    clock.advance(10_000)

    expect(await none).toHaveLength(1)
    expect(await one).toEqual([['a']])
    await expect(manager.place({ ...request, exclude: ['a', 'b'] })).rejects.toMatchObject({
      code: 'ERR_NO_PROVIDER'
    })
  })

  test('lets a writer go that gives up', async () => {
    const { manager } = restarted()
    const abort = new AbortController()

    const placing = manager.place(request, { signal: abort.signal })
    abort.abort(new Error('enough'))

    await expect(placing).rejects.toThrow('enough')
  })
})

test('a provider that comes back is not flooded with what it has missed', async () => {
  const { manager, clock } = start({ placement: 'roundRobin' })
  for (const id of ['a', 'b', 'c']) await manager.report(report(id))
  clock.advance(30_001)
  for (const id of ['a', 'b']) await manager.report(report(id))
  await manager.place({ ...request, count: 1000 })

  await manager.report(report('c'))
  const placed = await manager.place({ ...request, count: 99 })

  expect(placed.filter(([id]) => id === 'c')).toHaveLength(33)
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

  test.each([
    { suspectAfterMs: 0 },
    { suspectAfterMs: 10, deadAfterMs: 9 },
    { forgetAfterMs: 1 },
    { stripeWidth: 0 }
  ])('refuses %p', (options) => {
    expect(() => start(options)).toThrow(RangeError)
  })
})
