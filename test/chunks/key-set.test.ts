import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { KeySet } from '../../src/chunks/key-set.ts'
import { toHex } from '../../src/lib/bytes.ts'

const hashed = (seed: number): Uint8Array => chunkId(Uint8Array.of(seed, seed >> 8, seed >> 16))
/** Keys that differ in few bits, the one of zeros among them. */
const sparse = (seed: number): Uint8Array => {
  const key = new Uint8Array(32)
  key[seed % 16] = Math.floor(seed / 16)
  return key
}

test.each([
  ['hashes', hashed],
  ['keys that differ in few bits', sparse]
])('is a set, for %s', (_, keyOf) => {
  fc.assert(
    fc.property(fc.array(fc.nat(300), { maxLength: 400 }), fc.nat(), (seeds, secret) => {
      const set = new KeySet(secret)
      const model = new Set<string>()

      const added = seeds.filter((seed) => set.add(keyOf(seed)))

      const addedToModel = seeds.filter((seed) => {
        const { size } = model
        return model.add(toHex(keyOf(seed))).size > size
      })
      expect(added).toEqual(addedToModel)
      expect(set.size).toBe(model.size)
      const all = Array.from({ length: 301 }, (_entry, seed) => keyOf(seed))
      const held = all.filter((key) => set.has(key)).map(toHex)
      expect(held).toEqual(all.map(toHex).filter((text) => model.has(text)))
    }),
    { numRuns: 40 }
  )
})

test('grows to many keys', () => {
  const set = new KeySet()

  for (let seed = 0; seed < 20_000; seed++) set.add(hashed(seed))

  expect(set.size).toBe(20_000)
  const held = Array.from({ length: 25_000 }, (_, seed) => set.has(hashed(seed)))
  expect(held.lastIndexOf(true)).toBe(19_999)
  expect(held.indexOf(false)).toBe(20_000)
})

test('looks at the first 16 bytes only', () => {
  const set = new KeySet()
  const longer = new Uint8Array(40).fill(7)

  set.add(longer)

  expect(set.has(longer.subarray(0, 16))).toBe(true)
  expect(set.has(longer.fill(8, 15, 16))).toBe(false)
})

test('does not keep the array of a key', () => {
  const set = new KeySet()
  const key = new Uint8Array(16).fill(1)

  set.add(key)
  key.fill(2)

  expect(set.has(new Uint8Array(16).fill(1))).toBe(true)
  expect(set.has(key)).toBe(false)
})

test('is empty after clear', () => {
  const set = new KeySet()
  for (let seed = 0; seed < 100; seed++) set.add(sparse(seed))

  set.clear()

  expect(set.size).toBe(0)
  expect(set.has(sparse(0))).toBe(false)
  expect(set.add(sparse(0))).toBe(true)
})

test('refuses keys that are too short to be hashes', () => {
  const set = new KeySet()

  expect(() => set.add(new Uint8Array(15))).toThrow(RangeError)
  expect(() => set.has(new Uint8Array(0))).toThrow(RangeError)
})
