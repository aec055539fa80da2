import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { blake3 } from '../../src/lib/blake3.ts'
import { nodeBundle, OwnerMap } from '../../src/peer/owners.ts'

const BLOB = 'ab'.repeat(32)

function keys(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, at) => blake3(Buffer.from(`key ${at}`)))
}

function peers(count: number, prefix = 'peer'): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}-${at}`)
}

function place(offset: number, span: number, version = 1): string {
  return nodeBundle({ blob: BLOB, version, offset, span })
}

describe('owners of a key', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 3],
    [10, 3]
  ])('of %i providers are %i different ones', (providerCount, ownerCount) => {
    const map = new OwnerMap(peers(providerCount))

    for (const key of keys(100)) {
      const owners = map.owners(key)
      expect(new Set(owners).size).toBe(ownerCount)
      expect(owners).toHaveLength(ownerCount)
    }
  })

  test('are nobody when nobody is there', () => {
    expect(new OwnerMap([]).owners(keys(1)[0] as Uint8Array)).toEqual([])
  })

  test('do not depend on the order of the list', () => {
    const list = peers(12)
    fc.assert(
      fc.property(fc.shuffledSubarray(list, { minLength: 12 }), (shuffled) => {
        const [one, other] = [new OwnerMap(shuffled), new OwnerMap(list)]
        for (const key of keys(20)) expect(one.owners(key)).toEqual(other.owners(key))
      }),
      { numRuns: 20 }
    )
  })

  test.each([4, 7, 16, 50])('are spread evenly over %i providers', (providerCount) => {
    const map = new OwnerMap(peers(providerCount))
    const shares = new Map<string, number>()

    for (const key of keys(4000)) {
      for (const owner of map.owners(key)) shares.set(owner, (shares.get(owner) ?? 0) + 1)
    }

    const mean = (4000 * 3) / providerCount
    expect(shares.size).toBe(providerCount)
    expect(Math.max(...shares.values()) / mean).toBeLessThan(1.6)
    expect(Math.min(...shares.values()) / mean).toBeGreaterThan(0.5)
  })

  test('change only by the provider that joined', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.string(), (count, name) => {
        const before = new OwnerMap(peers(count))
        const after = new OwnerMap([...peers(count), `new ${name}`])
        for (const key of keys(50)) {
          const stayed = after.owners(key).filter((owner) => owner !== `new ${name}`)
          expect(before.owners(key).slice(0, stayed.length)).toEqual(stayed)
        }
      }),
      { numRuns: 30 }
    )
  })

  test('change for few keys when one of many joins', () => {
    const before = new OwnerMap(peers(20))
    const after = new OwnerMap([...peers(20), 'new'])

    const moved = keys(4000).filter((key) => after.owners(key).includes('new')).length

    expect(before.providers).toHaveLength(20)
    expect(moved / 4000).toBeLessThan((3 / 21) * 1.5)
  })
})

describe('a tree node', () => {
  test('is placed with its neighbours of six levels', () => {
    expect(place(0, 1)).toBe(place(63, 1))
    expect(place(0, 1)).toBe(place(32, 32))
    expect(place(0, 64)).toBe(place(64 * 63, 64))
    expect(place(0, 64)).toBe(place(0, 2048))
  })

  test('is placed apart from other bundles, tiers and versions', () => {
    const places = [
      place(0, 1),
      place(64, 1),
      place(0, 64),
      place(4096, 64),
      place(0, 4096),
      place(0, 1, 2)
    ]

    expect(new Set(places).size).toBe(places.length)
  })
})
