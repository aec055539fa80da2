import { afterEach, describe, expect, test } from '@jest/globals'
import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ReplicatedWriter } from '../../src/chunks/replicated-writer.ts'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { ChunkLeases } from '../../src/metadata/chunk-leases.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { ProviderPool } from '../support/provider-pool.ts'

const LEASE_MS = 6000

const stops: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const bytesOf = (seed: number): Uint8Array => Uint8Array.of(1, seed, seed >> 8)

/** Lets everything happen that does not wait for the clock. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await nextTurn()
}

/** An upload to providers `a`, `b` and `c`. */
async function setUp() {
  const pool = await ProviderPool.start('abc')
  const writer = new ReplicatedWriter({ directory: pool, providers: pool.manager })
  const chunks = new LeafListBuilder()
  const lost: Error[] = []
  const components = {
    chunks,
    writer,
    clock: pool.clock,
    logger: new MemoryLogger().forComponent('test'),
    onLost: (error: Error) => void lost.push(error)
  }
  const leases = new ChunkLeases(components, { leaseMs: LEASE_MS })
  stops.push(() => leases.stop())
  const place = async (seed: number, replicas: readonly ProviderId[]): Promise<ChunkId> => {
    const bytes = bytesOf(seed)
    const chunk = chunkId(bytes)
    for (const id of replicas) await pool.get(id).store.put(chunk, bytes)
    const index = chunks.fragmentCount
    chunks.add(index, { at: 0, length: 3, chunk, chunkOffset: 0, replicas })
    return chunk
  }
  const questions = (): number[] => ['a', 'b', 'c'].map((id) => pool.get(id).calls.has)
  return { pool, clock: pool.clock, chunks, leases, lost, place, questions }
}

const silence = async (): Promise<void> => {
  throw new Error('not there')
}

describe('while an upload is open', () => {
  test('the providers of its chunks are asked every third of a lease', async () => {
    const { clock, leases, place, questions } = await setUp()
    await place(1, ['a', 'b'])
    leases.start()

    const asked: number[][] = []
    for (let third = 1; third <= 3; third++) {
      clock.advance(LEASE_MS / 3 - 1)
      await settle()
      clock.advance(1)
      await settle()
      asked.push(questions())
    }

    expect(asked).toEqual([
      [1, 1, 0],
      [2, 2, 0],
      [3, 3, 0]
    ])
  })

  test('many chunks are asked about in few questions, zeros and those without a place not', async () => {
    const { pool, clock, chunks, leases, place, questions } = await setUp()
    for (let seed = 0; seed < 2500; seed++) await place(seed, ['c'])
    const none = { at: 0, length: 3, chunkOffset: 0, replicas: [] }
    chunks.add(9000, { ...none, chunk: ZERO_CHUNK_ID })
    chunks.add(9001, { ...none, chunk: chunkId(bytesOf(9001)) })
    await pool.get('c').beginCollection()
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()

    expect(questions()).toEqual([0, 0, 3])
    expect(chunks.fragment(2501).replicas).toEqual([])
  })

  test('a provider that has lost a chunk is taken off its list', async () => {
    const { pool, clock, chunks, leases, lost, place } = await setUp()
    const first = await place(1, ['a', 'b'])
    await place(2, ['a', 'b'])
    await pool.get('a').store.delete(first)
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()

    expect(chunks.fragment(0).replicas).toEqual(['b'])
    expect(chunks.fragment(1).replicas).toEqual(['a', 'b'])
    expect(lost).toEqual([])
  })

  test('a chunk that is only elsewhere is found there', async () => {
    const { pool, clock, chunks, leases, lost, place } = await setUp()
    const chunk = await place(1, ['a'])
    await pool.get('a').store.delete(chunk)
    await pool.get('c').store.put(chunk, bytesOf(1))
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()

    expect(chunks.fragment(0).replicas).toEqual(['c'])
    expect(lost).toEqual([])
  })

  test('a chunk that nobody has is told of, once', async () => {
    const { pool, clock, leases, lost, place } = await setUp()
    const chunk = await place(1, ['a', 'b'])
    await pool.get('a').store.delete(chunk)
    await pool.get('b').store.delete(chunk)
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()
    clock.advance(LEASE_MS)
    await settle()

    expect(lost.map((error) => (error as { code?: string }).code)).toEqual(['ERR_CHUNK_LEASE_LOST'])
  })

  test('a provider that does not answer stays on the list and is asked again soon', async () => {
    const { pool, clock, chunks, leases, lost, place, questions } = await setUp()
    await place(1, ['a'])
    pool.get('a').onCall = silence
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()
    clock.advance(LEASE_MS / 60)
    await settle()

    expect(questions()).toEqual([2, 0, 0])
    expect(chunks.fragment(0).replicas).toEqual(['a'])
    expect(lost).toEqual([])
  })

  test('a chunk is not given up while somebody who may have it does not answer', async () => {
    const { pool, clock, leases, lost, place } = await setUp()
    const chunk = await place(1, ['a'])
    await pool.get('a').store.delete(chunk)
    pool.get('b').onCall = silence
    leases.start()

    clock.advance(LEASE_MS / 3)
    await settle()

    expect(lost).toEqual([])
  })

  test('nothing is asked any more after it was stopped', async () => {
    const { clock, leases, place, questions } = await setUp()
    await place(1, ['a'])
    leases.start()

    await leases.stop()
    clock.advance(LEASE_MS)
    await settle()

    expect(questions()).toEqual([0, 0, 0])
  })
})

