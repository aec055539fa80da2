import { expect, test } from '@jest/globals'
import { encode } from 'cborg'
import * as fc from 'fast-check'
import { z } from 'zod'
import { LimitExceededError, MalformedError } from '../../src/lib/errors.ts'
import {
  boundedBytes,
  boundedText,
  defineMessage,
  exactBytes,
  naturalNumber
} from '../../src/peer/codec.ts'

const message = defineMessage(
  z.strictObject({
    count: naturalNumber,
    id: exactBytes(4),
    payload: boundedBytes(100).optional(),
    note: boundedText(20)
  }),
  { name: 'test message', maxBytes: 256 }
)
const sample = { count: 3, id: Uint8Array.of(1, 2, 3, 4), note: 'grüße' }

test('decodes what it encoded', () => {
  const messages = fc.record(
    {
      count: fc.maxSafeNat(),
      id: fc.uint8Array({ minLength: 4, maxLength: 4 }),
      payload: fc.uint8Array({ maxLength: 100 }),
      note: fc.string({ maxLength: 20 })
    },
    { requiredKeys: ['count', 'id', 'note'] }
  )
  fc.assert(
    fc.property(messages, (value) => {
      expect(message.decode(message.encode(value))).toEqual(value)
    })
  )
})

test('encodes equal values as equal bytes', () => {
  const { count, id, note } = sample

  expect(message.encode({ note, id, count })).toEqual(message.encode({ count, id, note }))
})

test('decodes byte strings into arrays of their own', () => {
  const bytes = Buffer.from(message.encode(sample))

  const { id } = message.decode(bytes)
  bytes.fill(0)

  expect(id).toEqual(sample.id)
})

test.each([
  ['nothing', new Uint8Array()],
  ['another shape', encode({ count: 1 })],
  ['an unknown property', encode({ ...sample, more: 1 })],
  ['a negative count', encode({ ...sample, count: -1 })],
  ['a count beyond 2^53', encode({ ...sample, count: 2n ** 60n })],
  ['an id that is too long', encode({ ...sample, id: new Uint8Array(5) })],
  ['a second value', Buffer.concat([message.encode(sample), encode(1)])],
  ['a duplicate key', Uint8Array.from([0xa2, 0x61, 0x61, 1, 0x61, 0x61, 2])],
  ['an indefinite length', Uint8Array.from([0xbf, 0xff])],
  ['nesting without end', new Uint8Array(256).fill(0x81)],
  ['more bytes than allowed', new Uint8Array(257)]
])('refuses %s', (_name, bytes) => {
  expect(() => message.decode(bytes)).toThrow(MalformedError)
})

test('refuses to encode more than it would decode', () => {
  const short = defineMessage(z.object({ text: z.string() }), { maxBytes: 20 })

  expect(() => short.encode({ text: 'x'.repeat(20) })).toThrow(LimitExceededError)
})

test('throws nothing but MalformedError on any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        message.decode(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    })
  )
})
