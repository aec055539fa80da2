import { describe, expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import type { PlacementRequest } from '../../src/chunks/provider-manager-types.ts'
import {
  ReplicatedWriter,
  type ReplicatedWriterOptions
} from '../../src/chunks/replicated-writer.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ProviderPool } from '../support/provider-pool.ts'

const writerOver = (
  pool: ProviderPool,
  options: ReplicatedWriterOptions = {}
): {
  writer: ReplicatedWriter
  placed: PlacementRequest[]
  metrics: MemoryMetrics
  logger: MemoryLogger
} => {
  const placed: PlacementRequest[] = []
  const { manager } = pool
  const providers = {
    reportFailure: manager.reportFailure.bind(manager),
    list: manager.list.bind(manager),
    place: async (request: PlacementRequest): Promise<string[][]> => {
      placed.push(request)
      return await manager.place(request)
    }
  }
  const [metrics, logger] = [new MemoryMetrics(), new MemoryLogger()]
  const components = { directory: pool, providers, metrics, logger, clock: pool.clock }
  return { writer: new ReplicatedWriter(components, options), placed, metrics, logger }
}
const UNDER_REPLICATED = 'blobswarm_chunks_under_replicated_total'
const isDown = async (): Promise<void> => {
  throw new Error('connection refused')
}

describe('writing a chunk', () => {
  test('puts it on as many providers as asked for and says on which', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer } = writerOver(pool, { replicas: 2 })
    const { id, bytes } = sampleChunk(1)

    const holders = await writer.write(id, bytes)

    expect(holders).toHaveLength(2)
    expect(pool.holders(id)).toBe(holders.join(''))
  })

  test('of zeros does nothing', async () => {
    const pool = await ProviderPool.start('a')
    const { writer, placed } = writerOver(pool)

    expect(await writer.write(ZERO_CHUNK_ID, new Uint8Array(9))).toEqual([])
    expect(placed).toEqual([])
  })

  test('asks for places by the dozen, more each time, and for each size apart', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer, placed } = writerOver(pool, { maxStock: 16 })

    for (let seed = 0; seed < 40; seed++) {
      const { id, bytes } = sampleChunk(seed)
      await writer.write(id, bytes)
    }
    await writer.write(sampleChunk(99, 70_000).id, sampleChunk(99, 70_000).bytes)

    expect(placed.map(({ count, chunkBytes }) => [count, chunkBytes])).toEqual([
      [8, 65_536],
      [16, 65_536],
      [16, 65_536],
      [8, 131_072]
    ])
  })

  test('asks once when many chunks are written at the same time', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer, placed } = writerOver(pool)
    const chunks = Array.from({ length: 8 }, (_, seed) => sampleChunk(seed))

    await Promise.all(chunks.map(({ id, bytes }) => writer.write(id, bytes)))

    expect(placed).toHaveLength(1)
  })

  test('asks anew when its places are old', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer, placed } = writerOver(pool, { maxStockAgeMs: 1000 })
    await writer.write(sampleChunk(1).id, sampleChunk(1).bytes)

    pool.clock.advance(1001)
    await writer.write(sampleChunk(2).id, sampleChunk(2).bytes)

    expect(placed).toHaveLength(2)
  })

  test('that is being written already shares that write', async () => {
    const pool = await ProviderPool.start('a')
    const { writer } = writerOver(pool)
    const { id, bytes } = sampleChunk(1)

    const results = await Promise.all([1, 2, 3].map(() => writer.write(id, bytes)))

    expect(results).toEqual([['a'], ['a'], ['a']])
    expect(pool.get('a').calls.put).toBe(1)
  })

  test('goes on when the one that it shared was given up', async () => {
    const pool = await ProviderPool.start('a')
    const { writer } = writerOver(pool)
    const { id, bytes } = sampleChunk(1)
    const abort = new AbortController()
    pool.get('a').onCall = async (_, { signal }) => {
      await nextTurn()
      signal?.throwIfAborted()
    }

    const first = writer.write(id, bytes, { signal: abort.signal })
    const second = writer.write(id, bytes)
    const refused = expect(first).rejects.toThrow('enough')
    abort.abort(new Error('enough'))

    await refused
    expect(await second).toEqual(['a'])
  })
})

