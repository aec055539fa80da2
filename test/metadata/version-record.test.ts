import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { HASH_CODE } from '../../src/chunks/chunk-id.ts'
import { MalformedError } from '../../src/lib/errors.ts'
import { MetadataLimitError, UntrustedSignatureError } from '../../src/metadata/errors.ts'
import type { VersionRecord } from '../../src/metadata/sealing-types.ts'
import {
  decodeVersionRecord,
  encodeVersionRecord,
  signRecord,
  verifyRecord,
  versionRecordName
} from '../../src/metadata/version-record.ts'
import { testSigner, trusting } from '../support/signing.ts'

const BLOB = 'ab'.repeat(32)

const record: VersionRecord = {
  blob: BLOB,
  version: 3,
  bytes: 1_000_000,
  chunkBytes: 65_536,
  hashCode: HASH_CODE,
  manifestRoot: new Uint8Array(32).fill(7),
  parent: { blob: BLOB, version: 2 },
  timeMs: 1_700_000_000_000,
  note: 'änderung'
}

const anyCount = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const anyBlob = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))
const anyRecord: fc.Arbitrary<VersionRecord> = fc.record({
  blob: anyBlob,
  version: anyCount,
  bytes: anyCount,
  chunkBytes: fc.integer({ min: 16, max: 24 }).map((log) => 2 ** log),
  hashCode: fc.constant(HASH_CODE),
  manifestRoot: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  parent: fc.option(fc.record({ blob: anyBlob, version: anyCount }), { nil: undefined }),
  timeMs: anyCount,
  note: fc.string({ unit: 'grapheme', maxLength: 40 })
})

test('gives a record back as it was encoded', () => {
  fc.assert(
    fc.property(anyRecord, (some) => {
      expect(decodeVersionRecord(encodeVersionRecord(some))).toEqual(some)
    })
  )
})

test('refuses any bytes that are no record', () => {
  const encoded = encodeVersionRecord(record)
  fc.assert(
    fc.property(fc.nat(encoded.byteLength - 1), fc.nat(255), (place, value) => {
      const changed = new Uint8Array(encoded)
      changed[place] = value
      try {
        expect(encodeVersionRecord(decodeVersionRecord(changed))).toEqual(changed)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    })
  )
})

test('refuses a record that is cut off at any place', () => {
  const encoded = encodeVersionRecord(record)

  for (let length = 0; length < encoded.byteLength; length++) {
    expect(() => decodeVersionRecord(encoded.subarray(0, length))).toThrow(MalformedError)
  }
})

test('refuses a note that is too long', () => {
  expect(() => encodeVersionRecord({ ...record, note: 'x'.repeat(1025) })).toThrow(
    MetadataLimitError
  )
})

test('verifies a record that a trusted manager signed', () => {
  const signer = testSigner()
  const { envelope } = signRecord(signer, record)

  expect(verifyRecord(trusting(signer), envelope, record).record).toEqual(record)
})

test('does not take the record of one version for that of another', () => {
  const signer = testSigner()
  const { envelope } = signRecord(signer, record)

  expect(() => verifyRecord(trusting(signer), envelope, { blob: BLOB, version: 4 })).toThrow(
    UntrustedSignatureError
  )
})

test('does not trust a record that somebody else signed', () => {
  const { envelope } = signRecord(testSigner(2), record)

  expect(() => verifyRecord(trusting(testSigner(1)), envelope)).toThrow(UntrustedSignatureError)
})

test('names the record after blob and version', () => {
  expect(versionRecordName(BLOB, 3)).toBe(`version/${BLOB}/3`)
})
