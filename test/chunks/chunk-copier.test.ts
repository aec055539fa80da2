import { expect, test } from '@jest/globals'
import {
  ChunkCopier,
  type ChunkCopierOptions,
  type CopyTarget
} from '../../src/chunks/chunk-copier.ts'
import { MAX_CHUNK_BYTES } from '../../src/chunks/chunk-size.ts'
import { StoreFullError } from '../../src/chunks/errors.ts'
import type { ChunkSource } from '../../src/chunks/maintenance-types.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

const chunks = Array.from({ length: 20 }, (_, seed) => sampleChunk(seed))
const ids = chunks.map(({ id }) => id)
const bytesOf = new Map(chunks.map(({ id, bytes }) => [toHex(id), bytes]))

type Give = (id: ChunkId) => Promise<Uint8Array | undefined>

const honest: Give = async (id) => bytesOf.get(toHex(id))
const broken: Give = async () => Promise.reject(new Error('broken'))
const liar: Give = async () => Uint8Array.of(1)
const stalled: Give = async () => new Promise(() => {})

/** A copier with sources by name, and a target that takes everything. */
function setUp(sources: Readonly<Record<string, Give>>, options: ChunkCopierOptions = {}) {
  const clock = new ManualClock()
  const logger = new MemoryLogger()
  const metrics = new MemoryMetrics()
  const asked: string[] = []
  const stored = new Map<string, Uint8Array>()
  const open = ({ id: name }: ChunkSource) => {
    const give = sources[name]
    if (give === undefined) return undefined
    return {
      id: name,
      get: async (id: ChunkId) => {
        asked.push(name)
        return await give(id)
      }
    }
  }
  const copier = new ChunkCopier({ sources: { open }, clock, logger, metrics }, options)
  const target: CopyTarget = {
    has: (id) => stored.has(toHex(id)),
    put: async (id, bytes) => void stored.set(toHex(id), bytes)
  }
  const named = Object.keys(sources).map((id) => ({ id, addresses: [] }))
  return { copier, clock, logger, metrics, asked, stored, target, named }
}

async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn()
}

test('asks every source for about the same', async () => {
  const { copier, asked, target, named } = setUp({ a: honest, b: honest, c: honest, d: honest })

  await copier.copy(ids, named, target)

  const counts = ['a', 'b', 'c', 'd'].map((name) => asked.filter((one) => one === name).length)
  expect(counts).toEqual([5, 5, 5, 5])
})

test('turns to others when a source has failed', async () => {
  const { copier, asked, target, named, stored } = setUp({ broken, honest }, { maxChunks: 1 })

  await copier.copy(ids, named, target)

  expect(stored.size).toBe(20)
  expect(asked.filter((name) => name === 'broken')).toHaveLength(1)
})

test('says whose bytes were wrong', async () => {
  const { copier, logger, metrics, target, named } = setUp({ liar })

  const held = await copier.copy(ids.slice(0, 1), named, target)

  expect(held).toEqual([false])
  const line = logger.lines.find(({ format }) => format.includes('%p'))
  expect(line).toMatchObject({ level: 'info', values: ['liar', { code: 'ERR_CHUNK_MISMATCH' }] })
  expect(metrics.values.get('blobswarm_chunks_copy_failures_total')).toBe(1)
})

test('has a few chunks at a time in hands, for all callers together', async () => {
  const gates: (() => void)[] = []
  const slow: Give = async (id) => {
    await new Promise<void>((resolve) => gates.push(resolve))
    return await honest(id)
  }
  const { copier, target, named, asked } = setUp({ slow }, { maxChunks: 3 })

  const copying = [ids.slice(0, 10), ids.slice(10)].map((some) => copier.copy(some, named, target))
  await turns()
  const atOnce = asked.length
  while (asked.length < 20 || gates.length > 0) {
    gates.shift()?.()
    await turns(2)
  }

  expect(atOnce).toBe(3)
  expect((await Promise.all(copying)).flat()).toEqual(ids.map(() => true))
})

test('has room for few chunks as long as it does not know how long they are', async () => {
  const gates: (() => void)[] = []
  const slow: Give = async (id) => {
    await new Promise<void>((resolve) => gates.push(resolve))
    return await honest(id)
  }
  const { copier, target, named } = setUp({ slow }, { maxBytes: 2 * MAX_CHUNK_BYTES })

  const copying = copier.copy(ids, named, target)
  const waves: number[] = []
  for (let turn = 0; turn < 7; turn++) {
    await turns()
    waves.push(gates.length)
    for (const open of gates.splice(0)) open()
  }
  await copying

  expect(waves.slice(0, 2)).toEqual([2, 2])
  expect(Math.max(...waves)).toBe(8)
})

test('fetches no faster than it may', async () => {
  const { copier, clock, target, named, stored } = setUp({ honest }, { bytesPerSecond: 10_000 })

  const copying = copier.copy(ids, named, target)
  const progress: number[] = []
  for (let second = 0; second < 3; second++) {
    await turns()
    progress.push(stored.size)
    clock.advance(1000)
  }
  await turns()
  clock.advance(1000)
  await copying

  expect(progress[0]).toBeLessThanOrEqual(2)
  expect(progress[1]).toBeLessThanOrEqual(12)
  expect(stored.size).toBe(20)
})

test('does not wait for a source that gives nothing', async () => {
  const { copier, clock, target, named, stored } = setUp(
    { stalled, honest },
    { sourceTimeoutMs: 5000 }
  )

  const copying = copier.copy(ids.slice(0, 2), named, target)
  await turns()
  clock.advance(5000)
  await copying

  expect(stored.size).toBe(2)
})

test('fetches nothing more when the target takes no more, and says what it has', async () => {
  const { copier, target, named, stored, asked } = setUp({ honest }, { maxChunks: 1 })
  const full: CopyTarget = {
    ...target,
    put: async (id, bytes, options) => {
      if (stored.size === 3) throw new StoreFullError('test', 1)
      await target.put(id, bytes, options)
    }
  }

  const held = await copier.copy(ids, named, full)

  expect(held).toEqual(ids.map((_, at) => at < 3))
  expect(asked).toHaveLength(4)
})

test('tells how many chunks are done', async () => {
  const { copier, target, named } = setUp({ honest }, { maxChunks: 1 })
  const told: number[] = []

  await copier.copy(ids.slice(0, 3), named, target, { onProgress: (count) => told.push(count) })

  expect(told).toEqual([1, 2, 3])
})

test('counts what it copied', async () => {
  const { copier, target, named, metrics } = setUp({ honest })

  await copier.copy(ids, named, target)
  await copier.copy(ids, named, target)

  expect(metrics.values.get('blobswarm_chunks_copied_total')).toBe(20)
  expect(metrics.values.get('blobswarm_chunks_copied_bytes_total')).toBe(20_000)
})
