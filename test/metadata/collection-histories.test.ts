import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { CollectionHistory, PHASES } from '../support/collection/collection-history.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'

const LEASE_MS = 1000
const HISTORIES = 24
const STEPS = 300
const DEEDS = ['chunk', 'ticket', 'nodes', 'commit', 'seal', 'retire', 'remove', 'clone', 'hold']

/** One history alone, to look at what went wrong. */
const only = Number(process.env['COLLECTION_SEED'] ?? 0)

const counts = new Map<string, number>()
let bench: TestRepository
let leaseClock: ManualClock
beforeEach(async () => {
  leaseClock = new ManualClock()
})
afterEach(async () => bench.stop())

const seeds = only > 0 ? [only] : Array.from({ length: HISTORIES }, (_, at) => at + 1)

test.each(seeds)(
  'whatever is collected in between, what can be read is right and the rest goes (COLLECTION_SEED=%d)',
  async (seed) => {
    const clock = new ManualClock() // stands still: nothing is sealed or rolled forward unasked
    const replicas = 1 + (seed % 2)
    const copies = { providerCount: replicas, replicas }
    bench = await startTestRepository({ ...copies, clock, leaseClock, leaseMs: LEASE_MS })
    const on = { bench, leaseClock, leaseMs: LEASE_MS, counts, isEven: true }
    const history = new CollectionHistory(seed, on)

    await history.run(STEPS) // throws at the first thing that is wrong
  }
)

test('every deed was done in every part of a collection', () => {
  const phases = only > 0 ? [] : PHASES
  const never = phases.flatMap((phase) =>
    DEEDS.map((deed) => `${deed} in ${phase}`).filter((name) => !counts.has(name))
  )

  expect(never).toEqual([])
})
