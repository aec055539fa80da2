import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
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

  test('keeps what a list in order of use would keep', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
    const step = fc.record({
      does: fc.constantFrom('get', 'set', 'delete'),
      key,
      bytes: fc.nat(12)
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const cache = new LruCache<number>(20)
        let model: { key: string; value: number; bytes: number }[] = []
        for (const [value, { does, key: name, bytes }] of steps.entries()) {
          const entry = model.find((one) => one.key === name)
          if (does === 'get') expect(cache.get(name)).toBe(entry?.value)
          if (does === 'set') cache.set(name, value, bytes)
          if (does === 'delete') cache.delete(name)
          model = model.filter((one) => one.key !== name)
          if (does === 'get' && entry !== undefined) model.push(entry)
          if (does === 'set') model.push({ key: name, value, bytes })
          while (model.reduce((sum, one) => sum + one.bytes, 0) > 20) model.shift()
        }
        for (const { key: name, value } of model) expect(cache.get(name)).toBe(value)
        expect(cache.usedBytes).toBe(model.reduce((sum, one) => sum + one.bytes, 0))
      })
    )
  })
})
