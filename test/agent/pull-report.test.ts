import { expect, test } from '@jest/globals'
import type { OperationProgress } from '../../src/agent/operations.ts'
import { type PullEvent, PullReport } from '../../src/agent/pull-report.ts'
import { LimitExceededError } from '../../src/lib/errors.ts'
import { MemoryEventLog } from '../../src/lib/events.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** A pull that has begun, on virtual time. */
function begin() {
  const clock = new VirtualClock()
  const events = new MemoryEventLog<PullEvent>()
  const seen: OperationProgress[] = []
  const onProgress = (progress: OperationProgress): void => void seen.push(progress)
  const report = new PullReport({ clock, events }, { kind: 'pull', ref: '/a' }, onProgress)
  return { clock, events, report, seen }
}

const about = { image: 'ab', bytes: 100, chunks: 2 }

test('tells the milestones of a pull', async () => {
  const { clock, events, report } = begin()
  await clock.advance(20)
  report.enter('manifest pages')
  await clock.advance(30)
  report.opened(about)
  report.enter('transfer')
  await clock.advance(5000)
  report.finished()

  expect(events.events).toEqual([
    { event: 'pull-started', kind: 'pull', ref: '/a' },
    { event: 'manifest-loaded', ref: '/a', ...about, ms: 50 },
    { event: 'pull-finished', kind: 'pull', ref: '/a', image: 'ab', bytes: 100, ms: 5050 }
  ])
  expect(clock.scheduledCount).toBe(0)
})

test('names what takes longer than a second, again every second, until the transfer begins', async () => {
  const { clock, report, seen } = begin()
  await clock.advance(2500)
  report.enter('location records')
  await clock.advance(900)
  expect(seen).toMatchObject([
    { phase: 'opening', waitingFor: 'version record', waitedSeconds: 1 },
    { phase: 'opening', waitingFor: 'version record', waitedSeconds: 2 }
  ])

  await clock.advance(200)
  report.enter('transfer')
  await clock.advance(5000)

  expect(seen.slice(2)).toMatchObject([{ waitingFor: 'location records', waitedSeconds: 1 }])
})

test('a failure says what was being done', async () => {
  const { clock, events, report } = begin()
  report.enter('room in the cache')
  await clock.advance(70)
  report.failed(new LimitExceededError('images', 3))

  expect(events.events.at(-1)).toEqual({
    event: 'pull-failed',
    kind: 'pull',
    ref: '/a',
    code: 'ERR_LIMIT_EXCEEDED',
    ms: 70,
    step: 'room in the cache'
  })
  expect(clock.scheduledCount).toBe(0)
})
