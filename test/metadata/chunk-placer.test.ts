import { expect, test } from '@jest/globals'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { ChunkPlacer } from '../../src/metadata/chunk-placer.ts'
import { ChunkPool } from '../support/chunk-pool.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const chunkOf = (seed: number) => {
  const bytes = sampleBytes(100, seed)
  return { id: chunkId(bytes), bytes }
}

function place(pool: ChunkPool, replicas = 1) {
  const ended = new AbortController()
  const logger = noLogger.forComponent('test')
  const placing = { writer: pool, parent: undefined, signal: ended.signal, logger }
  return { placer: new ChunkPlacer(placing, replicas), ended }
}

test('writes a chunk that nobody has', async () => {
  const pool = new ChunkPool()
  const { placer } = place(pool)

  const placed = await placer.place(0, chunkOf(1))

  expect(placed).toEqual({ replicas: ['provider-a'], isNew: true })
  expect(pool.writtenBytes).toBe(100)
})

test('leaves a chunk alone that enough providers have', async () => {
  const pool = new ChunkPool(['provider-a', 'provider-b'])
  await pool.write(chunkOf(1).id, chunkOf(1).bytes)
  const { placer } = place(pool, 2)

  const placed = await placer.place(0, chunkOf(1))

  expect(placed).toEqual({ replicas: ['provider-a', 'provider-b'], isNew: false })
  expect(pool.writtenIds).toHaveLength(1)
})

test('writes a chunk again that too few providers have', async () => {
  const pool = new ChunkPool(['provider-a'])
  await pool.write(chunkOf(1).id, chunkOf(1).bytes)
  const { placer } = place(pool, 2)

  await placer.place(0, chunkOf(1))

  expect(pool.writtenIds).toHaveLength(2)
})

test('does not ask for more copies than a write of the same upload could make', async () => {
  const pool = new ChunkPool(['provider-a'])
  await pool.write(chunkOf(1).id, chunkOf(1).bytes)
  const { placer } = place(pool, 2)
  await placer.place(0, chunkOf(2))

  const placed = await placer.place(1, chunkOf(1))

  expect(placed.isNew).toBe(false)
})

test('looks up the chunks that wait at the same time together', async () => {
  const pool = new ChunkPool()
  const { placer } = place(pool)

  await Promise.all([1, 2, 3, 4, 5].map((seed) => placer.place(seed, chunkOf(seed))))

  expect(pool.lookUps).toBe(1)
})

test('moves the bytes of a chunk once that occurs several times', async () => {
  const pool = new ChunkPool()
  const { placer } = place(pool)

  const placed = await Promise.all([0, 1, 2].map((index) => placer.place(index, chunkOf(7))))

  expect(placed.map(({ isNew }) => isNew)).toEqual([true, false, false])
  expect(pool.writtenIds).toHaveLength(1)
})

test('tries a chunk again after it could not be written', async () => {
  const pool = new ChunkPool()
  const { placer } = place(pool)
  pool.onWrite = async () => {
    throw new Error('no room')
  }
  await expect(placer.place(0, chunkOf(1))).rejects.toThrow('no room')
  pool.onWrite = async () => {}

  expect((await placer.place(0, chunkOf(1))).isNew).toBe(true)
})

test('gives up waiting with the reason of its signal', async () => {
  const pool = new ChunkPool()
  const { placer } = place(pool)
  const controller = new AbortController()
  pool.onWrite = async (_, { signal }) => {
    controller.abort(new Error('gone away'))
    signal?.throwIfAborted()
  }

  const placing = placer.place(0, chunkOf(1), { signal: controller.signal })

  await expect(placing).rejects.toThrow('gone away')
})
