import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { EventQueue, type EventTarget } from '../../experiments/swarm-simulation/event-queue.ts'

/** Notes when what happens. */
class Recorder implements EventTarget {
  readonly events = new EventQueue()
  readonly fired: { readonly timeMs: number; readonly kind: number }[] = []
  #kind = 0

  at(timeMs: number): void {
    this.events.at(timeMs, this, this.#kind++)
  }

  fire(kind: number): void {
    this.fired.push({ timeMs: this.events.nowMs, kind })
  }
}

test('events happen in order of time, near ones and far ones, also those scheduled meanwhile', () => {
  const delay = fc.oneof(
    fc.constantFrom(0, 1, 1),
    fc.double({ min: 0, max: 3, noNaN: true }),
    fc.double({ min: 0, max: 1500, noNaN: true })
  )
  const batches = fc.array(fc.array(delay, { maxLength: 60 }), { maxLength: 3 })
  fc.assert(
    fc.property(batches, (all) => {
      const recorder = new Recorder()
      const expected: number[] = []
      for (const batch of all) {
        for (const delayMs of batch) {
          expected.push(recorder.events.nowMs + delayMs)
          recorder.at(recorder.events.nowMs + delayMs)
        }
        for (let n = 0; n < batch.length / 2; n++) recorder.events.step(Infinity)
      }
      while (recorder.events.step(Infinity)) {}

      const times = recorder.fired.map(({ timeMs }) => timeMs)
      expect(times).toEqual(expected.toSorted((a, b) => a - b))
    }),
    { numRuns: 20 }
  )
})

test('among equals the one scheduled first happens first, few or many', () => {
  const recorder = new Recorder()
  for (let n = 0; n < 200; n++) recorder.at(7)
  for (let n = 0; n < 20; n++) recorder.at(3)

  while (recorder.events.step(Infinity)) {}

  const kinds = recorder.fired.map(({ kind }) => kind)
  const inOrder = Array.from({ length: 200 }, (_, n) => n)
  expect(kinds).toEqual([...Array.from({ length: 20 }, (_, n) => 200 + n), ...inOrder])
})

test('nothing happens after the time that it may last until', () => {
  const recorder = new Recorder()
  recorder.at(10)

  expect(recorder.events.step(9.999)).toBe(false)
  recorder.at(5)
  expect(recorder.events.step(10)).toBe(true)
  expect(recorder.events.nowMs).toBe(5)
  expect(recorder.events.step(10)).toBe(true)
  expect(recorder.events.step(10)).toBe(false)
})
