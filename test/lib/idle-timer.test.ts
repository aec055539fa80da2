import { expect, test } from '@jest/globals'
import { IdleTimer } from '../../src/lib/idle-timer.ts'
import { ManualClock } from '../support/manual-clock.ts'

test('calls once when nothing was touched for long enough', () => {
  const clock = new ManualClock()
  const calledAt: number[] = []
  const timer = new IdleTimer(clock, 100, () => calledAt.push(clock.now()))

  clock.advance(70)
  timer.touch()
  clock.advance(60)
  timer.touch()
  clock.advance(1000)

  expect(calledAt).toEqual([230])
})

test('calls no more once stopped, also after a wait that was prolonged', () => {
  const clock = new ManualClock()
  let calls = 0
  const timer = new IdleTimer(clock, 100, () => {
    calls += 1
  })

  clock.advance(50)
  timer.touch()
  clock.advance(60)
  timer.stop()
  clock.advance(1000)

  expect(calls).toBe(0)
})

test('refuses a time that is not above 0', () => {
  expect(() => new IdleTimer(new ManualClock(), 0, () => undefined)).toThrow(RangeError)
})
