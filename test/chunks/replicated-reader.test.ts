import { describe, expect, test } from '@jest/globals'
import { ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ReplicatedReader } from '../../src/chunks/replicated-reader.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { ProviderPool } from '../support/provider-pool.ts'

const readerOver = (pool: ProviderPool, localId?: string): ReplicatedReader =>
  new ReplicatedReader({
    directory: pool,
    providers: pool.manager,
    random: seededRandom(2),
    localId
  })
const { id, bytes } = sampleChunk(1)
const store = async (pool: ProviderPool, names: string): Promise<void> => {
  for (const name of names) await pool.get(name).store.put(id, bytes)
}
const isDown = async (): Promise<void> => {
  throw new Error('connection refused')
}

describe('reading a chunk', () => {
  test('asks the providers of the hint alone, the local one first', async () => {
    const pool = await ProviderPool.start('abcd')
    await store(pool, 'abc')

    expect(await readerOver(pool, 'b').read(id, ['a', 'b', 'c'])).toEqual(bytes)

    const gets = Array.from(pool.providers.values(), ({ calls }) => calls.get)
    expect(gets).toEqual([0, 1, 0, 0])
  })

  test('spreads over the providers of the hint', async () => {
    const pool = await ProviderPool.start('abc')
    await store(pool, 'abc')
    const reader = readerOver(pool)

    for (let turn = 0; turn < 90; turn++) await reader.read(id, ['a', 'b', 'c'])

    for (const { calls } of pool.providers.values()) expect(calls.get).toBeGreaterThan(15)
  })

  test('goes on to the next when one fails, does not have it or is unknown', async () => {
    const pool = await ProviderPool.start('abc')
    await store(pool, 'ac')
    pool.get('a').onCall = isDown

    expect(await readerOver(pool).read(id, ['a', 'b', 'c', 'nobody', 'a'])).toEqual(bytes)
    expect(pool.get('a').calls.get).toBeLessThanOrEqual(1)
  })

  test('asks without getting a lease, so that reading keeps no surplus copy', async () => {
    const pool = await ProviderPool.start('ab')
    await store(pool, 'b')

    expect(await readerOver(pool).read(id, [])).toEqual(bytes)

    const asked = Array.from(pool.providers.values(), ({ calls }) => calls.has)
    expect(asked).toEqual([0, 0])
  })

  test('asks everybody who is not dead when the hint is wrong or empty', async () => {
    const pool = await ProviderPool.start('abcdef')
    await store(pool, 'e')
    pool.get('b').onCall = isDown

    expect(await readerOver(pool).read(id, ['a'])).toEqual(bytes)
    expect(await readerOver(pool).read(id, [])).toEqual(bytes)

    expect(pool.get('a').calls.get).toBe(1)
    expect(pool.get('c').calls.get).toBe(0)
  })

  test('does not wait for those that do not answer once it has been found', async () => {
    const pool = await ProviderPool.start('abc')
    await store(pool, 'c')
    for (const name of 'ab') pool.get(name).onCall = () => new Promise(() => {})

    expect(await readerOver(pool).read(id, [])).toEqual(bytes)
  })

  test('that nobody has is an error that names who was asked', async () => {
    const pool = await ProviderPool.start('abc')
    pool.get('b').onCall = isDown

    await expect(readerOver(pool).read(id, ['b'])).rejects.toMatchObject({
      code: 'ERR_CHUNK_UNAVAILABLE',
      asked: expect.arrayContaining(['a', 'b', 'c']) as unknown,
      cause: { message: 'connection refused' }
    })
  })

  test('of zeros is a mistake', async () => {
    const pool = await ProviderPool.start('a')

    await expect(readerOver(pool).read(ZERO_CHUNK_ID, [])).rejects.toThrow(RangeError)
  })

  test.each(['hint', 'search'])('ends when it is aborted during the %s', async (phase) => {
    const pool = await ProviderPool.start('ab')
    await store(pool, 'a')
    const abort = new AbortController()
    pool.get('a').onCall = async (_, { signal }) => {
      abort.abort(new Error('enough'))
      signal?.throwIfAborted()
    }
    const { signal } = abort

    await expect(
      readerOver(pool).read(id, phase === 'hint' ? ['a'] : [], { signal })
    ).rejects.toThrow('enough')
  })
})
