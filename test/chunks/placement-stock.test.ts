import { describe, expect, test } from '@jest/globals'
import { PlacementStock, type WantedPlacement } from '../../src/chunks/placement-stock.ts'
import { ProviderLoad } from '../../src/chunks/provider-load.ts'
import type { PlacementRequest } from '../../src/chunks/provider-manager-types.ts'
import type { ProviderId } from '../../src/chunks/types.ts'
import { ManualClock } from '../support/manual-clock.ts'

const wanted: WantedPlacement = { chunkBytes: 100_000, replicas: 1 }

/** A stock from which `give` is asked for each placement. */
function setUp(give: (at: number) => ProviderId[] = (at) => [`p${at % 10}`], maxStock = 1024) {
  const clock = new ManualClock()
  const asked: PlacementRequest[] = []
  let given = 0
  const place = async (request: PlacementRequest): Promise<ProviderId[][]> => {
    asked.push(request)
    return Array.from({ length: request.count }, () => give(given++))
  }
  const load = new ProviderLoad(clock)
  const stock = new PlacementStock(
    { providers: { place }, clock, load },
    { maxStock, maxAgeMs: 15_000 }
  )
  const take = async (count: number, more: Partial<WantedPlacement> = {}): Promise<string[]> => {
    const taken: string[] = []
    while (taken.length < count) taken.push((await stock.take({ ...wanted, ...more })).join(''))
    return taken
  }
  return { clock, asked, load, stock, take }
}

describe('the stock of placements', () => {
  test('of an upload of 10 GiB in chunks of 256 KiB is filled a few dozen times', async () => {
    const { asked, take } = setUp()

    await take(40_960, { chunkBytes: 262_144 })

    expect(asked.length).toBeLessThan(50)
    expect(Math.max(...asked.map(({ count }) => count))).toBe(1024)
  })

  test('is another for each size, stripe, and set of providers that have the chunk', async () => {
    const { asked, take } = setUp()

    await take(1)
    await take(1, { chunkBytes: 120_000 })
    await take(1, { chunkBytes: 140_000 })
    await take(1, { stripe: 'image' })
    await take(1, { stripe: 'image', beside: ['x', 'y'] })
    await take(1, { stripe: 'image', beside: ['y', 'x'] })

    expect(asked.map(({ chunkBytes, stripe, beside }) => [chunkBytes, stripe, beside])).toEqual([
      [131_072, undefined, undefined],
      [262_144, undefined, undefined],
      [131_072, 'image', undefined],
      [131_072, 'image', ['x', 'y']]
    ])
  })

  test('keeps a bounded number of them', async () => {
    const { asked, take } = setUp()
    for (let image = 0; image < 257; image++) await take(1, { stripe: `image ${image}` })
    const before = asked.length

    await take(1, { stripe: 'image 256' })
    await take(1, { stripe: 'image 0' })

    expect(asked.length - before).toBe(1)
  })

  test('is worth nothing after its time', async () => {
    const { asked, clock, take } = setUp()
    await take(1)
    clock.advance(15_000)
    await take(1)
    clock.advance(1)
    await take(1)

    expect(asked).toHaveLength(2)
  })

  test('is rid of a provider that takes no more', async () => {
    const { stock, take } = setUp((at) => (at % 2 === 0 ? ['good'] : ['bad', 'good']))
    await take(1)

    stock.drop('bad')

    expect(await take(3)).toEqual(['good', 'good', 'good'])
  })

  test('gives those first that have the least to do', async () => {
    const { load, take } = setUp((at) => [`p${at % 4}`])
    load.begin('p0', 300_000)
    load.begin('p1', 200_000)
    load.begin('p2', 100_000)
    load.begin('p3', 400_000)

    expect(await take(8)).toEqual(['p2', 'p2', 'p1', 'p1', 'p0', 'p0', 'p3', 'p3'])
  })

  test('is filled again rather than that one gets more who is too slow', async () => {
    const { asked, load, take } = setUp((at) => [`p${at % 4}`])
    for (const id of ['p0', 'p1', 'p2']) load.begin(id, 0)
    load.begin('p3', 10_000_000)

    const taken = await take(18)

    expect(taken).not.toContain('p3')
    expect(asked.map(({ count }) => count)).toEqual([8, 16])
  })

  test('is filled again once a second at most where all are too slow', async () => {
    const { asked, clock, load, take } = setUp(() => ['p0', 'p1'])
    load.begin('p0', 10_000_000)
    load.begin('p1', 0)
    load.begin('p2', 0)

    await take(8)
    await take(8)
    clock.advance(1001)
    await take(1)

    expect(asked.map(({ count }) => count)).toEqual([8, 16, 32])
  })

  test('gives to one that failed here only if there is nobody else', async () => {
    const { clock, load, take } = setUp((at) => [at < 24 ? `p${at % 2}` : 'p1'])
    load.fail('p1')

    expect(new Set(await take(12))).toEqual(new Set(['p0']))
    expect(await take(2)).toEqual(['p1', 'p1']) // nothing else has come
    clock.advance(30_000)
    expect(load.costOf(['p1'])).toBe(0)
  })

  test('fails as the provider manager does, and recovers', async () => {
    const { stock, take } = setUp((at) => {
      if (at === 0) throw new Error('nobody there')
      return ['a']
    })

    await expect(stock.take(wanted)).rejects.toThrow('nobody there')
    expect(await take(1)).toEqual(['a'])
  })
})
