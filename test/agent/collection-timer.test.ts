import { afterEach, expect, test } from '@jest/globals'
import { CollectionTimer } from '../../src/agent/collection-timer.ts'
import type { CollectionReport } from '../../src/metadata/collection-types.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const EVERY_MS = 60_000
const REPORT = {} as CollectionReport

const clock = new VirtualClock()
const timers: CollectionTimer[] = []
afterEach(async () => {
  await Promise.all(timers.splice(0).map((timer) => timer.stop()))
})

async function started(
  collect: (options: { readonly signal?: AbortSignal | undefined }) => Promise<CollectionReport>
): Promise<CollectionTimer> {
  const collector = { collect: async (_request: object, options = {}) => await collect(options) }
  const timer = new CollectionTimer({ collector, clock }, EVERY_MS)
  timers.push(timer)
  await timer.start()
  return timer
}

test('collects after every interval, not at the start', async () => {
  let collections = 0
  await started(async () => {
    collections++
    return REPORT
  })

  await clock.advance(EVERY_MS - 1)
  const early = collections
  await clock.advance(EVERY_MS * 3)

  expect(early).toBe(0)
  expect(collections).toBe(3)
})

test('goes on after a collection that failed', async () => {
  let collections = 0
  await started(async () => {
    collections++
    throw new Error('metadata provider down')
  })

  await clock.advance(EVERY_MS * 2 + 1)

  expect(collections).toBe(2)
})

test('stopping ends a collection that is under way', async () => {
  let reason: unknown
  const timer = await started(async ({ signal }) => {
    const aborted = Promise.withResolvers<never>()
    signal?.addEventListener('abort', () => aborted.reject(signal.reason))
    return await aborted.promise.catch((error: unknown) => {
      reason = error
      throw error
    })
  })
  await clock.advance(EVERY_MS)

  await timer.stop()

  expect(reason).toMatchObject({ message: 'collection stopped' })
})
