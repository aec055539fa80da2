import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ScrubTimer } from '../../src/agent/scrub-timer.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const EVERY_MS = 60_000
const RATE = 1_000_000

let clock: VirtualClock
let store: MemoryStore
let logger: MemoryLogger
let metrics: MemoryMetrics
let files: Map<string, string>
const timers: ScrubTimer[] = []

beforeEach(async () => {
  clock = new VirtualClock()
  store = new MemoryStore()
  logger = new MemoryLogger()
  metrics = new MemoryMetrics()
  files = new Map()
  await store.start()
})
afterEach(async () => {
  await Promise.all(timers.splice(0).map((timer) => timer.stop()))
})

const data = {
  readText: async (name: string) => files.get(name),
  writeText: async (name: string, text: string) => void files.set(name, text)
}

async function started(bytesPerSecond = RATE): Promise<ScrubTimer> {
  const log = logger.forComponent('scrubber')
  const components = { store, data, clock, log, metrics }
  const timer = new ScrubTimer(components, { everyMs: EVERY_MS, bytesPerSecond })
  timers.push(timer)
  await timer.start()
  return timer
}

async function fill(count: number): Promise<void> {
  for (let seed = 0; seed < count; seed++) {
    const { id, bytes } = sampleChunk(seed)
    await store.put(id, bytes)
  }
}

async function spoil(seed: number): Promise<void> {
  const { id } = sampleChunk(seed)
  await store.delete(id)
  await store.put(id, new Uint8Array(10))
}

test('reads everything after every interval, and tells what it has found', async () => {
  await fill(5)
  const timer = await started()
  await clock.advance(EVERY_MS + 1000)
  await spoil(2)

  await clock.advance(EVERY_MS + 1000)

  expect(timer.figures).toMatchObject({
    last: { checked: 5, corrupt: 1, missing: 0, unreadable: 0 }
  })
  expect(metrics.values.get('blobswarm_scrub_checked_chunks_total')).toBe(10)
  expect(metrics.values.get('blobswarm_scrub_damaged_chunks_total{damage=corrupt}')).toBe(1)
  expect(logger.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
})

test('does nothing before the first interval is over', async () => {
  await fill(1)
  const timer = await started()

  await clock.advance(EVERY_MS - 1)

  expect(timer.figures).toEqual({})
})

test('goes on where it was when it is started again', async () => {
  await fill(20)
  const slowly = await started(1000)
  await clock.advance(EVERY_MS + 5000)
  const before = slowly.figures.running?.checked ?? 0
  await slowly.stop()

  const again = await started(1000)
  await clock.advance(30_000)

  expect(before).toBeGreaterThan(0)
  expect(before).toBeLessThan(20)
  expect(again.figures.last).toMatchObject({ checked: 20, corrupt: 0 })
  expect(metrics.values.get('blobswarm_scrub_checked_chunks_total')).toBe(20)
})

test('waits no longer for having been started again', async () => {
  await fill(1)
  const first = await started()
  await clock.advance(EVERY_MS / 2)
  await first.stop()

  const again = await started()
  await clock.advance(EVERY_MS / 2 + 1000)

  expect(again.figures.last).toMatchObject({ checked: 1 })
})

test('begins anew where what was remembered makes no sense', async () => {
  files.set('scrub.json', '{"endedMs":"yesterday"}')

  const timer = await started()

  expect(timer.figures).toEqual({})
  expect(logger.lines.map(({ level }) => level)).toEqual(['info'])
})

test('tries again when the store fails as a whole', async () => {
  await fill(1)
  const check = store.check.bind(store)
  store.check = async () => {
    throw new Error('not running')
  }
  const timer = await started()
  await clock.advance(EVERY_MS + 1000)
  store.check = check

  await clock.advance(600_000)

  expect(timer.figures.last).toMatchObject({ checked: 1 })
})
