import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  decodeDeletions,
  decodeSegmentHeader,
  decodeSegmentIndex,
  encodeDeadHeader,
  encodeDeletions,
  encodeSegmentHeader,
  encodeSegmentIndex,
  RECORD_HEADER_BYTES,
  readRecordHeader,
  writeRecordHeader
} from '../../src/chunks/segment-format.ts'
import { toHex } from '../../src/lib/bytes.ts'

const nonce = fc.uint8Array({ minLength: 8, maxLength: 8 })
const number = fc.nat(2 ** 32 - 1)
const record = fc.record({
  id: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  offset: number,
  bytes: number
})

describe('a record', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(nonce, record, fc.nat(100), (secret, written, at) => {
        const target = Buffer.alloc(200)
        writeRecordHeader(target, at, secret, written)

        const header = target.subarray(at, at + RECORD_HEADER_BYTES)
        expect(readRecordHeader(header, secret, written.offset)).toEqual(written)
      })
    )
  })

  test('is none at another place, in another segment, or with a byte changed', () => {
    fc.assert(
      fc.property(nonce, record, fc.nat(RECORD_HEADER_BYTES - 1), (secret, written, at) => {
        const header = Buffer.alloc(RECORD_HEADER_BYTES)
        writeRecordHeader(header, 0, secret, written)
        const otherSecret = secret.map((byte) => byte ^ 1)
        const otherOffset = (written.offset + 1) % 2 ** 32

        expect(readRecordHeader(header, otherSecret, written.offset)).toBeUndefined()
        expect(readRecordHeader(header, secret, otherOffset)).toBeUndefined()
        header[at] = (header[at] ?? 0) ^ 1
        expect(readRecordHeader(header, secret, written.offset)).toBeUndefined()
      })
    )
  })
})

test('an index is read as it was written', () => {
  const records = fc.array(record, { maxLength: 20 })
  fc.assert(
    fc.property(nonce, number, records, (secret, endBytes, written) => {
      const encoded = encodeSegmentIndex({ nonce: secret, endBytes, records: written })

      const found = decodeSegmentIndex(encoded)
      expect(found?.nonce).toEqual(secret)
      expect(found?.endBytes).toBe(endBytes)
      const ids = written.map(({ id }) => toHex(id))
      expect(Array.from(found?.records ?? [], ({ id }) => toHex(id))).toEqual(ids)
      expect(Array.from(found?.records ?? [], ({ offset, bytes }) => [offset, bytes])).toEqual(
        written.map(({ offset, bytes }) => [offset, bytes])
      )
    })
  )
})

test('an index that is not whole is none', () => {
  const records = [{ id: new Uint8Array(32), offset: 16, bytes: 100 }]
  const encoded = encodeSegmentIndex({ nonce: new Uint8Array(8), endBytes: 164, records })

  for (let length = 0; length < encoded.byteLength; length++) {
    expect(decodeSegmentIndex(encoded.subarray(0, length))).toBeUndefined()
  }
  for (let at = 0; at < encoded.byteLength; at++) {
    const changed = Uint8Array.from(encoded)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(decodeSegmentIndex(changed)).toBeUndefined()
  }
})

test('deletions are read as they were written, whatever stands between and after them', () => {
  const offsets = fc.uniqueArray(number, { maxLength: 10 })
  const rubbish = fc.uint8Array({ maxLength: 7 })
  fc.assert(
    fc.property(nonce, offsets, offsets, rubbish, (secret, before, after, torn) => {
      const encoded = Buffer.concat([
        encodeDeadHeader(secret),
        encodeDeletions(secret, before),
        new Uint8Array(8),
        encodeDeletions(secret, after),
        torn
      ])

      expect(decodeDeletions(encoded, secret)).toEqual(new Set([...before, ...after]))
      const other = secret.map((byte) => byte ^ 1)
      expect(decodeDeletions(encoded, other)).toEqual(new Set())
    })
  )
})

test('any bytes are read without harm', () => {
  fc.assert(
    fc.property(nonce, fc.uint8Array({ maxLength: 300 }), number, (secret, bytes, offset) => {
      decodeSegmentHeader(bytes)
      readRecordHeader(bytes, secret, offset)
      decodeSegmentIndex(bytes)
      decodeDeletions(bytes, secret)
      decodeDeletions(Buffer.concat([encodeDeadHeader(secret), bytes]), secret)
    })
  )
})

test('a header tells the nonce', () => {
  fc.assert(
    fc.property(nonce, (secret) => {
      expect(decodeSegmentHeader(encodeSegmentHeader(secret))).toEqual(secret)
    })
  )
})
