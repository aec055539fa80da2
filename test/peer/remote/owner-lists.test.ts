import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { blake3 } from '../../../src/lib/blake3.ts'
import { signLocation } from '../../../src/metadata/location.ts'
import type { NamedRecord } from '../../../src/metadata/store-types.ts'
import { majorityOf, OwnerMap } from '../../../src/peer/owners.ts'
import { isSurelyAbsent, OwnerLists } from '../../../src/peer/remote/owner-lists.ts'
import { readFromOwners } from '../../../src/peer/remote/owner-reads.ts'
import { readRecords } from '../../../src/peer/remote/owner-records.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { testSigner } from '../../support/signing.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
const anyList = fc.subarray(NAMES, { minLength: 1 })
const anyHash = fc.nat(10_000).map((seed) => blake3(Buffer.from(`key ${seed}`)))

/** A reader that has seen these lists, one after the other, the first long ago. */
function readerOf(lists: readonly (readonly string[])[]): OwnerLists {
  const clock = new ManualClock()
  const reader = new OwnerLists(clock, { settleMs: 1000 })
  for (const [at, list] of lists.entries()) {
    reader.update(list)
    if (at === 0) clock.advance(1000)
  }
  return reader
}

/** A majority of the owners by one list, chosen by `chance`. */
function someMajority(list: readonly string[], hash: Uint8Array, chance: number): string[] {
  const owners = new OwnerMap(list).owners(hash)
  const turned = [
    ...owners.slice(chance % owners.length),
    ...owners.slice(0, chance % owners.length)
  ]
  return turned.slice(0, majorityOf(owners.length))
}

const histories = fc.record({
  lists: fc.array(anyList, { minLength: 1, maxLength: 5 }),
  hash: anyHash,
  writtenAt: fc.nat(4),
  chance: fc.nat(5),
  silent: fc.subarray(NAMES)
})

describe('while keys are on their way to new owners', () => {
  test('what was acknowledged by the owners of any list is found, or the silence of an owner told', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async ({ lists, hash, writtenAt, chance, silent }) => {
        const reader = readerOf(lists)
        const at = Math.min(writtenAt, lists.length - 1)
        const holders = someMajority(lists[at] ?? [], hash, chance)
        const ask = async (owner: string): Promise<(string | undefined)[]> => {
          if (silent.includes(owner)) throw new Error(`${owner} is silent`)
          return [holders.includes(owner) ? 'value' : undefined]
        }

        const reading = readFromOwners<string, string>({
          keys: ['key'],
          placementOf: () => reader.placementOf(hash),
          ask
        })

        const outcome = await reading.then(
          ([found]) => found?.value,
          (error: Error) => error.message
        )
        expect(outcome).toMatch(/^value$|is silent$/)
        if (silent.length === 0) expect(outcome).toBe('value')
      }),
      { numRuns: 500 }
    )
  })

  test('the newest record that a majority by any list has acknowledged is the one that is read', async () => {
    const signer = testSigner()
    const record = (sequence: number): NamedRecord =>
      signLocation(signer, { page: new Uint8Array(32).fill(1), sequence, replicas: [['p']] })
    const [older, newer] = [record(1), record(2)]
    await fc.assert(
      fc.asyncProperty(histories, async ({ lists, hash, writtenAt, chance }) => {
        const reader = readerOf(lists)
        const holders = someMajority(
          lists[Math.min(writtenAt, lists.length - 1)] ?? [],
          hash,
          chance
        )

        const [found] = await readRecords({
          names: [newer.name],
          placementOf: () => reader.placementOf(hash),
          ask: async (owner) => [holders.includes(owner) ? newer : older],
          isTrue: () => true
        })

        expect(found?.newest?.sequence).toBe(2)
      }),
      { numRuns: 200 }
    )
  })

  test('owners of now are asked first, and former ones only if it takes them', async () => {
    const reader = readerOf([
      ['a', 'b', 'c'],
      ['d', 'e', 'f']
    ])
    const hash = blake3(Buffer.from('key'))
    const asked: string[] = []
    const read = async (holder: string) =>
      readFromOwners<string, string>({
        keys: ['key'],
        placementOf: () => reader.placementOf(hash),
        ask: async (owner) => {
          asked.push(owner)
          return [owner === holder ? 'value' : undefined]
        }
      })

    const { owners, former } = reader.placementOf(hash)
    const [first] = await read(owners[0] ?? '')
    expect(asked).toEqual([owners[0]])
    const [found] = await read(former[0]?.[0] ?? '')
    const [absent] = await read('nobody')

    expect(first?.value).toBe('value')
    expect(found).toMatchObject({ value: 'value', lacking: owners })
    expect(absent?.value).toBeUndefined()
  })
})

describe('when the list has been the same for a while', () => {
  test('former owners are forgotten', () => {
    const clock = new ManualClock()
    const lists = new OwnerLists(clock, { settleMs: 1000 })
    const hash = blake3(Buffer.from('key'))
    lists.update(['a', 'b', 'c'])
    clock.advance(1000)
    lists.update(['d', 'e', 'f'])

    expect(lists.placementOf(hash).former).toHaveLength(1)
    expect([...lists.everybody()].toSorted()).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
    clock.advance(1000)

    expect(lists.placementOf(hash)).toMatchObject({ former: [], others: [] })
    expect([...lists.everybody()].toSorted()).toEqual(['d', 'e', 'f'])
  })

  test('a majority of its owners is enough for a key to be absent', () => {
    const placement = { owners: ['a', 'b', 'c'], former: [], others: [] }

    expect(isSurelyAbsent(placement, new Set(['a']))).toBe(false)
    expect(isSurelyAbsent(placement, new Set(['a', 'c']))).toBe(true)
  })
})

test('a reader that knows no list before asks the next ones, too, for a while', () => {
  const clock = new ManualClock()
  const lists = new OwnerLists(clock, { settleMs: 1000 })
  const hash = blake3(Buffer.from('key'))
  lists.update(NAMES)

  expect(lists.placementOf(hash).others).toEqual(new OwnerMap(NAMES).owners(hash, 6).slice(3))
  clock.advance(1000)

  expect(lists.placementOf(hash).others).toEqual([])
})
