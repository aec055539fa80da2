import { describe, expect, test } from '@jest/globals'
import { toHex } from '../../src/lib/bytes.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { recordKey } from '../../src/metadata/metadata-keys.ts'
import { LocationScan } from '../../src/metadata/repair-scan.ts'
import type { ScannedMetadata } from '../../src/metadata/repair-types.ts'
import type { KeyScan } from '../../src/metadata/store-types.ts'

const log = noLogger.forComponent('test')

/** Key of the location record of page number n, in order of n. */
function keyOf(number: number): Uint8Array {
  return recordKey(`location/${number.toString(16).padStart(64, '0')}`)
}

/** A metadata provider that has these pages' records, and fails after so many questions. */
function member(numbers: readonly number[], failsAfter = Infinity): ScannedMetadata {
  let questions = 0
  const keys = numbers.map(keyOf)
  return {
    id: `with ${numbers.length}`,
    store: {
      scan: async ({ after, limit = 1024 }: KeyScan) => {
        if (questions++ >= failsAfter) throw new Error('connection lost')
        const above = after === undefined ? 0 : keys.findIndex((key) => toHex(key) > toHex(after))
        return above === -1 ? [] : keys.slice(above, above + limit)
      }
    }
  }
}

function upTo(count: number, step = 1): number[] {
  return Array.from({ length: count }, (_, at) => at * step)
}

async function pagesOf(scan: LocationScan, batch = 100): Promise<number[]> {
  const batches = await Array.fromAsync(scan.pages(batch, {}))
  expect(batches.every(({ length }) => length <= batch)).toBe(true)
  return batches.flat().map((page) => Number.parseInt(toHex(page), 16))
}

describe('walking through all records', () => {
  test('gives the names of all metadata providers, in order and each once', async () => {
    const scan = new LocationScan([member(upTo(2500, 2)), member(upTo(1700, 3)), member([])], log)

    const pages = await pagesOf(scan)

    const all = new Set([...upTo(2500, 2), ...upTo(1700, 3)])
    expect(pages).toEqual([...all].toSorted((left, right) => left - right))
    expect([scan.missed, scan.isComplete]).toEqual([0, true])
  })

  test('goes on without one that fails on the way', async () => {
    const members = [member(upTo(3000), 1), member(upTo(3000)), member(upTo(3000))]
    const scan = new LocationScan(members, log)

    expect(await pagesOf(scan)).toEqual(upTo(3000))
    expect([scan.missed, scan.isComplete]).toEqual([1, true])
  })

  test.each([
    [1, 0, true],
    [1, 1, false],
    [2, 1, true],
    [2, 2, false],
    [3, 1, true],
    [3, 2, false],
    [9, 1, true],
    [9, 2, false]
  ])('of %d of whom %d are away: complete is %s', async (count, away, isComplete) => {
    const members = upTo(count).map((at) => member([1], at < away ? 0 : Infinity))
    const scan = new LocationScan(members, log)

    await pagesOf(scan)

    expect(scan.isComplete).toBe(isComplete)
  })

  test('of nobody is not complete', async () => {
    const scan = new LocationScan([], log)

    expect(await pagesOf(scan)).toEqual([])
    expect(scan.isComplete).toBe(false)
  })

  test('leaves out one whose names do not go on, which would never end', async () => {
    const stuck = {
      id: 'stuck',
      store: { scan: async () => Array.from({ length: 1024 }, () => keyOf(5)) }
    }
    const scan = new LocationScan([stuck, member([7])], log)

    expect(await pagesOf(scan)).toEqual([5, 7])
    expect(scan.missed).toBe(1)
  })

  test('passes over names that nobody of ours gives', async () => {
    const odd = recordKey('location/not a page')
    const scan = new LocationScan([{ id: 'odd', store: { scan: async () => [odd] } }], log)

    expect(await pagesOf(scan)).toEqual([])
  })
})
