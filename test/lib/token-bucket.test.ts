import { expect, test } from '@jest/globals'
import { TokenBucket } from '../../src/lib/token-bucket.ts'
import { ManualClock } from '../support/manual-clock.ts'

/** Takes one after the other and notes when each was granted. */
async function grants(
  bucket: TokenBucket,
  clock: ManualClock,
  takes: readonly { amount: number; priority?: number }[]
): Promise<number[]> {
  const grantedMs = Array.from(takes, () => -1)
  for (const [index, { amount, priority }] of takes.entries()) {
    const options = priority === undefined ? {} : { priority }
    const take = async (): Promise<void> => {
      await bucket.take(amount, options)
      grantedMs[index] = clock.monotonic()
    }
    void take()
  }
  for (let step = 0; step < 100; step++) {
    await Promise.resolve()
    await Promise.resolve()
    clock.advance(100)
  }
  return grantedMs
}

test('gives as much a second as its rate', async () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, { perSecond: 100, burstMs: 100 })

  const grantedMs = await grants(bucket, clock, [{ amount: 10 }, { amount: 10 }, { amount: 20 }])

  expect(grantedMs[0]).toBe(0)
  expect(grantedMs[1]).toBeGreaterThanOrEqual(100)
  expect(grantedMs[2]).toBeGreaterThanOrEqual(200)
  expect(grantedMs[2]).toBeLessThanOrEqual(500)
})

test('grants more than a burst when it is full, and lets the others wait for the debt', () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, { perSecond: 100, burstMs: 100 })

  expect(bucket.tryTake(50)).toBe(true)
  expect(bucket.tryTake(1)).toBe(false)
  expect(bucket.delayMs(10)).toBe(500)
  clock.advance(500)
  expect(bucket.tryTake(10)).toBe(true)
})

test('lets the more urgent pass', async () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, { perSecond: 100, burstMs: 100 })
  bucket.tryTake(10)

  const [later, urgent] = await grants(bucket, clock, [
    { amount: 10, priority: 3 },
    { amount: 10, priority: 0 }
  ])

  expect(urgent).toBeLessThan(later ?? 0)
})

test('a new rate holds for those who wait', async () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, { perSecond: 1 })
  bucket.tryTake(1)
  const waiting = bucket.take(1000)

  bucket.setRate(undefined)

  await waiting
  expect(bucket.tryTake(1e9)).toBe(true)
})

test('an aborted taker takes nothing', async () => {
  const clock = new ManualClock()
  const bucket = new TokenBucket(clock, { perSecond: 10, burstMs: 1000 })
  bucket.tryTake(10)
  const abort = new AbortController()
  const waiting = bucket.take(10, { signal: abort.signal })

  abort.abort(new Error('gone'))

  await expect(waiting).rejects.toThrow('gone')
  clock.advance(1000)
  expect(bucket.tryTake(10)).toBe(true)
})

test('refuses a rate that is not above 0', () => {
  expect(() => new TokenBucket(new ManualClock(), { perSecond: 0 })).toThrow(RangeError)
})
