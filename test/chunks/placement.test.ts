import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  type Candidate,
  freeSpace,
  leastLoadedOfTwo,
  PLACEMENT_STRATEGIES,
  type PlacementName,
  type PlacementRules,
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
  rules: Partial<PlacementRules> = {}
): string[][] => {
  const all: PlacementRules = { strategy: roundRobin, zones: 'spread', stripeWidth: 32, ...rules }
  return placeChunks({ ...request, ...more }, candidates, all, seededRandom(1))
}
const counts = (placed: readonly string[][]): Record<string, number> => {
  const counted: Record<string, number> = {}
  for (const id of placed.flat()) counted[id] = (counted[id] ?? 0) + 1
  return counted
}
const sorted = (placed: readonly string[][]): string[][] => placed.map((ids) => ids.toSorted())
const cluster = (count: number, zones: number): Candidate[] =>
  Array.from({ length: count }, (_, at) => candidate(`p${at}`, { zone: `z${at % zones}` }))
const used = (placed: readonly string[][]): Set<string> => new Set(placed.flat())
const NAMES = Object.keys(PLACEMENT_STRATEGIES) as PlacementName[]

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

    expect(two).toContain('b1')
    expect(three?.toSorted()).toEqual(['a1', 'a2', 'b1'])
  })

  test('does without zones when it is told to', () => {
    const candidates = [
      candidate('a1', { zone: 'a' }),
      candidate('a2', { zone: 'a' }),
      candidate('b1', { zone: 'b', placedCount: 50 })
    ]

    expect(sorted(place(candidates, { replicas: 2 }, { zones: 'ignore' }))).toEqual([['a1', 'a2']])
  })

  test('chooses nobody beside whom it places, and another zone', () => {
    const candidates = [
      candidate('a1', { zone: 'a', condition: 'suspect' }),
      candidate('a2', { zone: 'a' }),
      candidate('b1', { zone: 'b', placedCount: 50 }),
      candidate('b2', { zone: 'b', placedCount: 60 })
    ]

    expect(place(candidates, { beside: ['a1', 'gone'] })).toEqual([['b1']])
    expect(place(candidates, { beside: ['a1', 'b1'] })).toEqual([['a2']])
    expect(sorted(place(candidates, { beside: ['a1'], replicas: 2 }))).toEqual([['a2', 'b1']])
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
})

describe('a stripe', () => {
  test('is the same for every chunk of an image, and another for another image', () => {
    const candidates = cluster(100, 4)
    const two = { count: 300, replicas: 2 }

    const first = place(candidates, { ...two, stripe: 'image 1' }, { stripeWidth: 10 })
    const again = place(candidates, { ...two, stripe: 'image 1' }, { stripeWidth: 10 })
    const other = place(candidates, { ...two, stripe: 'image 2' }, { stripeWidth: 10 })

    expect(used(first).size).toBe(10)
    expect(used(again)).toEqual(used(first))
    expect(used(other)).not.toEqual(used(first))
  })

  test('stays as it is but for one when a provider goes', () => {
    const candidates = cluster(100, 1)
    const wanted = { count: 300, stripe: 'image' }
    const before = used(place(candidates, wanted, { stripeWidth: 10 }))
    const [gone] = before

    const without = candidates.filter(({ id }) => id !== gone)
    const after = used(place(without, wanted, { stripeWidth: 10 }))

    expect(after.size).toBe(10)
    expect([...after].filter((id) => !before.has(id))).toHaveLength(1)
  })

  test('takes another in when one of it is full', () => {
    const candidates = cluster(100, 1)
    const wanted = { count: 300, stripe: 'image' }
    const before = used(place(candidates, wanted, { stripeWidth: 3 }))

    const full = candidates.map((each) =>
      before.has(each.id) ? candidate(each.id, { freeBytes: 0 }) : each
    )
    const after = used(place(full, wanted, { stripeWidth: 3 }))

    expect(after.size).toBe(3)
    expect([...after].some((id) => before.has(id))).toBe(false)
  })

  test('is left for others when all of its room is promised', () => {
    const candidates = cluster(6, 1).map(({ id }) => candidate(id, { freeBytes: 250 }))

    const placed = place(candidates, { count: 7, stripe: 'image' }, { stripeWidth: 2 })

    expect(used(placed.slice(0, 4)).size).toBe(2)
    expect(used(placed).size).toBeGreaterThan(2)
    expect(placed.flat()).toHaveLength(7)
  })

  test('gives zones with few members no more than their share', () => {
    const many = Array.from({ length: 50 }, (_, at) => candidate(`a${at}`, { zone: 'a' }))
    const few = Array.from({ length: 4 }, (_, at) => candidate(`b${at}`, { zone: 'b' }))
    const wanted = { count: 400, replicas: 2, stripe: 'image' }

    const share = counts(place([...many, ...few], wanted, { stripeWidth: 8 }))

    expect(Object.keys(share)).toHaveLength(8)
    expect(Math.max(...Object.values(share))).toBeLessThan(110)
  })
})

