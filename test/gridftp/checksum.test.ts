import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  createDigest,
  findAlgorithm,
  formatChecksumFeature,
  isSumOf
} from '../../src/gridftp/checksum.ts'

async function sumOf(
  algorithm: ChecksumAlgorithm,
  ...pieces: readonly Uint8Array[]
): Promise<string> {
  const digest = await createDigest(algorithm)
  for (const piece of pieces) digest.update(piece)
  return digest.hex()
}

describe('sums that others have published', () => {
  test.each<[ChecksumAlgorithm, string, string]>([
    ['CRC32C', '123456789', 'e3069283'], // RFC 3720's polynomial, the usual check value
    ['CRC32C', '', '00000000'],
    ['CRC32C', '\0'.repeat(32), '8a9136aa'], // RFC 3720 appendix B.4
    ['ADLER32', 'Wikipedia', '11e60398'],
    ['ADLER32', '', '00000001'],
    ['ADLER32', 'a', '00620062'],
    ['MD5', 'abc', '900150983cd24fb0d6963f7d28e17f72'], // RFC 1321 appendix A.5
    ['SHA1', 'abc', 'a9993e364706816aba3e25717850c26c9cd0d89d'],
    ['SHA256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad']
  ])('%s of %j', async (algorithm, text, expected) => {
    expect(await sumOf(algorithm, Buffer.from(text))).toBe(expected)
  })
})

test.each(CHECKSUM_ALGORITHMS)('%s is the same however the bytes are cut', async (algorithm) => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 })

  await fc.assert(
    fc.asyncProperty(pieces, async (cut) => {
      const whole = await sumOf(algorithm, Buffer.concat(cut))
      expect(await sumOf(algorithm, ...cut)).toBe(whole)
      expect(isSumOf(algorithm, whole)).toBe(true)
    }),
    { numRuns: 25 }
  )
})

test('finds algorithms by their names in any case', () => {
  expect(findAlgorithm('crc32c')).toBe('CRC32C')
  expect(findAlgorithm('CRC32')).toBeUndefined()
})

test.each([
  ['too short', 'abc'],
  ['no hex', 'x'.repeat(32)],
  ['of another kind', 'a'.repeat(40)]
])('a sum that is %s is none', (_name, text) => {
  expect(isSumOf('MD5', text)).toBe(false)
})

test('FEAT tells what clients should prefer', () => {
  expect(formatChecksumFeature()).toBe(
    'CKSM MD5:10;ADLER32:10;SHA1:10;SHA256:11;SHA512:12;CRC32C:10;'
  )
})
