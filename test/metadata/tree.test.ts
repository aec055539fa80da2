import { expect, test } from '@jest/globals'
import { type HistoryCounts, TreeHistory } from '../support/tree-history.ts'

const FIRST_SEED = Number(process.env['TREE_SEED'] ?? 1)
const HISTORIES = process.env['TREE_SEED'] === undefined ? 300 : 1

test('reads like an array of bytes a version, whatever writers do at the same time', async () => {
  const zero = { writes: 0, truncations: 0, conflicts: 0, repairs: 0, restarts: 0 }
  const counts: HistoryCounts = { ...zero, clones: 0, reads: 0 }

  for (let seed = FIRST_SEED; seed < FIRST_SEED + HISTORIES; seed++) {
    try {
      await new TreeHistory(seed, counts).run()
    } catch (error) {
      throw new Error(`TREE_SEED=${seed} fails`, { cause: error })
    }
  }

  if (HISTORIES > 1) expect(Math.min(...Object.values(counts))).toBeGreaterThan(50)
}, 120_000)
