import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { ChunkTable } from '../../../src/peer/swarm/chunk-table.ts'
import { imageOf } from '../../support/simulated-agent.ts'

const tableOf = async (pattern: string): Promise<ChunkTable> =>
  ChunkTable.build(imageOf(pattern, 64).manifest)

test('fetches equal chunks once, under the first index, and zeros never', async () => {
  const table = await tableOf('ab.a.b')

  expect(Array.from(table.distinct())).toEqual([0, 1])
  expect(Array.from({ length: 6 }, (_, index) => table.firstOf(index))).toEqual([
    0,
    1,
    undefined,
    0,
    undefined,
    1
  ])
  expect(table).toMatchObject({ distinctCount: 2, zeroCount: 2, zeroBytes: 128 })
  expect([table.occurrences(0), table.occurrences(1), table.occurrences(3)]).toEqual([2, 2, 0])
})

test('counts the bytes of a short last chunk of zeros', async () => {
  const table = await ChunkTable.build(imageOf('a.', 64, 10).manifest)

  expect(table.zeroBytes).toBe(10)
})

test('has nothing to fetch in an empty image', async () => {
  const table = await tableOf('')

  expect(table.distinctCount).toBe(0)
  expect(Array.from(table.distinct())).toEqual([])
})

test('agrees with a plain search for every image', async () => {
  const letters = fc.string({ unit: fc.constantFrom('.', 'a', 'b', 'c', 'd'), maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(letters, async (pattern) => {
      const table = await tableOf(pattern)

      for (const [index, letter] of Array.from(pattern).entries()) {
        expect(table.firstOf(index)).toBe(letter === '.' ? undefined : pattern.indexOf(letter))
      }
    }),
    { numRuns: 50 }
  )
})