describe('a provider that fails', () => {
  test('is reported and replaced', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer, metrics } = writerOver(pool, { replicas: 2 })
    pool.get('a').onCall = isDown
    const { id, bytes } = sampleChunk(1)

    expect(await writer.write(id, bytes)).toEqual(['b', 'c'])

    const states = await pool.manager.list()
    const conditions = states.map(({ condition }) => condition)
    expect(conditions).toEqual(['suspect', 'live', 'live'])
    expect(metrics.values.get(UNDER_REPLICATED)).toBeUndefined()
  })

  test('is not tried for the next chunk', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer } = writerOver(pool, { replicas: 2 })
    pool.get('a').onCall = isDown

    for (let seed = 0; seed < 10; seed++) {
      const { id, bytes } = sampleChunk(seed)
      await writer.write(id, bytes)
    }

    expect(pool.get('a').calls.put).toBe(1)
  })

  test('and cannot be replaced leaves the chunk under-replicated, warned about once', async () => {
    const pool = await ProviderPool.start('ab')
    const { writer, metrics, logger } = writerOver(pool, { replicas: 2 })
    pool.get('a').onCall = isDown

    const holders = []
    for (let seed = 0; seed < 3; seed++) {
      const { id, bytes } = sampleChunk(seed)
      holders.push(await writer.write(id, bytes))
    }

    expect(holders).toEqual([['b'], ['b'], ['b']])
    expect(metrics.values.get(UNDER_REPLICATED)).toBe(3)
    expect(logger.lines.filter(({ format }) => format.includes('too few'))).toHaveLength(1)
  })

  test('like all others fails the write', async () => {
    const pool = await ProviderPool.start('ab')
    const { writer } = writerOver(pool, { replicas: 2 })
    for (const provider of pool.providers.values()) provider.onCall = isDown
    const { id, bytes } = sampleChunk(1)

    await expect(writer.write(id, bytes)).rejects.toMatchObject({
      code: 'ERR_NOT_ENOUGH_REPLICAS',
      acknowledged: 0,
      wanted: 2
    })
  })

  test('is replaced no more often than allowed', async () => {
    const pool = await ProviderPool.start('abcdef')
    for (const provider of pool.providers.values()) provider.onCall = isDown
    const { writer } = writerOver(pool, { replicas: 2, maxTries: 2 })

    await expect(writer.write(sampleChunk(1).id, sampleChunk(1).bytes)).rejects.toMatchObject({
      code: 'ERR_NOT_ENOUGH_REPLICAS'
    })

    const tried = Array.from(pool.providers.values()).filter(({ calls }) => calls.put > 0)
    expect(tried).toHaveLength(4)
  })

  test('does not matter to a quorum without it', async () => {
    const pool = await ProviderPool.start('ab')
    pool.get('a').onCall = isDown
    const { id, bytes } = sampleChunk(1)
    const strict = writerOver(pool, { replicas: 2, maxTries: 1 }).writer
    const lenient = writerOver(pool, { replicas: 2, maxTries: 1, writeQuorum: 1 }).writer

    await expect(strict.write(id, bytes)).rejects.toMatchObject({ acknowledged: 1, wanted: 2 })
    await pool.reportAll()

    expect(await lenient.write(id, bytes)).toEqual(['b'])
  })

  test('for lack of room is told apart', async () => {
    const pool = await ProviderPool.start('a', 100_000)
    const { writer } = writerOver(pool)
    for (let seed = 0; seed < 8; seed++) {
      const { id, bytes } = sampleChunk(seed, 12_000)
      await writer.write(id, bytes)
    }
    await pool.manager.report({ ...(await pool.get('a').report('z')), freeBytes: 1_000_000 })
    const { id, bytes } = sampleChunk(9, 12_000)

    await expect(writer.write(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
    const [provider] = await pool.manager.list()
    expect(provider?.condition).toBe('live') // full is not failed
  })

  test('to be known is looked up again, and is no failure then', async () => {
    const pool = await ProviderPool.start('ab')
    const known = new Set(['a'])
    const directory = {
      open: (id: string) => (known.has(id) ? pool.open(id) : undefined),
      refresh: async () => void known.add('b')
    }
    const writer = new ReplicatedWriter({ directory, providers: pool.manager }, { replicas: 2 })
    const { id, bytes } = sampleChunk(1)

    expect(await writer.write(id, bytes)).toEqual(['a', 'b'])

    const conditions = (await pool.manager.list()).map(({ condition }) => condition)
    expect(conditions).toEqual(['live', 'live'])
  })

  test('to exist at all is an error of its own', async () => {
    const pool = await ProviderPool.start('')
    const { writer } = writerOver(pool)

    await expect(writer.write(sampleChunk(1).id, sampleChunk(1).bytes)).rejects.toMatchObject({
      code: 'ERR_NO_PROVIDER'
    })
  })

  test.each([{ replicas: 0 }, { replicas: 2, writeQuorum: 3 }, { maxTries: 0 }])(
    'is no excuse for options like %p',
    async (options) => {
      const pool = await ProviderPool.start('a')

      expect(() => writerOver(pool, options)).toThrow(RangeError)
    }
  )
})

