import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MalformedError } from '../../src/lib/errors.ts'
import { MetadataLimitError, UntrustedSignatureError } from '../../src/metadata/errors.ts'
import {
  decodeLocation,
  encodeLocation,
  signLocation,
  verifyLocation
} from '../../src/metadata/location.ts'
import type { LocationRecord } from '../../src/metadata/sealing-types.ts'
import { testSigner, trusting } from '../support/signing.ts'

const record: LocationRecord = {
  page: new Uint8Array(32).fill(9),
  sequence: 1,
  replicas: [['a', 'b'], [], ['b'], ['a', 'b'], ['c']]
}

const anyRecord: fc.Arbitrary<LocationRecord> = fc.record({
  page: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  sequence: fc.nat(),
  replicas: fc.array(fc.subarray(['a', 'b', 'c', 'd']), { maxLength: 60 })
})

test('gives a record back as it was encoded', () => {
  fc.assert(
    fc.property(anyRecord, (some) => {
      expect(decodeLocation(encodeLocation(some))).toEqual(some)
    })
  )
})

test('encodes the same sets the same way in whatever order their providers stand', () => {
  const other = { ...record, replicas: [['b', 'a', 'b'], [], ['b'], ['b', 'a'], ['c']] }

  expect(encodeLocation(other)).toEqual(encodeLocation(record))
})

test('refuses any bytes that are no record', () => {
  const encoded = encodeLocation(record)
  fc.assert(
    fc.property(fc.nat(encoded.byteLength - 1), fc.nat(255), (place, value) => {
      const changed = new Uint8Array(encoded)
      changed[place] = value
      try {
        expect(encodeLocation(decodeLocation(changed))).toEqual(changed)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    }),
    { numRuns: 1000 }
  )
})

test('costs two bytes a chunk where chunks share their replica sets', () => {
  const replicas = Array.from({ length: 1024 }, (_, i) => (i % 2 === 0 ? ['a'] : ['b']))

  expect(encodeLocation({ ...record, replicas }).byteLength).toBeLessThan(2200)
})

test('refuses more chunks than a page has', () => {
  const replicas = Array.from({ length: 1025 }, () => [])

  expect(() => encodeLocation({ ...record, replicas })).toThrow(MetadataLimitError)
})

test('verifies a record under its name, and does not take it for that of another page', () => {
  const signer = testSigner()

  const { name, sequence, envelope } = signLocation(signer, record)

  expect([name, sequence]).toEqual([`location/${'09'.repeat(32)}`, 1])
  expect(verifyLocation(trusting(signer), envelope, record.page)).toEqual(record)
  expect(() => verifyLocation(trusting(signer), envelope, new Uint8Array(32))).toThrow(
    UntrustedSignatureError
  )
})
