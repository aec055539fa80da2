import { expect, test } from '@jest/globals'
import { LoginThrottle, type LoginThrottleOptions } from '../../src/gridftp/login-throttle.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** A throttle on a clock that stands still, and attempts whose ends are written down. */
class Guesses {
  readonly clock = new ManualClock()
  readonly throttle: LoginThrottle
  /** Names in the order in which their passwords were checked. */
  readonly checked: string[] = []
  readonly answered: string[] = []

  constructor(options: LoginThrottleOptions = {}) {
    this.throttle = new LoginThrottle(this.clock, { baseDelayMs: 100, maxDelayMs: 500, ...options })
  }

  /** Begins an attempt; a name in capitals has the right password. */
  begin(name: string, address = 'a', signal = new AbortController().signal): Promise<void> {
    return (async () => {
      const check = async (): Promise<string | undefined> => {
        this.checked.push(name)
        return name === name.toUpperCase() ? name : undefined
      }
      await this.throttle.attempt({ address, name }, check, signal)
      this.answered.push(name)
    })()
  }

  /** Lets time pass for those who wait, and what follows happen. */
  async pass(ms: number): Promise<void> {
    await new Promise(setImmediate)
    this.clock.advance(ms)
    await new Promise(setImmediate)
  }
}

test('a failure is answered late, the later the more there were, up to a bound', async () => {
  const guesses = new Guesses()
  const delays: number[] = []

  for (const name of ['1st', '2nd', '3rd', '4th', '5th']) {
    const startMs = guesses.clock.monotonic()
    void guesses.begin(name)
    while (!guesses.answered.includes(name)) await guesses.pass(50)
    delays.push(guesses.clock.monotonic() - startMs)
  }

  expect(delays).toEqual([100, 200, 400, 500, 500])
})

test('to hang up and come back saves no time, and many sessions are no faster than one', async () => {
  const guesses = new Guesses()
  const hungUp = new AbortController()
  const first = guesses.begin('first', 'a', hungUp.signal)
  await guesses.pass(0)

  hungUp.abort(new Error('gone'))
  await expect(first).rejects.toThrow('gone')
  for (const name of ['x', 'y', 'z']) void guesses.begin(name)
  await guesses.pass(99)
  const early = guesses.checked.length
  await guesses.pass(1)
  const second = guesses.checked.length
  await guesses.pass(200)

  expect([early, second]).toEqual([1, 2])
  expect(guesses.checked).toEqual(['first', 'x', 'y'])
})

test('another address does not wait, another one of the same /64 does', async () => {
  const guesses = new Guesses()
  void guesses.begin('guess', '2001:db8::1')
  await guesses.pass(0)

  void guesses.begin('near', '2001:db8::ffff:2')
  void guesses.begin('far', '2001:db8:0:1::1')
  await guesses.pass(0)

  expect(guesses.checked).toEqual(['guess', 'far'])
})

test('who has logged in from there before does not wait for the failures of others', async () => {
  const guesses = new Guesses()
  await guesses.begin('ADA')
  void guesses.begin('guess')
  await guesses.pass(0)

  await guesses.begin('ADA')
  void guesses.begin('BOB')
  await guesses.pass(0)

  expect(guesses.answered).toEqual(['ADA', 'ADA'])
})

test('failures are forgotten after a while', async () => {
  const guesses = new Guesses({ forgetAfterMs: 1000 })
  void guesses.begin('one')
  await guesses.pass(100)
  void guesses.begin('two')
  await guesses.pass(200)
  await guesses.pass(1001)

  void guesses.begin('three')
  await guesses.pass(100)

  expect(guesses.answered).toEqual(['one', 'two', 'three'])
})

test('few are checked at once, few may wait, and the rest is refused', async () => {
  const { throttle } = new Guesses({ maxAtOnce: 2, maxWaiting: 1 })
  const gate = Promise.withResolvers<string>()
  const { signal } = new AbortController()
  let running = 0
  const attempt = async (): Promise<string | undefined> =>
    throttle.attempt(
      { address: 'a', name: 'ada' },
      async () => {
        running += 1
        return gate.promise
      },
      signal
    )

  const taken = [attempt(), attempt(), attempt()]
  await expect(attempt()).rejects.toMatchObject({ replyCode: 421 })
  const atOnce = running
  gate.resolve('ada')

  expect(await Promise.all(taken)).toEqual(['ada', 'ada', 'ada'])
  expect([atOnce, running, throttle.laneCount]).toEqual([2, 3, 0])
})

test('who gives up while waiting is not waited for', async () => {
  const guesses = new Guesses()
  const givesUp = new AbortController()
  void guesses.begin('first')
  await guesses.pass(0)
  const second = guesses.begin('second', 'a', givesUp.signal)
  void guesses.begin('third')

  givesUp.abort(new Error('gone'))
  await expect(second).rejects.toThrow('gone')
  await guesses.pass(100)

  expect(guesses.checked).toEqual(['first', 'third'])
})

test('a bounded number of addresses is remembered, those that failed last', async () => {
  const guesses = new Guesses({ maxRemembered: 2 })
  for (const address of ['a', 'b', 'c']) void guesses.begin('guess', address)
  await guesses.pass(100)

  for (const address of ['a', 'c']) void guesses.begin('again', address)
  await guesses.pass(100)

  expect(guesses.throttle.laneCount).toBe(2)
  expect(guesses.answered).toEqual(['guess', 'guess', 'guess', 'again'])
})
