import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { ByteReader, ByteWriter } from '../../src/lib/bytes.ts'

const someField = fc.oneof(
  fc.record({ kind: fc.constant('u8' as const), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('u16' as const), value: fc.nat(65_535) }),
  fc.record({ kind: fc.constant('u32' as const), value: fc.nat(2 ** 32 - 1) }),
  fc.record({ kind: fc.constant('u64' as const), value: fc.maxSafeNat() })
)

test('fields come back in their order, wherever the array had to grow', () => {
  fc.assert(
    fc.property(fc.array(someField, { maxLength: 60 }), fc.nat(64), (fields, expectedBytes) => {
      const writer = new ByteWriter(expectedBytes)
      for (const { kind, value } of fields) writer[kind](value)

      const reader = new ByteReader(writer.finish(), 'fields')
      expect(fields.map(({ kind }) => reader[kind]())).toEqual(fields.map(({ value }) => value))
      reader.end()
    })
  )
})

test('text comes back, and only as UTF-8', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => {
      expect(new ByteReader(new ByteWriter().text(text).finish(), 'text').text()).toBe(text)
    })
  )
  const reader = new ByteReader(Uint8Array.of(0, 1, 0xff), 'text')
  expect(() => reader.text()).toThrow('not UTF-8')
})
