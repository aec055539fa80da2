import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { concatBytes } from '../../../src/lib/bytes.ts'
import { MalformedError } from '../../../src/lib/errors.ts'
import {
  decodeStoreRequest,
  encodeStoreRequest,
  MAX_HAS_IDS,
  MAX_PART_BYTES,
  partsOf,
  type StoreRequest
} from '../../../src/peer/protocols/store.ts'
import {
  decodeStoreAnswer,
  encodeStoreAnswer,
  type StoreAnswer
} from '../../../src/peer/protocols/store-answers.ts'

const request = fc.integer({ min: 0, max: 0xff_ff_ff_ff })
const id = fc.uint8Array({ minLength: 32, maxLength: 32 })
const part = fc.uint8Array({ minLength: 1, maxLength: 300 })
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name)
const length = fc.integer({ min: 300, max: 16 * 2 ** 20 })

const collection = fc
  .array(fc.integer({ min: 33, max: 126 }), { minLength: 1, maxLength: 64 })
  .map((codes) => String.fromCharCode(...codes))

const requests: fc.Arbitrary<StoreRequest> = fc.oneof(
  fc.record({ kind: kind('put'), request, id, length, part }),
  fc.record({ kind: kind('part'), request, part }),
  fc.record({
    kind: kind('has'),
    request,
    ids: fc.array(id, { minLength: 1, maxLength: 40 })
  }),
  fc.record({ kind: kind('get'), request, id }),
  fc.record({ kind: kind('cancel'), request }),
  fc.record({ kind: kind('begin'), request }),
  fc.record({
    kind: kind('list'),
    request,
    collection,
    after: fc.option(id, { nil: undefined })
  }),
  fc.record({
    kind: kind('collect'),
    request,
    order: fc.record({
      payload: fc.uint8Array({ maxLength: 300 }),
      signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
      certificate: fc.uint8Array({ maxLength: 100 })
    })
  })
)

const answers: fc.Arbitrary<StoreAnswer> = fc.oneof(
  fc.record({ kind: kind('stored'), request }),
  fc.record({
    kind: kind('held'),
    request,
    held: fc.array(fc.boolean(), { minLength: 1, maxLength: MAX_HAS_IDS })
  }),
  fc.record({ kind: kind('chunk'), request, length, part }),
  fc.record({ kind: kind('more'), request, part }),
  fc.record({ kind: kind('absent'), request }),
  fc.record({
    kind: kind('failure'),
    request,
    code: fc.constantFrom('ERR_STORE_FULL', 'ERR_INTERNAL'),
    message: fc.string()
  }),
  fc.record({ kind: kind('begun'), request, collection }),
  fc.record({ kind: kind('listed'), request, ids: fc.array(id, { maxLength: 40 }) }),
  fc.record({
    kind: kind('collected'),
    request,
    collected: fc.record({ count: request, bytes: fc.maxSafeNat() })
  })
)

describe('messages of store/1', () => {
  test('survive encoding and decoding', () => {
    fc.assert(
      fc.property(requests, answers, (sent, answered) => {
        expect(decodeStoreRequest(concatBytes(encodeStoreRequest(sent)))).toEqual(sent)
        expect(decodeStoreAnswer(concatBytes(encodeStoreAnswer(answered)))).toEqual(answered)
      })
    )
  })

  test('made of any bytes are refused or read, never worse', () => {
    const requestKinds = [1, 2, 3, 4, 5, 6, 7, 8]
    const kinds = fc.constantFrom(...requestKinds, 16, 17, 18, 19, 20, 21, 22, 23, 24, 99)
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 120 }), (first, rest) => {
        for (const decode of [decodeStoreRequest, decodeStoreAnswer]) {
          try {
            decode(Uint8Array.from([first, ...rest]))
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedError)
          }
        }
      }),
      { numRuns: 500 }
    )
  })

  test.each([
    ['an encoding that is not known', { encoding: 1, length: 10, part: 10 }],
    ['a chunk of no bytes', { encoding: 0, length: 0, part: 10 }],
    ['a chunk that is too long', { encoding: 0, length: 16 * 2 ** 20 + 1, part: 10 }],
    ['a part of no bytes', { encoding: 0, length: 10, part: 0 }],
    ['a part longer than its chunk', { encoding: 0, length: 10, part: 11 }],
    ['a part that is too long', { encoding: 0, length: 2 ** 20, part: MAX_PART_BYTES + 1 }]
  ])('with %s are refused', (_, fields) => {
    const head = Buffer.alloc(10)
    head.writeUInt8(18, 0)
    head.writeUInt8(fields.encoding, 5)
    head.writeUInt32BE(fields.length, 6)

    const message = concatBytes([head, new Uint8Array(fields.part)])

    expect(() => decodeStoreAnswer(message)).toThrow(MalformedError)
  })

  test.each([
    ['is empty', ''],
    ['is too long', 'x'.repeat(65)],
    ['has a space', 'a b']
  ])('with a name of a collection that %s are refused', (_, name) => {
    const list = { kind: 'list', request: 1, collection: name, after: undefined } as const
    const begun = { kind: 'begun', request: 1, collection: name } as const

    expect(() => decodeStoreRequest(concatBytes(encodeStoreRequest(list)))).toThrow(MalformedError)
    expect(() => decodeStoreAnswer(concatBytes(encodeStoreAnswer(begun)))).toThrow(MalformedError)
  })

  test('carry a large chunk in parts of at most 256 KiB without copying', () => {
    const bytes = new Uint8Array(2 * MAX_PART_BYTES + 5)

    const parts = partsOf(bytes)

    expect(parts.map(({ byteLength }) => byteLength)).toEqual([MAX_PART_BYTES, MAX_PART_BYTES, 5])
    expect(parts.every(({ buffer }) => buffer === bytes.buffer)).toBe(true)
  })
})
