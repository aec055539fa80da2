import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  type ChunkPlan,
  type KnownCopies,
  type ProviderStanding,
  planChunk,
  type RankedProvider
} from '../../src/chunks/repair-plan.ts'

interface AnyMember extends Omit<RankedProvider, 'id'> {
  readonly copy: string
}

const STANDINGS: Readonly<Record<string, ProviderStanding>> = {
  L: 'live',
  D: 'draining',
  S: 'suspect',
  X: 'dead'
}

/** Providers `a`, `b`, `c` …: standing, zone and free bytes of each, such as `L1:50`. */
function providersOf(text: string): Map<string, RankedProvider> {
  const entries = text.split(' ').map((word, at): [string, RankedProvider] => {
    const [head = '', free = '100'] = word.split(':')
    const id = String.fromCodePoint(97 + at)
    const standing = STANDINGS[head[0] ?? ''] ?? 'dead'
    return [id, { id, standing, zone: head.slice(1), freeBytes: Number(free) }]
  })
  return new Map(entries)
}

function plan(providers: string, holders: string, wanted = 2, silent = ''): ChunkPlan {
  const copies = { holders: holders.split(''), silent: silent.split('') }
  return planChunk(copies, providersOf(providers), wanted)
}

describe('what is missing', () => {
  test.each([
    ['L1 L2 L3', 'ab', '', 0],
    ['L1 L2 L3', 'a', '', 1],
    ['L1 L2 X3', 'ac', '', 1],
    ['L1 D2 L3', 'ab', '', 1],
    ['L1 L2 L3', '', '', 2],
    ['L1 S2 L3', 'a', 'b', 0],
    ['L1 S2 L3', 'ab', '', 0],
    ['D1 S2 L3', 'a', 'b', 1],
    ['X1 X2 L3', '', 'ab', 2]
  ])('with providers %s, held by "%s" and perhaps by "%s": %d', (providers, ...rest) => {
    const [holders, silent, missing] = rest

    expect(plan(providers, holders, 2, silent).missing).toBe(missing)
  })

  test('is read from live providers first, from suspect ones last', () => {
    expect(plan('S1 D2 L3 X4', 'abcd', 3).sources).toEqual(['c', 'b', 'a'])
  })
})

describe('surplus', () => {
  test.each([
    ['at draining providers, once enough others have it', 'D1 L2 L3', 'abc', ['a']],
    ['is none while a draining provider is needed', 'D1 L2 X3', 'ab', []],
    ['where a zone has two', 'L1:10 L2 L2', 'abc', ['b']],
    ['at the fullest', 'L1:50 L2:10 L3:70', 'abc', ['b']],
    ['at the fullest of a zone', 'L1:1 L2:50 L2:60', 'abc', ['b']],
    ['never at a suspect or a dead provider', 'L1 L2 S3 X4', 'abcd', []],
    ['of several, one after the other', 'L1:9 L1:8 L1:7 L2:1', 'abcd', ['c', 'b']]
  ])('%s', (_name, providers, holders, surplus) => {
    expect(plan(providers, holders).surplus).toEqual(surplus)
  })
})

test('surplus is taken from providers that are about as full in turn', () => {
  const providers = providersOf('L1:1000 L2:1001 L3:999')
  const losers = [0, 0.4, 0.8].map(
    (chance) => planChunk({ holders: ['a', 'b', 'c'], silent: [], chance }, providers, 2).surplus[0]
  )

  expect(losers).toEqual(['a', 'b', 'c'])
})

describe('of any chunk in any cluster', () => {
  const member: fc.Arbitrary<AnyMember> = fc.record({
    standing: fc.constantFrom<ProviderStanding>('live', 'draining', 'suspect', 'dead'),
    zone: fc.constantFrom('1', '2', '3'),
    freeBytes: fc.nat(5),
    copy: fc.constantFrom('yes', 'yes', 'no', 'silent')
  })
  const cluster = fc.array(member, { maxLength: 9 })
  const situations = fc.record({ cluster, wanted: fc.integer({ min: 1, max: 4 }) })

  function situation(members: readonly AnyMember[]) {
    const named = members.map((one, at) => ({ id: String.fromCodePoint(97 + at), ...one }))
    const providers = new Map<string, RankedProvider>(named.map((one) => [one.id, one]))
    const idsOf = (copy: string): string[] =>
      named.filter((one) => one.copy === copy).map(({ id }) => id)
    // Whoever is dead is not asked, and a live one that does not answer counts as suspect.
    const holders = idsOf('yes').filter((id) => providers.get(id)?.standing !== 'dead')
    const silent = idsOf('silent').filter((id) => !isUsable(providers.get(id)))
    return { providers, copies: { holders, silent } }
  }

  test('nothing is taken away that would leave fewer than wanted', () => {
    fc.assert(
      fc.property(situations, ({ cluster: members, wanted }) => {
        const { providers, copies } = situation(members)
        const { live, surplus } = planChunk(copies, providers, wanted)

        const staying = live.filter((id) => !surplus.includes(id))
        expect(surplus.length === 0 || staying.length >= wanted).toBe(true)
        expect(surplus.filter((id) => !isUsable(providers.get(id)))).toEqual([])
        expect(new Set(surplus).size).toBe(surplus.length)
      })
    )
  })

  test('what the plan says, done, leaves nothing to do', () => {
    fc.assert(
      fc.property(situations, ({ cluster: members, wanted }) => {
        const { providers, copies } = situation(members)

        const once = carriedOut(planChunk(copies, providers, wanted), copies, providers)
        const twice = carriedOut(planChunk(once, providers, wanted), once, providers)

        expect(planChunk(twice, providers, wanted)).toMatchObject({ missing: 0, surplus: [] })
      })
    )
  })
})

function isUsable(provider: RankedProvider | undefined): boolean {
  return provider?.standing === 'live' || provider?.standing === 'draining'
}

/** Adds copies at newcomers, which there always are, and takes the surplus away. */
function carriedOut(
  { missing, surplus }: ChunkPlan,
  { holders, silent }: KnownCopies,
  providers: Map<string, RankedProvider>
): KnownCopies {
  const added = Array.from({ length: missing }, (_, at) => `new-${providers.size}-${at}`)
  for (const id of added) {
    providers.set(id, { id, standing: 'live', zone: id, freeBytes: 100 })
  }
  return { holders: [...holders.filter((id) => !surplus.includes(id)), ...added], silent }
}
