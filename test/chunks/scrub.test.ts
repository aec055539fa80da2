import { beforeEach, expect, test } from '@jest/globals'
import { StoreFailedError } from '../../src/chunks/errors.ts'
import { MemoryStore } from '../../src/chunks/memory-store.ts'
import { type Damage, scrub } from '../../src/chunks/scrub.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { asBuffer, toHex } from '../../src/lib/bytes.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

let store: MemoryStore
beforeEach(async () => {
  store = new MemoryStore()
  await store.start()
})

/** A clock whose sleeps end at once, and that adds them up. */
class HastyClock extends ManualClock {
  sleptMs = 0

  override async sleep(delayMs: number): Promise<void> {
    this.sleptMs += delayMs
    this.advance(delayMs)
  }
}

/** Stores chunks. @returns their ids in order. */
const fill = async (count: number): Promise<ChunkId[]> => {
  const chunks = Array.from({ length: count }, (_, seed) => sampleChunk(seed))
  for (const { id, bytes } of chunks) await store.put(id, bytes)
  return chunks.map(({ id }) => id).toSorted((left, right) => asBuffer(left).compare(right))
}
const spoil = async (id: ChunkId): Promise<void> => {
  await store.delete(id)
  await store.put(id, new Uint8Array(100))
}
const run = (clock: Clock = new HastyClock()) => scrub(store, clock)

const CLEAN = { corrupt: 0, missing: 0, unreadable: 0 }

test('finds nothing wrong in a sound store', async () => {
  await fill(5)

  expect(await run()).toEqual({ checked: 5, ...CLEAN })
})

test('finds what is not what it should be, and the store holds it no longer', async () => {
  const [bad = new Uint8Array()] = await fill(5)
  await spoil(bad)

  expect(await run()).toEqual({ checked: 5, ...CLEAN, corrupt: 1 })

  expect([store.has(bad), store.chunkCount]).toEqual([false, 4])
})

test('finds what is gone', async () => {
  const [, lost = new Uint8Array()] = await fill(3)
  const check = store.check.bind(store)
  const seen: string[] = []
  const onChecked = (id: ChunkId, damage: Damage | undefined): void => {
    if (damage !== undefined) seen.push(`${toHex(id)} ${damage}`)
  }
  store.check = async (id) => (toHex(id) === toHex(lost) ? 'missing' : await check(id))
  const report = await scrub(store, new HastyClock(), { onChecked })

  expect(report).toEqual({ checked: 3, ...CLEAN, missing: 1 })
  expect(seen).toEqual([`${toHex(lost)} missing`])
})

test('passes over what the disk cannot read', async () => {
  const [first = new Uint8Array()] = await fill(3)
  const check = store.check.bind(store)
  store.check = async (id) => {
    if (toHex(id) === toHex(first)) throw new StoreFailedError('read', { cause: new Error('EIO') })
    return await check(id)
  }

  expect(await run()).toEqual({ checked: 3, ...CLEAN, unreadable: 1 })
})

test('reads no faster than it may', async () => {
  await fill(10)
  const clock = new HastyClock()

  await scrub(store, clock, { bytesPerSecond: 1000 })

  expect(clock.sleptMs).toBeGreaterThanOrEqual(8000)
  expect(clock.sleptMs).toBeLessThanOrEqual(10_000)
})

test('goes on where it is told to, in order of the ids', async () => {
  const ids = await fill(20)
  const seen: string[] = []

  await scrub(store, new HastyClock(), {
    after: ids[11],
    onChecked: (id) => seen.push(toHex(id))
  })

  expect(seen).toEqual(ids.slice(12).map(toHex))
})

test('can be stopped', async () => {
  await fill(10)
  const abort = new AbortController()
  let count = 0

  const scrubbing = scrub(store, new HastyClock(), {
    signal: abort.signal,
    onChecked: () => {
      count++
      if (count === 3) abort.abort(new Error('enough'))
    }
  })

  await expect(scrubbing).rejects.toThrow('enough')
  expect(count).toBe(3)
})

test('does not mind chunks that are removed meanwhile', async () => {
  const ids = await fill(4)

  const report = await scrub(store, new HastyClock(), {
    onChecked: () => void store.delete(ids[3] ?? new Uint8Array())
  })

  expect(report).toEqual({ checked: 3, ...CLEAN })
})

test('of an empty store reads nothing', async () => {
  expect(await run()).toEqual({ checked: 0, ...CLEAN })
})

test('refuses a rate of nothing', async () => {
  await expect(scrub(store, new HastyClock(), { bytesPerSecond: 0 })).rejects.toThrow(RangeError)
})
