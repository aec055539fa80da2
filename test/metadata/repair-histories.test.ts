import { afterEach, expect, test } from '@jest/globals'
import { DEEDS, RepairHistory } from '../support/repair/repair-history.ts'

const HISTORIES = 8
const STEPS = 40

/** One history alone, to look at what went wrong. */
const only = Number(process.env['REPAIR_SEED'] ?? 0)

const counts = new Map<string, number>()
let history: RepairHistory | undefined
afterEach(async () => history?.stop())

const first = Number(process.env['REPAIR_FIRST'] ?? 1)
const many = Number(process.env['REPAIR_HISTORIES'] ?? HISTORIES)
const seeds = only > 0 ? [only] : Array.from({ length: many }, (_, at) => first + at)

test.each(seeds)(
  'whatever fails, nothing published is lost, and in the end all is whole (REPAIR_SEED=%d)',
  async (seed) => {
    history = await RepairHistory.start(seed, counts)

    await history.run(STEPS) // throws at the first thing that is wrong
  }
)

test('every deed was done', () => {
  const never = only > 0 ? [] : DEEDS.filter((deed) => !counts.has(deed))

  expect(never).toEqual([])
})
