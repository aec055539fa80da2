import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { CollectionEndedError } from '../../src/chunks/errors.ts'
import { LeaseTable } from '../../src/chunks/lease-table.ts'
import { ManualClock } from '../support/manual-clock.ts'

const LEASE_MS = 100

const key = (seed: number): Uint8Array => chunkId(Uint8Array.of(seed))

const tableWithClock = (): { table: LeaseTable; clock: ManualClock } => {
  const clock = new ManualClock()
  return { clock, table: new LeaseTable({ clock }, { leaseMs: LEASE_MS, collectionMs: 1000 }) }
}

test('lets go of what was granted a lease time ago', () => {
  const { table, clock } = tableWithClock()
  clock.advance(LEASE_MS)
  table.grant(key(1))

  clock.advance(LEASE_MS - 1)
  const early = table.begin()
  const isEarlyLeased = table.isLeased(early, key(1))
  clock.advance(1)
  const late = table.begin()

  expect(isEarlyLeased).toBe(true)
  expect(table.isLeased(late, key(1))).toBe(false)
  expect(table.size).toBe(0)
})

test('keeps every lease while a collection is open', () => {
  const { table, clock } = tableWithClock()
  clock.advance(LEASE_MS)
  table.grant(key(1))
  const collection = table.begin()

  for (let turn = 0; turn < 9; turn++) {
    clock.advance(LEASE_MS)
    table.grant(key(10 + turn))
  }

  expect(table.isLeased(collection, key(1))).toBe(true)
  expect(table.isLeased(collection, key(10))).toBe(true)
  expect(table.isLeased(collection, key(2))).toBe(false)
})

test('holds everything to be leased for one lease time after the start', () => {
  const { table, clock } = tableWithClock()
  clock.advance(LEASE_MS - 1)
  const early = table.begin()
  clock.advance(LEASE_MS)
  const isLeasedToEarly = table.isLeased(early, key(1))

  const late = table.begin()

  expect(isLeasedToEarly).toBe(true)
  expect(table.isLeased(late, key(1))).toBe(false)
})

test('knows only the collection that was begun last', () => {
  const { table } = tableWithClock()
  const first = table.begin()
  const second = table.begin()

  expect(() => table.isLeased(first, key(1))).toThrow(CollectionEndedError)
  expect(() => table.isLeased('', key(1))).toThrow(CollectionEndedError)
  expect(table.isLeased(second, key(1))).toBe(true)
})

test('ends a collection after its time', () => {
  const { table, clock } = tableWithClock()
  const collection = table.begin()

  clock.advance(1000)

  expect(() => table.isLeased(collection, key(1))).toThrow(CollectionEndedError)
})

test('ends a collection that is not used any more, but not one that was not used yet', () => {
  const clock = new ManualClock()
  const table = new LeaseTable({ clock }, { leaseMs: LEASE_MS, collectionMs: 1000, idleMs: 200 })
  const collection = table.begin()

  clock.advance(900)
  table.checkOpen(collection)
  const next = table.begin()
  clock.advance(199)
  table.checkOpen(next)
  clock.advance(200)

  expect(() => table.checkOpen(next)).toThrow(CollectionEndedError)
})

test('never gives two collections one name', () => {
  const names = Array.from({ length: 100 }, () => tableWithClock().table.begin())

  expect(new Set(names).size).toBe(100)
})

test('refuses lease times that cannot be', () => {
  const clock = new ManualClock()

  expect(() => new LeaseTable({ clock }, { leaseMs: 0 })).toThrow(RangeError)
  expect(() => new LeaseTable({ clock }, { collectionMs: Number.NaN })).toThrow(RangeError)
})

test('a lease lasts its time and until the end of the collection, and nothing lasts for ever', () => {
  const step = fc.oneof(
    fc.record({ grant: fc.nat(5) }),
    fc.record({ advanceMs: fc.nat(150) }),
    fc.record({ begin: fc.constant(true) })
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { table, clock } = tableWithClock()
      const grantedMs = new Map<number, number>()
      let lastGrantMs = Number.NEGATIVE_INFINITY
      clock.advance(LEASE_MS)
      let beganMs = clock.monotonic()
      let collection = table.begin()
      for (const each of steps) {
        const nowMs = clock.monotonic()
        if ('advanceMs' in each) clock.advance(Math.min(each.advanceMs, 999 + beganMs - nowMs))
        else if ('grant' in each) {
          table.grant(key(each.grant))
          grantedMs.set(each.grant, nowMs)
          lastGrantMs = nowMs
        } else {
          beganMs = nowMs
          collection = table.begin()
          const isQuiet = nowMs - lastGrantMs >= LEASE_MS
          for (let seed = 0; seed <= 5; seed++) {
            if (isQuiet) expect(table.isLeased(collection, key(seed))).toBe(false)
          }
        }
        for (const [seed, atMs] of grantedMs) {
          if (atMs > beganMs - LEASE_MS) expect(table.isLeased(collection, key(seed))).toBe(true)
        }
        expect(table.isLeased(collection, key(9))).toBe(false)
      }
    })
  )
})

test('lets go of one chunk while others are renewed all the time', () => {
  const { table, clock } = tableWithClock()
  clock.advance(LEASE_MS)
  table.grant(key(1))

  for (let turn = 0; turn < 25; turn++) {
    clock.advance(LEASE_MS / 10)
    table.grant(key(2))
  }

  const collection = table.begin()
  expect(table.isLeased(collection, key(1))).toBe(false)
  expect(table.isLeased(collection, key(2))).toBe(true)
})

test('tells without a collection what has a lease now', () => {
  const { table, clock } = tableWithClock()
  const atStart = table.hasLease(key(1))
  clock.advance(LEASE_MS)
  const afterStart = table.hasLease(key(1))
  table.grant(key(1))

  clock.advance(LEASE_MS - 1)
  const isEarlyLeased = table.hasLease(key(1))
  clock.advance(1)

  expect([atStart, afterStart, isEarlyLeased]).toEqual([true, false, true])
  expect(table.hasLease(key(1))).toBe(false)
})

test('does not end a lease for those without a collection while one is open', () => {
  const { table, clock } = tableWithClock()
  clock.advance(LEASE_MS)
  table.grant(key(1))
  table.begin()
  clock.advance(5 * LEASE_MS)
  const during = [table.hasLease(key(1)), table.hasLease(key(2))]

  clock.advance(1000)

  expect(during).toEqual([true, false])
  expect(table.hasLease(key(1))).toBe(false)
})

test('holds everything to be leased while a collection is open that began at the start', () => {
  const { table, clock } = tableWithClock()
  table.begin()
  clock.advance(2 * LEASE_MS)

  expect(table.hasLease(key(1))).toBe(true)
})
