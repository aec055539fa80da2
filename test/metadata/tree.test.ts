import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { WorkerCaller } from '../../src/lib/worker-call.ts'
import { noCounts } from '../support/history/counts.ts'
import { TreeHistory } from '../support/history/history.ts'
import { startHistoryPlayer } from '../support/history/play.ts'
import type { HistoryPlayer } from '../support/history/play-worker.ts'

const ONLY_SEED = process.env['TREE_SEED']
const BATCH = ONLY_SEED === undefined ? 250 : 1
const BATCHES = ONLY_SEED === undefined ? 8 : 1
const FIRST_SEEDS = Array.from({ length: BATCHES }, (_, at) => Number(ONLY_SEED ?? 1) + at * BATCH)

let player: WorkerCaller<HistoryPlayer>
beforeAll(() => {
  player = startHistoryPlayer()
})
afterAll(async () => player.stop())

describe('tree, manifest and an array of bytes a version read the same', () => {
  test.each(FIRST_SEEDS)(
    `whatever writers, repairers and sealers do, in ${BATCH} histories from seed %i on`,
    async (first) => {
      const { counts, failures } = await player.call('play', { seed: first, count: BATCH })

      expect(failures).toEqual([]) // TREE_SEED=seed plays one of them alone
      const { histories, writes, clones, largeVersions, ...others } = counts
      expect(histories).toBe(BATCH)
      expect(writes + clones).toBeGreaterThanOrEqual(20 * BATCH)
      if (BATCH > 1) expect(Math.min(largeVersions, ...Object.values(others))).toBeGreaterThan(0)
    },
    600_000
  )

  test('and a seed plays the same history again', async () => {
    const [first, second] = [noCounts(), noCounts()]

    await new TreeHistory(4, first).run()
    await new TreeHistory(4, second).run()

    expect(second).toEqual(first)
  })
})
