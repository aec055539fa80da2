import { describe, expect, test } from '@jest/globals'
import {
  CHUNK_ID_BYTES,
  chunkId,
  chunkIdOfKey,
  chunkKey,
  HASH_CODE,
  hashImplementation,
  isZeroChunk,
  verifyChunk,
  ZERO_CHUNK_ID
} from '../../src/chunks/chunk-id.ts'
import { portableBlake3 } from '../../src/lib/blake3.ts'
import { toHex } from '../../src/lib/bytes.ts'

// From test_vectors.json of BLAKE3-team/BLAKE3: the input repeats the bytes 0 … 250.
const VECTORS = [
  [0, 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
  [1, '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213'],
  [1023, '10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11'],
  [1024, '42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7'],
  [1025, 'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444'],
  [6145, 'f1323a8631446cc50536a9f705ee5cb619424d46887f3c376c695b70e0f0507f']
] as const

const vectorInput = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index % 251)

describe('a chunk id', () => {
  test.each(VECTORS)(
    'is the published BLAKE3 of %d bytes, natively and portably',
    (length, hex) => {
      const input = vectorInput(length)

      expect(toHex(chunkId(input))).toBe(hex)
      expect(toHex(portableBlake3(input))).toBe(hex)
    }
  )

  test('is computed by native code where its binary is installed', () => {
    expect(hashImplementation).toBe('native')
    expect(HASH_CODE).toBe(0x1e)
  })

  test('of a view covers the view alone', () => {
    const whole = vectorInput(1025)

    expect(chunkId(whole.subarray(1, 1025))).toEqual(chunkId(whole.slice(1)))
  })

  test('survives the way to a map key and back, with every byte value', () => {
    const id = Uint8Array.from({ length: CHUNK_ID_BYTES }, (_, index) => (index * 37) & 0xff)

    expect(chunkIdOfKey(chunkKey(id))).toEqual(id)
    expect(chunkKey(id)).toHaveLength(CHUNK_ID_BYTES)
  })

  test('is zero only if all of its bytes are', () => {
    const almost = new Uint8Array(CHUNK_ID_BYTES)
    almost[31] = 1

    expect(isZeroChunk(ZERO_CHUNK_ID)).toBe(true)
    expect(isZeroChunk(almost)).toBe(false)
  })
})

describe('verifying a chunk', () => {
  test('accepts the bytes that the id names', () => {
    const bytes = vectorInput(4096)

    expect(() => verifyChunk(chunkId(bytes), bytes)).not.toThrow()
  })

  test('refuses bytes that are not the chunk, naming both', () => {
    const bytes = vectorInput(4096)
    const id = chunkId(bytes)
    bytes[17] = 0

    expect(() => verifyChunk(id, bytes)).toThrow(
      expect.objectContaining({
        code: 'ERR_CHUNK_MISMATCH',
        expected: toHex(id),
        actual: toHex(chunkId(bytes))
      })
    )
  })
})
