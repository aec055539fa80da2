import { describe, expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { PlacementRequest } from '../../src/chunks/provider-manager-types.ts'
import type { WrittenChunk } from '../../src/chunks/replica-types.ts'
import {
  ReplicatedWriter,
  type ReplicatedWriterOptions
} from '../../src/chunks/replicated-writer.ts'
import type { ProviderId } from '../../src/chunks/types.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { type ProviderCall, ProviderPool } from '../support/provider-pool.ts'

const isDown = async (): Promise<void> => {
  throw new Error('connection refused')
}

const isReadOnly = async (call: ProviderCall): Promise<void> => {
  if (call === 'copy' || call === 'put') throw new Error('read-only')
}

/** A writer over providers `names`, and what it has asked the provider manager for. */
async function setUp(names: string, options: ReplicatedWriterOptions = { replicas: 2 }) {
  const pool = await ProviderPool.start(names)
  const placed: PlacementRequest[] = []
  const metrics = new MemoryMetrics()
  const providers = {
    list: () => pool.manager.list(),
    reportFailure: pool.manager.reportFailure.bind(pool.manager),
    place: async (request: PlacementRequest): Promise<ProviderId[][]> => {
      placed.push(request)
      return await pool.manager.place(request)
    }
  }
  const components = { directory: pool, providers, metrics, clock: pool.clock }
  const writer = new ReplicatedWriter(components, options)
  const write = async (count: number, firstSeed = 0): Promise<WrittenChunk[]> =>
    Promise.all(
      Array.from({ length: count }, async (_, at) => {
        const { id, bytes } = sampleChunk(firstSeed + at)
        return { id, replicas: await writer.write(id, bytes) }
      })
    )
  const kill = (name: ProviderId): void => void (pool.get(name).onCall = isDown)
  const holders = (chunks: readonly WrittenChunk[], without = ''): string[] =>
    chunks.map(({ id }) => pool.holders(id).replace(without, ''))
  const asked = (): number => {
    const calls = Array.from(pool.providers.values(), ({ calls: { has } }) => has)
    return calls.reduce((sum, each) => sum + each, 0)
  }
  return { pool, writer, placed, metrics, write, kill, holders, asked, providers }
}

describe('making written chunks whole', () => {
  test('takes one question to each provider when nothing has happened', async () => {
    const { pool, writer, write, asked } = await setUp('abcd')
    const chunks = await write(40)

    const now = await writer.makeWhole([...chunks, { id: ZERO_CHUNK_ID, replicas: [] }])

    expect(now).toEqual([...chunks.map(({ replicas }) => replicas), []])
    expect(asked()).toBe(4)
    expect(Array.from(pool.providers.values(), ({ calls }) => calls.copy)).toEqual([0, 0, 0, 0])
  })

  test('asks nobody about what has just been acknowledged, unless one of them has failed', async () => {
    const { writer, write, kill, asked } = await setUp('abcd')
    const chunks = await write(40)

    const fresh = await writer.makeWhole(chunks, { ageMs: 200 })
    const before = asked()
    kill('a')
    await write(10, 100)
    const mended = await writer.makeWhole(chunks, { ageMs: 200 })

    expect(fresh).toEqual(chunks.map(({ replicas }) => replicas))
    expect(before).toBe(0)
    expect(mended.filter((ids) => ids.length !== 2 || ids.includes('a'))).toEqual([])
  })

  test('copies what a dead provider had acknowledged from its twins', async () => {
    const { pool, writer, write, kill, holders, metrics } = await setUp('abcdef')
    const chunks = await write(60)
    const lost = chunks.filter(({ replicas }) => replicas.includes('a')).length
    kill('a')

    const now = await writer.makeWhole(chunks)

    expect(lost).toBeGreaterThan(10)
    expect(now.map((ids) => ids.join(''))).toEqual(holders(chunks, 'a'))
    expect(now.every((ids) => ids.length === 2)).toBe(true)
    const [dead] = await pool.manager.list()
    expect(dead).toMatchObject({ id: 'a', condition: 'suspect' })
    expect(metrics.values.get('blobswarm_chunks_upload_copies_total{way=fetched}')).toBe(lost)
    expect(metrics.values.get('blobswarm_chunks_upload_copies_total{way=carried}')).toBe(0)
  })

  test('asks a provider that failed in between about every chunk', async () => {
    const { pool, writer, write, holders } = await setUp('abc')
    const chunks = await write(30)
    pool.get('a').onCall = isDown
    await write(6, 100)
    pool.get('a').onCall = async () => {}
    await pool.reportAll()
    const middle = chunks.filter(({ replicas }) => replicas.includes('a'))[7]
    if (middle === undefined) throw new Error('wanted more chunks on a')
    await pool.get('a').store.delete(middle.id)

    const now = await writer.makeWhole(chunks)

    expect(now.map((ids) => ids.join(''))).toEqual(holders(chunks))
    expect(now.every((ids) => ids.length === 2)).toBe(true)
  })

  test('finds out that a provider has lost everything', async () => {
    const { pool, writer, write, holders } = await setUp('abcd')
    const chunks = await write(100)
    for (const id of Array.from(pool.get('b').store.ids())) await pool.get('b').store.delete(id)

    const now = await writer.makeWhole(chunks)

    expect(now.map((ids) => ids.join(''))).toEqual(holders(chunks))
    expect(now.every((ids) => ids.length === 2)).toBe(true)
  })

  test('asks one that did not answer only once in a while', async () => {
    const { pool, writer, write, kill } = await setUp('abcd')
    const parts = [await write(20), await write(20, 100), await write(20, 200)]
    kill('a')

    const now = []
    for (const part of parts) now.push(...(await writer.makeWhole(part)))
    const asked = pool.get('a').calls.has
    pool.clock.advance(30_000)
    await writer.makeWhole(parts[0] ?? [])

    expect([asked, pool.get('a').calls.has]).toEqual([1, 2])
    expect(now.every((ids) => ids.length === 2 && !ids.includes('a'))).toBe(true)
  })

  test('does not wait for one that the provider manager knows to be dead', async () => {
    const { pool, writer, write } = await setUp('abcd')
    const chunks = await write(20)
    pool.clock.advance(300_001)
    for (const name of 'bcd') await pool.manager.report(await pool.get(name).report('zone'))

    const now = await writer.makeWhole(chunks)

    expect(pool.get('a').calls.has).toBe(0)
    expect(now.every((ids) => ids.length === 2 && !ids.includes('a'))).toBe(true)
  })

  test('adds the copies that chunks lacked from the start, once others are there', async () => {
    const { pool, writer, write, holders } = await setUp('a', { replicas: 3 })
    const chunks = await write(5)
    for (const name of 'bc') {
      const extended = await ProviderPool.start(name)
      pool.providers.set(name, extended.get(name))
    }
    await pool.reportAll()

    await writer.makeWhole(chunks)

    expect(holders(chunks)).toEqual(chunks.map(() => 'abc'))
  })

  test('carries chunks itself where a provider cannot fetch them', async () => {
    const { pool, writer, write, kill, holders } = await setUp('abcd')
    for (const provider of pool.providers.values()) {
      provider.copy = async (ids) => ids.map(() => false)
    }
    const chunks = await write(40)
    kill('a')

    const now = await writer.makeWhole(chunks)

    expect(now.map((ids) => ids.join(''))).toEqual(holders(chunks, 'a'))
    expect(now.every((ids) => ids.length === 2)).toBe(true)
  })

  test('goes on with others when a replacement fails too', async () => {
    const { pool, writer, write, kill, holders } = await setUp('abcde')
    const chunks = await write(40)
    kill('a')
    pool.get('b').onCall = isReadOnly

    const now = await writer.makeWhole(chunks)

    expect(now.map((ids) => ids.join(''))).toEqual(holders(chunks, 'a'))
    expect(now.every((ids) => ids.length === 2)).toBe(true)
  })

  test('leaves chunks as they are when nobody is there to take more', async () => {
    const { writer, write, kill, metrics } = await setUp('ab')
    const chunks = await write(3)
    kill('a')

    const now = await writer.makeWhole(chunks)

    expect(now).toEqual([['b'], ['b'], ['b']])
    expect(metrics.values.get('blobswarm_chunks_under_replicated_total')).toBe(3)
  })

  test('leaves chunks as they are when all others fail too', async () => {
    const { pool, writer, write, kill } = await setUp('abcd')
    const chunks = await write(20)
    kill('a')
    for (const name of 'bcd') pool.get(name).onCall = isReadOnly

    const now = await writer.makeWhole(chunks)

    expect(now.every((ids) => ids.length >= 1 && !ids.includes('a'))).toBe(true)
  })

  test('fails below the quorum when it has tried long enough and others are there', async () => {
    const { pool, writer, write, kill } = await setUp('abcd', { replicas: 2, maxTries: 1 })
    const chunks = await write(20)
    kill('a')
    pool.get('b').onCall = isReadOnly

    await expect(writer.makeWhole(chunks)).rejects.toMatchObject({
      code: 'ERR_NOT_ENOUGH_REPLICAS',
      acknowledged: 1,
      wanted: 2
    })
  })

  test('is content with the quorum when it has tried long enough', async () => {
    const options = { replicas: 2, maxTries: 1, writeQuorum: 1 }
    const { pool, writer, write, kill } = await setUp('abcd', options)
    const chunks = await write(20)
    kill('a')
    pool.get('b').onCall = isReadOnly

    const now = await writer.makeWhole(chunks)

    expect(now.every((ids) => ids.length >= 1 && !ids.includes('a'))).toBe(true)
  })

  test('finds a chunk elsewhere that all its own providers have lost', async () => {
    const { pool, writer, write } = await setUp('abcd')
    const [chunk] = await write(1)
    if (chunk === undefined) throw new Error('wanted a chunk')
    const other = ['a', 'b', 'c', 'd'].find((name) => !chunk.replicas.includes(name))
    await pool.get(other ?? '').put(chunk.id, sampleChunk(0).bytes)
    for (const name of chunk.replicas) await pool.get(name).store.delete(chunk.id)

    const [now = []] = await writer.makeWhole([chunk])

    expect(now).toContain(other)
    expect(now).toHaveLength(2)
  })

  test('says so when a chunk is nowhere any more', async () => {
    const { pool, writer, write } = await setUp('abc')
    const [chunk] = await write(1)
    if (chunk === undefined) throw new Error('wanted a chunk')
    for (const name of chunk.replicas) await pool.get(name).store.delete(chunk.id)

    await expect(writer.makeWhole([chunk])).rejects.toMatchObject({
      code: 'ERR_NOT_ENOUGH_REPLICAS',
      acknowledged: 0
    })
  })

  test('needs no provider manager as long as nobody has failed', async () => {
    const { writer, write, kill, providers } = await setUp('abc')
    const chunks = await write(20)
    providers.list = async () => {
      throw new Error('manager restarts')
    }
    const whole = await writer.makeWhole(chunks)
    kill('a')
    providers.place = async () => {
      throw new Error('manager restarts')
    }

    expect(whole).toEqual(chunks.map(({ replicas }) => replicas))
    await expect(writer.makeWhole(chunks)).rejects.toThrow('manager restarts')
  })

  test('copies a chunk that occurs several times once', async () => {
    const { pool, writer, write, kill } = await setUp('abcd')
    const [chunk] = await write(1)
    if (chunk === undefined) throw new Error('wanted a chunk')
    const [first = ''] = chunk.replicas
    kill(first)

    const now = await writer.makeWhole([chunk, chunk, chunk])

    expect(now[1]).toEqual(now[0])
    expect(pool.holders(chunk.id)).toHaveLength(3)
  })

  test('ends for a caller that gives up', async () => {
    const { pool, writer, write } = await setUp('ab')
    const chunks = await write(2)
    const abort = new AbortController()
    pool.get('a').onCall = async (_, { signal }) => {
      abort.abort(new Error('enough'))
      signal?.throwIfAborted()
    }

    await expect(writer.makeWhole(chunks, { signal: abort.signal })).rejects.toThrow('enough')
  })
})
