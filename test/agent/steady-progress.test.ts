import { expect, test } from '@jest/globals'
import { SteadyProgress } from '../../src/agent/steady-progress.ts'
import { ManualClock } from '../support/manual-clock.ts'

test('a report is made at once, and again every ten seconds until there is another or the end', () => {
  const clock = new ManualClock()
  const seen: (readonly [seconds: number, phase: string])[] = []
  const progress = new SteadyProgress(clock, ({ phase }) => {
    seen.push([clock.now() / 1000, phase])
  })
  const report = (phase: string): void => progress.report({ phase, doneBytes: 0, totalBytes: 0 })

  report('marking')
  clock.advance(25_000)
  report('sweeping')
  clock.advance(12_000)
  progress.stop()
  clock.advance(60_000)

  expect(seen).toEqual([
    [0, 'marking'],
    [10, 'marking'],
    [20, 'marking'],
    [25, 'sweeping'],
    [35, 'sweeping']
  ])
})

test('nobody has to listen', () => {
  const clock = new ManualClock()
  const progress = new SteadyProgress(clock, undefined)

  progress.report({ phase: 'marking', doneBytes: 0, totalBytes: 0 })
  clock.advance(10_000)

  progress.stop()
})