describe('in clusters of any kind', () => {
  const conditions = fc.constantFrom<Candidate['condition'][]>('live', 'live', 'suspect', 'dead')
  const member = fc.record({
    zone: fc.constantFrom('x', 'y', 'z'),
    load: fc.nat(9),
    freeBytes: fc.constantFrom(5, 5000, 1_000_000),
    condition: conditions,
    isDraining: fc.constantFrom(false, false, false, true)
  })
  const setting = fc.record({
    members: fc.array(member, { minLength: 1, maxLength: 12 }),
    replicas: fc.integer({ min: 1, max: 5 }),
    stripeWidth: fc.integer({ min: 1, max: 12 }),
    isStriped: fc.boolean(),
    excluded: fc.nat(12),
    holder: fc.nat(12),
    seed: fc.nat()
  })

  test.each(NAMES)('%s keeps every rule', (name) => {
    fc.assert(
      fc.property(setting, (drawn) => {
        const candidates = drawn.members.map((each, at) => candidate(`p${at}`, each))
        const { replicas, stripeWidth, seed } = drawn
        const [exclude, beside] = [[`p${drawn.excluded}`], [`p${drawn.holder}`]]
        const stripe = drawn.isStriped ? 'image' : undefined
        const wanted = { count: 10, chunkBytes: 10, replicas, exclude, beside, stripe }
        const strategy = PLACEMENT_STRATEGIES[name]
        const rules: PlacementRules = { strategy, zones: 'spread', stripeWidth }

        const placed = placeChunks(wanted, candidates, rules, seededRandom(seed))

        const fit = candidates.filter(
          ({ id, condition, isDraining, freeBytes }) =>
            condition === 'live' &&
            !isDraining &&
            freeBytes >= 10 &&
            ![...exclude, ...beside].includes(id)
        )
        const zoneOf = new Map(candidates.map(({ id, zone }) => [id, zone]))
        const takenZone = zoneOf.get(beside[0] ?? '')
        const newZones = new Set(fit.map(({ zone }) => zone).filter((zone) => zone !== takenZone))
        const seen = placed.map((ids) => ({
          unfit: ids.filter((id) => !fit.some((each) => each.id === id)),
          copies: new Set(ids).size,
          zones: new Set(ids.map((id) => zoneOf.get(id)).filter((zone) => zone !== takenZone)).size
        }))
        const copies = Math.min(replicas, fit.length)
        const right = { unfit: [], copies, zones: Math.min(copies, newZones.size) }
        expect(seen).toEqual(seen.map(() => right))
      }),
      { numRuns: 60 }
    )
  })

  test.each(NAMES)('%s keeps to the width of the stripe while there is room', (name) => {
    const zone = fc.constantFrom('x', 'y', 'z')
    fc.assert(
      fc.property(
        fc.array(zone, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 20 }),
        (zones, replicas, stripeWidth) => {
          const candidates = zones.map((each, at) => candidate(`p${at}`, { zone: each }))
          const wanted = { count: 50, replicas, stripe: 'image' }
          const rules = { strategy: PLACEMENT_STRATEGIES[name], stripeWidth }

          const placed = place(candidates, wanted, rules)

          const width = Math.min(zones.length, Math.max(stripeWidth, replicas))
          expect(new Set(placed.flat()).size).toBeLessThanOrEqual(width)
        }
      ),
      { numRuns: 40 }
    )
  })

  test.each(NAMES)('%s spreads within 10% among equals', (name) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 8 }),
        fc.integer({ min: 1, max: 3 }),
        fc.nat(),
        (perZone, replicas, seed) => {
          const candidates = Array.from({ length: perZone * 3 }, (_, at) =>
            candidate(`p${at}`, { zone: `z${at % 3}`, freeBytes: 1e9 })
          )
          const strategy = PLACEMENT_STRATEGIES[name]
          const rules: PlacementRules = { strategy, zones: 'spread', stripeWidth: 32 }
          const wanted = { count: 3000, chunkBytes: 1000, replicas }

          const share = counts(placeChunks(wanted, candidates, rules, seededRandom(seed)))

          const fair = (3000 * replicas) / candidates.length
          expect(Object.keys(share)).toHaveLength(candidates.length)
          const deviations = Object.values(share).map((count) => Math.abs(count - fair) / fair)
          expect(Math.max(...deviations)).toBeLessThan(0.1)
        }
      ),
      { numRuns: 6 }
    )
  })
})

describe('strategies', () => {
  test('roundRobin gives everybody the same number, and not always the same pairs', () => {
    const candidates = ['a', 'b', 'c', 'd'].map((id) => candidate(id))

    const placed = place(candidates, { count: 40, replicas: 2 })

    expect(counts(placed)).toEqual({ a: 20, b: 20, c: 20, d: 20 })
    expect(new Set(placed.map((ids) => ids.toSorted().join(''))).size).toBeGreaterThan(3)
  })

  test('freeSpace fills providers in proportion to their room', () => {
    const candidates = [
      candidate('big', { freeBytes: 3e9 }),
      candidate('small', { freeBytes: 1e9 })
    ]

    const { big = 0 } = counts(place(candidates, { count: 4000 }, { strategy: freeSpace }))

    expect(big / 4000).toBeGreaterThan(0.71)
    expect(big / 4000).toBeLessThan(0.79)
  })

  test('freeSpace goes on when all room is promised', () => {
    const candidates = ['a', 'b'].map((id) => candidate(id, { freeBytes: 100 }))

    const placed = place(candidates, { count: 20 }, { strategy: freeSpace })

    expect(counts(placed)).toEqual({ a: expect.any(Number), b: expect.any(Number) })
    expect(placed.flat()).toHaveLength(20)
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
    } = counts(place(candidates, { count: 300 }, { strategy: leastLoadedOfTwo }))

    expect(busy).toBe(0)
    expect(Math.max(a, b, c) - Math.min(a, b, c)).toBeLessThan(20)
  })

  test('leastLoadedOfTwo takes the only one there is', () => {
    expect(place([candidate('a')], {}, { strategy: leastLoadedOfTwo })).toEqual([['a']])
  })
})
