import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import {
  decodeModeEHeader,
  encodeModeEHeader,
  MODE_E_CLOSE,
  MODE_E_EOD,
  MODE_E_EOF,
  MODE_E_HEADER_BYTES,
  modeEPayloadBytes
} from '../../src/gridftp/mode-e-header.ts'
import { fromHex, toHex } from '../../src/lib/bytes.ts'
import { MalformedError } from '../../src/lib/errors.ts'

const u64 = fc.oneof(fc.maxSafeNat(), fc.nat(), fc.constant(Number.MAX_SAFE_INTEGER))
const header = fc.record({ flags: fc.nat(255), count: u64, offset: u64 })

test('decodes what it encoded, at any place of a buffer', () => {
  fc.assert(
    fc.property(header, fc.uint8Array({ maxLength: 40 }), (original, before) => {
      const encoded = Buffer.concat([before, encodeModeEHeader(original), before])

      expect(decodeModeEHeader(encoded, before.byteLength)).toEqual(original)
    })
  )
})

test('any bytes are decoded to themselves or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        const again = encodeModeEHeader(decodeModeEHeader(bytes))
        expect(toHex(again)).toBe(toHex(bytes.subarray(0, MODE_E_HEADER_BYTES)))
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    })
  )
})

test('writes the bytes seen on the wire of globus-url-copy', () => {
  const block = encodeModeEHeader({ flags: 0, count: 262_144, offset: 262_144 })
  const end = encodeModeEHeader({ flags: MODE_E_EOF | MODE_E_EOD, count: 0, offset: 3 })

  expect(toHex(block)).toBe('0000000000000400000000000000040000')
  expect(toHex(end)).toBe('4800000000000000000000000000000003')
})

test('an EOF header announces no payload, whatever its count', () => {
  expect(modeEPayloadBytes({ flags: MODE_E_EOF | MODE_E_CLOSE, count: 5, offset: 1 })).toBe(0)
  expect(modeEPayloadBytes({ flags: MODE_E_EOD, count: 5, offset: 1 })).toBe(5)
})

test('refuses counts and offsets that are not safe integers', () => {
  expect(() => decodeModeEHeader(fromHex(`00${'ff'.repeat(8)}${'00'.repeat(8)}`))).toThrow(/count/)
  expect(() =>
    decodeModeEHeader(fromHex(`00${'00'.repeat(8)}${'00200000'.padEnd(16, '0')}`))
  ).toThrow(/offset/)
  expect(() => encodeModeEHeader({ flags: 0, count: -1, offset: 0 })).toThrow(RangeError)
  expect(() => encodeModeEHeader({ flags: 0, count: 0, offset: 2 ** 53 })).toThrow(RangeError)
  expect(() => encodeModeEHeader({ flags: 256, count: 0, offset: 0 })).toThrow(/flags/)
})

test('refuses fewer than 17 bytes', () => {
  expect(() => decodeModeEHeader(new Uint8Array(16))).toThrow(MalformedError)
  expect(() => decodeModeEHeader(new Uint8Array(20), 4)).toThrow(MalformedError)
})
