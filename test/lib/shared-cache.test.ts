import { expect, test } from '@jest/globals'
import { SharedCache } from '../../src/lib/shared-cache.ts'

test('loads a value once for all who ask at the same time', async () => {
  const cache = new SharedCache<number>(2)
  let loads = 0
  const load = async (): Promise<number> => ++loads

  const values = await Promise.all([cache.get('a', load), cache.get('a', load)])

  expect(values).toEqual([1, 1])
  expect(await cache.get('a', load)).toBe(1)
})

test('forgets the value that was not used for longest', async () => {
  const cache = new SharedCache<string>(2)
  const loads: string[] = []
  const get = (key: string): Promise<string> =>
    cache.get(key, async () => {
      loads.push(key)
      return key
    })

  for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) await get(key)

  expect(loads).toEqual(['a', 'b', 'c', 'b'])
  expect(cache.size).toBe(2)
})

test('does not remember a failure', async () => {
  const cache = new SharedCache<number>(2)
  const failing = cache.get('a', async () => {
    throw new Error('no')
  })
  await expect(failing).rejects.toThrow('no')

  expect(await cache.get('a', async () => 1)).toBe(1)
})

test('aborts a load when the last who waits for it gives up', async () => {
  const cache = new SharedCache<number>(2)
  const { promise: aborted, resolve } = Promise.withResolvers<void>()
  const load = (signal: AbortSignal): Promise<number> => {
    signal.addEventListener('abort', () => resolve())
    return Promise.withResolvers<number>().promise
  }
  const first = new AbortController()
  const second = new AbortController()
  const asked = [first, second].map(({ signal }) => cache.get('a', load, { signal }))

  first.abort(new Error('first'))
  await expect(asked[0]).rejects.toThrow('first')
  second.abort(new Error('second'))

  await expect(asked[1]).rejects.toThrow('second')
  await aborted
})
