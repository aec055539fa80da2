import { describe, expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkLocator } from '../../src/chunks/chunk-locator.ts'
import type { LocateOptions } from '../../src/chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../../src/chunks/types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ProviderPool } from '../support/provider-pool.ts'

/** Providers `a` (chunks 1 and 2), `b` (chunk 2) and `c` (nothing). */
async function setUp() {
  const pool = await ProviderPool.start('abc')
  const [first, second] = [sampleChunk(1), sampleChunk(2)]
  await pool.get('a').store.put(first.id, first.bytes)
  for (const id of ['a', 'b']) await pool.get(id).store.put(second.id, second.bytes)
  const logger = noLogger.forComponent('test')
  const locator = new ChunkLocator({ directory: pool, providers: pool.manager, logger })
  const locate = async (ids: readonly ChunkId[], options: LocateOptions = {}) => {
    const unanswered = new Set<ProviderId | undefined>()
    const onUnanswered = (id: ProviderId | undefined): void => void unanswered.add(id)
    const found = await locator.locate(ids, { ...options, onUnanswered })
    return { found, unanswered: [...unanswered] }
  }
  return { pool, locator, locate, ids: [first.id, second.id] }
}

const silence = async (): Promise<void> => {
  throw new Error('not there')
}

test('names the providers of each chunk with one question to each', async () => {
  const { pool, locate, ids } = await setUp()

  const { found, unanswered } = await locate([...ids, sampleChunk(9).id, ZERO_CHUNK_ID])

  expect(found).toEqual([['a'], ['a', 'b'], [], []])
  expect(unanswered).toEqual([])
  expect(['a', 'b', 'c'].map((id) => pool.get(id).calls.has)).toEqual([1, 1, 1])
})

test('asks only those that it shall', async () => {
  const { pool, locate, ids } = await setUp()

  const { found } = await locate(ids, { among: [['b'], ['b']] })

  expect(found).toEqual([[], ['b']])
  expect(['a', 'b', 'c'].map((id) => pool.get(id).calls.has)).toEqual([0, 1, 0])
})

test('waits once for a provider that hangs, and then asks the others only', async () => {
  const { pool, ids } = await setUp()
  const logger = noLogger.forComponent('test')
  const components = { directory: pool, providers: pool.manager, logger }
  const locator = new ChunkLocator(components, { timeoutMs: 20 })
  pool.get('a').onCall = async (_call, { signal }) =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))

  const first = await locator.locate(ids)
  const second = await locator.locate(ids)

  expect([first, second]).toEqual([
    [[], ['b']],
    [[], ['b']]
  ])
  expect(['a', 'b'].map((id) => pool.get(id).calls.has)).toEqual([1, 2])
})

describe('tells who gave no answer', () => {
  test('because it failed', async () => {
    const { pool, locate, ids } = await setUp()
    pool.get('b').onCall = silence

    const { found, unanswered } = await locate(ids)

    expect(found).toEqual([['a'], ['a']])
    expect(unanswered).toEqual(['b'])
  })

  test('because it is not live', async () => {
    const { pool, locate, ids } = await setUp()
    await pool.manager.reportFailure('a')

    const { unanswered } = await locate(ids, { among: [['a'], ['a', 'b']] })

    expect(unanswered).toEqual(['a'])
  })

  test('because nobody knows it', async () => {
    const { locate, ids } = await setUp()

    const { found, unanswered } = await locate(ids, { among: [['a'], ['x', 'a']] })

    expect(found).toEqual([['a'], ['a']])
    expect(unanswered).toEqual(['x'])
  })

  test('because not even the list of providers is there', async () => {
    const { pool, locate, ids } = await setUp()
    pool.manager.list = silence as never

    const { found, unanswered } = await locate(ids)

    expect(found).toEqual([[], []])
    expect(unanswered).toEqual([undefined])
  })

  test('but not of those that were not to be asked', async () => {
    const { pool, locate, ids } = await setUp()
    pool.get('c').onCall = silence

    const { unanswered } = await locate(ids, { among: [['a'], ['b']] })

    expect(unanswered).toEqual([])
  })
})
