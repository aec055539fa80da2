import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  type Candidate,
  freeSpace,
  inDifferentZones,
  leastLoadedOfTwo,
  PLACEMENT_STRATEGIES,
  type PlacementStrategy,
  placeChunks,
  roundRobin
} from '../../src/chunks/placement.ts'
import { seededRandom } from '../../src/lib/random.ts'

const candidate = (id: string, more: Partial<Candidate> = {}): Candidate => ({
  id,
  zone: 'zone',
  freeBytes: 1_000_000,
  load: 0,
  condition: 'live',
  isDraining: false,
  promisedBytes: 0,
  placedCount: 0,
  ...more
})
const request = { count: 1, chunkBytes: 100, replicas: 1 }
const place = (
  candidates: readonly Candidate[],
  more: Partial<Parameters<typeof placeChunks>[0]> = {},
  strategy: PlacementStrategy = roundRobin
): string[][] =>
  placeChunks({ ...request, ...more }, candidates, inDifferentZones(strategy), seededRandom(1))
const counts = (placed: readonly string[][]): Record<string, number> => {
  const counted: Record<string, number> = {}
  for (const id of placed.flat()) counted[id] = (counted[id] ?? 0) + 1
  return counted
}

describe('placing chunks', () => {
  test('skips providers that are not live, are drained, excluded or full', () => {
    const candidates = [
      candidate('suspect', { condition: 'suspect' }),
      candidate('dead', { condition: 'dead' }),
      candidate('draining', { isDraining: true }),
      candidate('excluded'),
      candidate('full', { freeBytes: 99 }),
      candidate('good')
    ]

    expect(place(candidates, { replicas: 3, exclude: ['excluded'] })).toEqual([['good']])
  })

  test('puts the copies of a chunk into different zones as long as there are some', () => {
    const candidates = [
      candidate('a1', { zone: 'a' }),
      candidate('a2', { zone: 'a' }),
      candidate('b1', { zone: 'b', placedCount: 50 })
    ]

    const [two] = place(candidates, { replicas: 2 })
    const [three] = place(candidates, { replicas: 3 })

    expect(two?.toSorted()).toEqual(['a1', 'b1'])
    expect(three?.toSorted()).toEqual(['a1', 'a2', 'b1'])
  })

  test('counts what it has promised, but rather breaks a promise than refuses', () => {
    const candidates = [
      candidate('a', { freeBytes: 250 }),
      candidate('b', { freeBytes: 1000, promisedBytes: 800, placedCount: 99 })
    ]

    const placed = place(candidates, { count: 5 })

    // a has room for two, b for two more; then somebody who has space now gets it.
    expect(counts(placed.slice(0, 4))).toEqual({ a: 2, b: 2 })
    expect(placed[4]).toHaveLength(1)
  })

  test('gives no provider where none has room', () => {
    expect(place([candidate('a', { freeBytes: 10 })], { count: 2 })).toEqual([[], []])
  })

  test.each(Object.keys(PLACEMENT_STRATEGIES) as (keyof typeof PLACEMENT_STRATEGIES)[])(
    'by %s never puts two copies on one provider, and as many as there are providers',
    (name) => {
      const zone = fc.constantFrom('x', 'y', 'z')
      const cluster = fc.array(fc.record({ zone, load: fc.nat(9) }), { minLength: 1, maxLength: 6 })
      fc.assert(
        fc.property(
          cluster,
          fc.integer({ min: 1, max: 5 }),
          fc.nat(),
          (members, replicas, seed) => {
            const candidates = members.map((member, at) => candidate(`p${at}`, member))
            const strategy = inDifferentZones(PLACEMENT_STRATEGIES[name])
            const wanted = { count: 20, chunkBytes: 10, replicas }

            const placed = placeChunks(wanted, candidates, strategy, seededRandom(seed))

            const zoneCount = new Set(members.map((member) => member.zone)).size
            for (const ids of placed) {
              expect(new Set(ids).size).toBe(Math.min(replicas, members.length))
              const zones = ids.map((id) => candidates.find((each) => each.id === id)?.zone)
              expect(new Set(zones).size).toBe(Math.min(ids.length, zoneCount))
            }
          }
        )
      )
    }
  )
})

describe('strategies', () => {
  test('roundRobin gives everybody the same number', () => {
    const candidates = ['a', 'b', 'c'].map((id) => candidate(id))

    expect(counts(place(candidates, { count: 30, replicas: 2 }))).toEqual({ a: 20, b: 20, c: 20 })
  })

  test('freeSpace fills providers in proportion to their room', () => {
    const candidates = [
      candidate('big', { freeBytes: 3e9 }),
      candidate('small', { freeBytes: 1e9 })
    ]

    const { big = 0 } = counts(place(candidates, { count: 4000 }, freeSpace))

    expect(big / 4000).toBeGreaterThan(0.71)
    expect(big / 4000).toBeLessThan(0.79)
  })

  test('leastLoadedOfTwo spares who is busy and spreads the rest', () => {
    const candidates = [
      candidate('busy', { load: 1000 }),
      ...['a', 'b', 'c'].map((id) => candidate(id))
    ]

    const {
      busy = 0,
      a = 0,
      b = 0,
      c = 0
    } = counts(place(candidates, { count: 300 }, leastLoadedOfTwo))

    expect(busy).toBe(0)
    expect(Math.max(a, b, c) - Math.min(a, b, c)).toBeLessThan(20)
  })

  test('leastLoadedOfTwo takes the only one there is', () => {
    expect(place([candidate('a')], {}, leastLoadedOfTwo)).toEqual([['a']])
  })
})
