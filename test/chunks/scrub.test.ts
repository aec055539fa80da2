import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { type ScrubProgress, scrub } from '../../src/chunks/scrub.ts'
import { toHex } from '../../src/lib/bytes.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

let directory: string
let store: DiskStore

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-scrub-'))
  store = new DiskStore({ logger: noLogger }, { directory, durability: 'memory' })
  await store.start()
})

afterEach(async () => {
  await store.stop()
  await rm(directory, { recursive: true, force: true })
})

/** A clock whose sleeps end at once, and that adds them up. */
class HastyClock extends ManualClock {
  sleptMs = 0

  override async sleep(delayMs: number): Promise<void> {
    this.sleptMs += delayMs
    this.advance(delayMs)
  }
}

const pathOf = (id: Uint8Array): string =>
  join(directory, 'chunks', toHex(id).slice(0, 2), toHex(id).slice(2))
const fill = async (count: number): Promise<Uint8Array[]> => {
  const chunks = Array.from({ length: count }, (_, seed) => sampleChunk(seed))
  for (const { id, bytes } of chunks) await store.put(id, bytes)
  return chunks.map(({ id }) => id)
}
const run = (clock: Clock = new HastyClock()) => scrub(store, clock)

test('finds nothing wrong in a sound store', async () => {
  await fill(5)

  expect(await run()).toEqual({ checked: 5, corrupt: [], missing: [] })
})

test('finds what went bad after it was verified, and what is gone', async () => {
  const ids = await fill(5)
  const [bad = new Uint8Array(0), lost = bad] = ids
  const bytes = await readFile(pathOf(bad))
  bytes[3] = (bytes[3] ?? 0) ^ 1
  await writeFile(pathOf(bad), bytes)
  await rm(pathOf(lost))

  expect(await run()).toEqual({ checked: 5, corrupt: [bad], missing: [lost] })

  expect([store.has(bad), store.has(lost), store.chunkCount]).toEqual([false, false, 3])
})

test('reads no faster than it may', async () => {
  await fill(10)
  const clock = new HastyClock()

  await scrub(store, clock, { bytesPerSecond: 1000 })

  expect(clock.sleptMs).toBe(9000)
})

test('tells how far it is and can be stopped', async () => {
  await fill(10)
  const abort = new AbortController()
  const seen: ScrubProgress[] = []

  const scrubbing = scrub(store, new HastyClock(), {
    signal: abort.signal,
    onProgress: (progress) => {
      seen.push(progress)
      if (progress.checked === 3) abort.abort(new Error('enough'))
    }
  })

  await expect(scrubbing).rejects.toThrow('enough')
  expect(seen.at(-1)).toEqual({ checked: 3, total: 10 })
})

test('ends although chunks are added and removed meanwhile', async () => {
  const ids = await fill(4)
  let added = 100

  const report = await scrub(store, new HastyClock(), {
    onProgress: ({ checked }) => {
      const { id, bytes } = sampleChunk(added++)
      void store.put(id, bytes)
      if (checked === 1) void store.delete(ids[3] ?? id)
    }
  })

  expect([3, 4]).toContain(report.checked)
  expect([report.corrupt, report.missing]).toEqual([[], []])
})

test('of an empty store reads nothing', async () => {
  expect(await run()).toEqual({ checked: 0, corrupt: [], missing: [] })
})

test('works on a store in memory', async () => {
  const memory = new MemoryStore()
  await memory.start()
  const [good, bad] = [sampleChunk(1), sampleChunk(2)]
  await memory.put(good.id, good.bytes)
  await memory.put(bad.id, good.bytes)

  const report = await scrub(memory, new HastyClock())

  expect(report.corrupt).toEqual([bad.id])
  expect(memory.has(bad.id)).toBe(false)
})

test('refuses a rate of nothing', async () => {
  await expect(scrub(store, new HastyClock(), { bytesPerSecond: 0 })).rejects.toThrow(RangeError)
})
