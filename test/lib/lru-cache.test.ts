import { describe, expect, test } from '@jest/globals'
import { LruCache } from '../../src/lib/lru-cache.ts'

describe('an LRU cache', () => {
  test('forgets the longest unused when it is full', () => {
    const cache = new LruCache<string>(30)
    for (const key of ['a', 'b', 'c']) cache.set(key, key, 10)

    cache.get('a')
    cache.set('d', 'd', 10)

    expect(['a', 'b', 'c', 'd'].map((key) => cache.get(key))).toEqual(['a', undefined, 'c', 'd'])
    expect(cache.usedBytes).toBe(30)
  })

  test('makes room for a large value at the cost of several', () => {
    const cache = new LruCache<string>(30)
    for (const key of ['a', 'b', 'c']) cache.set(key, key, 10)

    cache.set('d', 'd', 15)

    expect(['a', 'b', 'c', 'd'].map((key) => cache.get(key))).toEqual([
      undefined,
      undefined,
      'c',
      'd'
    ])
  })

  test('does not keep what is larger than itself, and forgets what was there under its key', () => {
    const cache = new LruCache<string>(30)
    cache.set('a', 'old', 10)

    cache.set('a', 'new', 31)

    expect(cache.get('a')).toBeUndefined()
    expect(cache.usedBytes).toBe(0)
  })

  test('counts a value that is set again once', () => {
    const cache = new LruCache<string>(30)

    cache.set('a', 'old', 10)
    cache.set('a', 'new', 20)
    cache.delete('b')

    expect(cache.get('a')).toBe('new')
    expect(cache.usedBytes).toBe(20)
  })
})