describe('a chunk that some have already', () => {
  test('is put on as many others as are missing', async () => {
    const pool = await ProviderPool.start('abcd')
    const { writer } = writerOver(pool, { replicas: 3 })
    const { id, bytes } = sampleChunk(1)

    const holders = await writer.write(id, bytes, { beside: ['b'] })

    expect(holders).toHaveLength(3)
    expect(holders).toContain('b')
    expect(pool.get('b').calls.put).toBe(0)
    expect(pool.holders(id)).toBe(holders.join('').replace('b', ''))
  })

  test('stays where it is when those are enough, or there is nobody else', async () => {
    const pool = await ProviderPool.start('ab')
    const { writer, metrics } = writerOver(pool, { replicas: 3 })
    const { id, bytes } = sampleChunk(1)

    const enough = await writer.write(id, bytes, { beside: ['z', 'y', 'x'] })
    const alone = await writer.write(id, bytes, { beside: ['b', 'a'] })

    expect([enough, alone]).toEqual([
      ['x', 'y', 'z'],
      ['a', 'b']
    ])
    expect([pool.get('a').calls.put, pool.get('b').calls.put]).toEqual([0, 0])
    expect(metrics.values.get(UNDER_REPLICATED)).toBe(1)
  })

  test('counts what is there to the quorum', async () => {
    const pool = await ProviderPool.start('abc')
    pool.get('b').onCall = isDown
    pool.get('c').onCall = isDown
    const { id, bytes } = sampleChunk(1)
    const lenient = writerOver(pool, { replicas: 2, writeQuorum: 1, maxTries: 1 }).writer

    expect(await lenient.write(id, bytes, { beside: ['a'] })).toEqual(['a'])
  })
})

test('a provider that has stalled gets a few chunks and the others the rest', async () => {
  const pool = await ProviderPool.start('abcd')
  const { writer } = writerOver(pool, { replicas: 2 })
  const gate = Promise.withResolvers<void>()
  pool.get('a').onCall = () => gate.promise
  let written = 0
  let seed = 0
  const lane = async (): Promise<void> => {
    while (seed < 200) {
      const { id, bytes } = sampleChunk(seed++, 65_536)
      await writer.write(id, bytes)
      written++
    }
  }

  const lanes = Array.from({ length: 32 }, lane)
  for (let turn = 0; turn < 500; turn++) await nextTurn()

  expect(written).toBeGreaterThan(170)
  expect(pool.get('a').calls.put).toBeLessThan(40) // of 400
  gate.resolve()
  await Promise.all(lanes)
})

describe('looking for chunks that are there', () => {
  test('tells who has which', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer } = writerOver(pool)
    const [first, second, third] = [sampleChunk(1), sampleChunk(2), sampleChunk(3)]
    await pool.get('c').put(first.id, first.bytes)
    await pool.get('a').put(first.id, first.bytes)
    await pool.get('b').put(second.id, second.bytes)

    const found = await writer.locate([first.id, second.id, third.id, ZERO_CHUNK_ID])

    expect(found).toEqual([['a', 'c'], ['b'], [], []])
  })

  test('asks only those that are named', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer } = writerOver(pool)
    const [first, second] = [sampleChunk(1), sampleChunk(2)]
    for (const provider of pool.providers.values()) {
      for (const { id, bytes } of [first, second]) await provider.put(id, bytes)
    }

    const found = await writer.locate([first.id, second.id], { among: [['b'], []] })

    expect(found).toEqual([['b'], ['a', 'b', 'c']])
  })

  test('asks each provider once for all that is asked in the same turn', async () => {
    const pool = await ProviderPool.start('ab')
    const { writer } = writerOver(pool)
    const chunks = Array.from({ length: 50 }, (_, seed) => sampleChunk(seed))
    for (const { id, bytes } of chunks.slice(0, 25)) await pool.get('b').put(id, bytes)

    const found = await Promise.all(chunks.map(({ id }) => writer.locate([id])))

    expect(found.flat(2)).toEqual(Array.from({ length: 25 }, () => 'b'))
    expect([pool.get('a').calls.has, pool.get('b').calls.has]).toEqual([1, 1])
  })

  test('does without providers that fail or are not live', async () => {
    const pool = await ProviderPool.start('abc')
    const { writer } = writerOver(pool)
    const { id, bytes } = sampleChunk(1)
    for (const provider of pool.providers.values()) await provider.put(id, bytes)
    pool.get('a').onCall = isDown
    await pool.manager.reportFailure('b')

    expect(await writer.locate([id])).toEqual([['c']])
    expect(pool.get('b').calls.has).toBe(0)
  })

  test('for more chunks than one question may carry asks several', async () => {
    const pool = await ProviderPool.start('a')
    const { writer } = writerOver(pool)
    const ids = Array.from({ length: 2500 }, (_, seed) => sampleChunk(seed, 4).id)

    const found = await writer.locate(ids)

    expect(found).toHaveLength(2500)
    expect(pool.get('a').calls.has).toBe(3)
  })

  test('ends for a caller that gives up', async () => {
    const pool = await ProviderPool.start('a')
    const { writer } = writerOver(pool)
    const gate = Promise.withResolvers<void>()
    pool.get('a').onCall = () => gate.promise
    const abort = new AbortController()

    const waiting = writer.locate([sampleChunk(1).id], { signal: abort.signal })
    abort.abort(new Error('enough'))

    await expect(waiting).rejects.toThrow('enough')
    gate.resolve()
  })
})
