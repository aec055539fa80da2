import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { seededRandom } from '../../../src/lib/random.ts'
import { Availability } from '../../../src/peer/swarm/availability.ts'

/** One digit a chunk: how many copies are known. */
function availabilityOf(copies: string, seed = 1): Availability {
  const availability = new Availability(copies.length, seededRandom(seed))
  for (const [chunk, digit] of Array.from(copies).entries()) {
    availability.open(chunk)
    for (let copy = 0; copy < Number(digit); copy++) availability.increment(chunk)
  }
  return availability
}

const any = (): boolean => true

test('finds the rarest chunk', () => {
  expect(availabilityOf('31152').rarest((chunk) => chunk !== 1)).toBe(2)
})

test('chooses differently among equally rare chunks', () => {
  const chosen = new Set(
    Array.from({ length: 50 }, (_, seed) => availabilityOf('11111', seed).rarest(any))
  )

  expect(chosen.size).toBe(5)
})

test('looks only at the levels that it is told to look at', () => {
  const availability = availabilityOf('0213')

  expect(availability.rarest(any, { from: 1 })).toBe(2)
  expect(availability.rarest(any, { to: 0 })).toBe(0)
  expect(availability.rarest(any, { from: 4 })).toBeUndefined()
})

test('does not find closed chunks, and counts copies of them all the same', () => {
  const availability = availabilityOf('12')

  availability.close(0)
  availability.increment(0)
  availability.increment(0)

  expect(availability.rarest(any)).toBe(1)
  expect(availability.level(0)).toBe(3)
  availability.open(0)
  expect(availability.openAt(3)).toBe(1)
})

test('refuses to count below zero', () => {
  expect(() => availabilityOf('0').decrement(0)).toThrow(RangeError)
})

test('agrees with a plain model whatever happens', () => {
  const step = fc.record({
    what: fc.constantFrom('open', 'close', 'increment', 'decrement'),
    chunk: fc.nat(7)
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), fc.nat(), (steps, seed) => {
      const availability = new Availability(8, seededRandom(seed))
      const open = new Set<number>()
      const levels = Array.from({ length: 8 }, () => 0)
      for (const { what, chunk } of steps) {
        const level = levels[chunk] ?? 0
        if (what === 'open') {
          availability.open(chunk)
          open.add(chunk)
        } else if (what === 'close') {
          availability.close(chunk)
          open.delete(chunk)
        } else if (what === 'increment') {
          availability.increment(chunk)
          levels[chunk] = level + 1
        } else if (level > 0) {
          availability.decrement(chunk)
          levels[chunk] = level - 1
        }

        const rarest = availability.rarest((other) => other % 2 === 0)
        const expected = Array.from(open).filter((other) => other % 2 === 0)
        const lowest = Math.min(...expected.map((other) => levels[other] ?? 0))
        expect(availability.openCount).toBe(open.size)
        if (expected.length === 0) expect(rarest).toBeUndefined()
        else expect(levels[rarest ?? -1]).toBe(lowest)
      }
    })
  )
})