describe('before a ticket', () => {
  test('nobody is asked if that was done a sixth of a lease ago', async () => {
    const { clock, leases, place, questions } = await setUp()
    await place(1, ['a'])
    clock.advance(LEASE_MS / 6)

    await leases.ensure()

    expect(questions()).toEqual([0, 0, 0])
  })

  test('everybody is asked again if it is longer ago', async () => {
    const { clock, leases, place, questions } = await setUp()
    await place(1, ['a', 'b'])
    clock.advance(LEASE_MS / 6 + 1)

    await leases.ensure()
    await leases.ensure()

    expect(questions()).toEqual([1, 1, 0])
  })

  test('a chunk that nobody has ends the upload', async () => {
    const { pool, clock, leases, place } = await setUp()
    const chunk = await place(1, ['a'])
    await pool.get('a').store.delete(chunk)
    clock.advance(LEASE_MS / 2)

    await expect(leases.ensure()).rejects.toMatchObject({ code: 'ERR_CHUNK_LEASE_LOST' })
  })

  test('a provider that does not answer is waited for while half of the lease is left', async () => {
    const { pool, clock, leases, place } = await setUp()
    await place(1, ['a'])
    pool.get('a').onCall = silence

    clock.advance(LEASE_MS / 2)
    await leases.ensure()
    clock.advance(1)
    const late = leases.ensure()
    late.catch(() => {})
    for (let tries = 0; tries < 6; tries++) {
      await settle()
      clock.advance(LEASE_MS / 60)
    }

    await expect(late).rejects.toMatchObject({ code: 'ERR_CHUNK_LEASE_LOST' })
  })

  test('a provider that answers again makes it go on', async () => {
    const { pool, clock, leases, place } = await setUp()
    await place(1, ['a'])
    pool.get('a').onCall = silence
    clock.advance(LEASE_MS)

    const ensured = leases.ensure()
    await settle()
    pool.get('a').onCall = async () => {}
    clock.advance(LEASE_MS / 60)

    await expect(ensured).resolves.toBeUndefined()
  })

  test('its caller may give up', async () => {
    const { pool, clock, leases, place } = await setUp()
    await place(1, ['a'])
    pool.get('a').onCall = async () => new Promise(() => {})
    clock.advance(LEASE_MS)

    const signal = AbortSignal.abort(new Error('changed my mind'))

    await expect(leases.ensure({ signal })).rejects.toThrow('changed my mind')
  })
})

test('lists that were copied stay as they are', async () => {
  const { pool, clock, chunks, leases, place } = await setUp()
  const chunk = await place(1, ['a', 'b'])
  await pool.get('a').store.delete(chunk)
  clock.advance(LEASE_MS)

  leases.freeze()
  await leases.ensure()

  expect(chunks.fragment(0).replicas).toEqual(['a', 'b'])
})

test('a lease that cannot be is refused', async () => {
  const { pool, chunks } = await setUp()
  const writer = new ReplicatedWriter({ directory: pool, providers: pool.manager })
  const logger = new MemoryLogger().forComponent('test')
  const components = { chunks, writer, clock: pool.clock, logger, onLost: () => {} }

  expect(() => new ChunkLeases(components, { leaseMs: 0 })).toThrow(RangeError)
})
