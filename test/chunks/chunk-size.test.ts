import { expect, test } from '@jest/globals'
import { autoChunkBytes, checkChunkBytes, chunkCountOf } from '../../src/chunks/chunk-size.ts'
import { GIB, KIB, MIB } from '../../src/lib/bytes.ts'

test.each([
  [undefined, 256 * KIB],
  [100 * GIB, 256 * KIB],
  [256 * MIB, 256 * KIB],
  [256 * MIB - 1, 128 * KIB],
  [128 * MIB, 128 * KIB],
  [64 * MIB, 64 * KIB],
  [1, 64 * KIB],
  [0, 64 * KIB]
])('an image announced with %p bytes gets chunks of %d', (announced, chunkBytes) => {
  expect(autoChunkBytes(announced)).toBe(chunkBytes)
})

test.each([0, 1, 32 * KIB, 65 * KIB, 32 * MIB, Number.NaN, -64 * KIB])(
  'refuses chunks of %d bytes',
  (chunkBytes) => {
    expect(() => checkChunkBytes(chunkBytes)).toThrow(RangeError)
  }
)

test('counts the last, shorter chunk', () => {
  const sizes = [0, 1, 64 * KIB, 64 * KIB + 1]

  expect(sizes.map((bytes) => chunkCountOf(bytes, 64 * KIB))).toEqual([0, 1, 1, 2])
})
