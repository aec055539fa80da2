import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { KIB } from '../../../src/lib/bytes.ts'
import { MemoryEventLog } from '../../../src/lib/events.ts'
import type { DownloadStalledError, WaitReason } from '../../../src/peer/swarm/errors.ts'
import type { SwarmEvent } from '../../../src/peer/swarm/events.ts'
import { Watchdog } from '../../../src/peer/swarm/watchdog.ts'

const TICK_MS = 100

/** A watchdog that is stuck after 10 s and gives up after 60, and what it did. */
function bench() {
  const events = new MemoryEventLog<SwarmEvent>()
  const state = { reason: 'answers' as WaitReason, nowMs: 0, stuck: 0, error: undefined as unknown }
  const watchdog = new Watchdog(
    {
      image: 'aa',
      events,
      cause: () => ({ reason: state.reason, peers: ['p'] }),
      onStuck: () => void state.stuck++,
      onGiveUp: (error) => void (state.error = error)
    },
    { stuckMs: 10_000, stallMs: 60_000 }
  )
  watchdog.begin(0)
  const pass = (ms: number): void => {
    const untilMs = state.nowMs + ms
    while (state.nowMs < untilMs && state.error === undefined) {
      state.nowMs += TICK_MS
      watchdog.tick(state.nowMs)
    }
  }
  const names = (): string[] => events.events.map(({ event }) => event)
  return { events, names, pass, state, watchdog }
}

test('a second without progress is a wait, and whatever comes ends it', () => {
  const { events, pass, state, watchdog } = bench()
  pass(900)
  expect(watchdog.wait(state.nowMs)).toBeUndefined()
  pass(600)
  expect(watchdog.wait(state.nowMs)).toEqual({
    reason: 'answers',
    waitedMs: 1500,
    nextInMs: 8500,
    giveUpInMs: 58_500,
    peers: ['p']
  })

  watchdog.stored(state.nowMs)

  expect(watchdog.wait(state.nowMs)).toBeUndefined()
  expect(events.events).toEqual([
    { event: 'download-waiting', image: 'aa', reason: 'answers', peers: ['p'] },
    { event: 'download-waited', image: 'aa', reason: 'answers', ms: 1500 }
  ])
})

test('is stuck every 10 s, and gives up after 60', () => {
  const { pass, state, names } = bench()

  pass(59_900)
  expect([state.stuck, state.error]).toEqual([5, undefined])
  pass(100)

  expect(state.error).toMatchObject({ reason: 'answers', waitedMs: 60_000, peers: ['p'] })
  expect(names().filter((name) => name === 'download-stuck')).toHaveLength(5)
})

test('bytes of unfinished chunks are progress from 16 KiB on', () => {
  const { pass, state, watchdog } = bench()
  pass(5000)
  watchdog.received(16 * KIB - 1, state.nowMs)
  expect(watchdog.wait(state.nowMs)?.waitedMs).toBe(5000)
  watchdog.received(1, state.nowMs)
  expect(watchdog.wait(state.nowMs)).toBeUndefined()
})

test('the time of each reason is told apart', () => {
  const { events, pass, state, watchdog } = bench()
  pass(3000)
  state.reason = 'dial'
  pass(2000)
  state.reason = 'chunks'
  pass(1000)
  watchdog.stored(state.nowMs)

  const waited = events.events.filter(({ event }) => event === 'download-waited')
  const sum = waited.reduce((total, event) => total + ('ms' in event ? event.ms : 0), 0)
  expect(waited.map((event) => 'reason' in event && event.reason)).toEqual([
    'answers',
    'dial',
    'chunks'
  ])
  expect(sum).toBe(6000)
})

test('the rate limit is waited for as long as it takes, and that time is not held against others', () => {
  const { pass, state, watchdog } = bench()
  state.reason = 'rate limit'
  pass(300_000)
  expect(watchdog.wait(state.nowMs)).toMatchObject({ waitedMs: 300_000, giveUpInMs: undefined })
  expect([state.stuck, state.error]).toEqual([0, undefined])

  state.reason = 'answers'
  pass(50_000)
  expect(state.error).toBeUndefined()
  pass(15_000)

  expect(state.error).toMatchObject({ reason: 'answers' })
})

test('a slow disk is waited for without troubling others, but not for ever', () => {
  const { pass, state } = bench()
  state.reason = 'disk'
  pass(61_000)

  expect(state.stuck).toBe(0)
  expect(state.error).toMatchObject({ reason: 'disk' })
})

test('whatever happens, a wait has a reason and an end, and waits in events come in pairs', () => {
  const step = fc.oneof(
    fc.record({ pass: fc.integer({ min: 1, max: 200 }).map((ticks) => ticks * TICK_MS) }),
    fc.record({ bytes: fc.integer({ min: 0, max: 32 * KIB }) }),
    fc.constant({ stored: true }),
    fc.record({ reason: fc.constantFrom<WaitReason>('answers', 'dial', 'rate limit', 'disk') })
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { names, pass, state, watchdog } = bench()
      for (const each of steps) {
        if ('pass' in each) pass(each.pass)
        else if ('bytes' in each) watchdog.received(each.bytes, state.nowMs)
        else if ('reason' in each) state.reason = each.reason
        else watchdog.stored(state.nowMs)
        const wait = watchdog.wait(state.nowMs)
        const { nextInMs = 0, giveUpInMs = 0 } = wait ?? {}
        expect(nextInMs >= 0 && nextInMs <= 10_000 && giveUpInMs <= 60_000).toBe(true)
      }
      watchdog.end(state.nowMs)
      const waits = names().filter((name) => name !== 'download-stuck')
      expect(waits.filter((_, at) => at % 2 === 0)).not.toContain('download-waited')
      expect(waits.length % 2).toBe(0)
      const { waitedMs = 60_000 } = (state.error as DownloadStalledError | undefined) ?? {}
      expect(waitedMs).toBeGreaterThanOrEqual(60_000)
    })
  )
})
