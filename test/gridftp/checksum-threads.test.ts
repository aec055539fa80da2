import { createHash } from 'node:crypto'
import { afterAll, afterEach, expect, test } from '@jest/globals'
import { CHECKSUM_ALGORITHMS, createDigest } from '../../src/gridftp/checksum.ts'
import { ChecksumThreads } from '../../src/gridftp/checksum-threads.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

let threads = new ChecksumThreads({ clock: systemClock })
afterEach(async () => await threads.stop())
const shared = new ChecksumThreads({ clock: systemClock })
afterAll(async () => await shared.stop())

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

test('adds up in a thread, several sums at the same time', async () => {
  threads = new ChecksumThreads({ clock: systemClock }, { maxThreads: 1 })
  const [left, right] = [sampleBytes(3_000_000, 1), sampleBytes(1_500_000, 2)]
  const sums = await Promise.all([threads.begin('SHA1'), threads.begin('SHA1')])
  const expected = [sha1(left), sha1(right)]

  for (let at = 0; at < left.byteLength; at += 500_000) {
    await sums[0].update(left.subarray(at, at + 500_000))
    await sums[1].update(right.subarray(at / 2, at / 2 + 250_000))
  }

  expect(await Promise.all(sums.map(async (sum) => await sum.end()))).toEqual(expected)
  expect(threads.threadCount).toBe(1)
})

test.each(CHECKSUM_ALGORITHMS)('%s is the same in a thread', async (algorithm) => {
  const bytes = sampleBytes(700_000, 1)
  const here = await createDigest(algorithm)
  here.update(bytes)
  const sum = await shared.begin(algorithm)

  await sum.update(bytes)

  expect(await sum.end()).toBe(here.hex())
})

test('uses no thread for what is small', async () => {
  threads = new ChecksumThreads({ clock: systemClock })
  const sum = await threads.begin('SHA1', 1000)

  await sum.update(Buffer.from('abc'))

  expect(await sum.end()).toBe(sha1(Buffer.from('abc')))
  expect(threads.threadCount).toBe(0)
})

test('a thread that has nothing to do ends after a while', async () => {
  const clock = new ManualClock()
  threads = new ChecksumThreads({ clock }, { idleMs: 1000 })
  const [ended, dropped] = [await threads.begin('MD5'), await threads.begin('MD5')]
  await ended.end()
  clock.advance(1000)
  const whileInUse = threads.threadCount

  dropped.drop()
  dropped.drop()
  clock.advance(999)
  const before = threads.threadCount
  clock.advance(1)

  expect([whileInUse, before, threads.threadCount]).toEqual([1, 1, 0])
})

test('a sum fails when the threads are stopped, and none can be begun', async () => {
  threads = new ChecksumThreads({ clock: systemClock })
  const sum = await threads.begin('MD5')

  await threads.stop()

  await expect(sum.end()).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
  await expect(threads.begin('MD5')).rejects.toMatchObject({ code: 'ERR_NOT_RUNNING' })
})

test('refuses no threads at all', () => {
  expect(() => new ChecksumThreads({ clock: systemClock }, { maxThreads: 0 })).toThrow(RangeError)
})
