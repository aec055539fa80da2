import { expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { LeaseKeeper } from '../../src/metadata/lease-keeper.ts'
import type { Ticket } from '../../src/metadata/ticket-types.ts'
import { ManualClock } from '../support/manual-clock.ts'

const ticket: Ticket = {
  blob: 'ab'.repeat(32),
  version: 3,
  ranges: [],
  bytes: 0,
  span: 1,
  previousSpan: 0,
  truncates: false,
  chunkBytes: 65_536,
  writer: 'writer',
  leafList: ZERO_CHUNK_ID,
  inFlight: [],
  base: undefined,
  leaseUntilMs: 10_000
}

function keep(renew: () => Promise<number>) {
  const clock = new ManualClock()
  const logger = new MemoryLogger()
  const versions = { renew }
  const keeper = new LeaseKeeper({ versions, clock, logger: logger.forComponent('test') }, ticket)
  return { clock, keeper, lines: logger.lines }
}

test('renews each time half of the lease is over', async () => {
  const renewedAt: number[] = []
  const { clock, keeper } = keep(async () => {
    renewedAt.push(clock.now())
    return clock.now() + 10_000
  })
  keeper.start()

  for (let turn = 0; turn < 3; turn++) {
    clock.advance(5000)
    await nextTurn()
  }
  await keeper.stop()

  expect(renewedAt).toEqual([5000, 10_000, 15_000])
})

test('does not renew after it was stopped', async () => {
  let renewals = 0
  const { clock, keeper } = keep(async () => ++renewals)
  keeper.start()

  await keeper.stop()
  clock.advance(60_000)

  expect(renewals).toBe(0)
})

test('takes a refused renewal for no more than a note', async () => {
  const { clock, keeper, lines } = keep(async () => {
    throw new Error('fenced already')
  })
  keeper.start()

  clock.advance(60_000)
  await nextTurn()
  await keeper.stop()

  expect(lines.map(({ level }) => level)).toEqual(['info'])
})

test('renews in time though the clock of the version manager is days ahead', async () => {
  let renewals = 0
  const { clock, keeper } = keep(async () => {
    renewals++
    return clock.now() + 3 * 86_400_000
  })
  keeper.start()

  for (let turn = 0; turn < 5; turn++) {
    clock.advance(10_000)
    await nextTurn()
  }
  await keeper.stop()

  expect(renewals).toBe(5)
})
