import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { concatBytes } from '../../../src/lib/bytes.ts'
import { MalformedError } from '../../../src/lib/errors.ts'
import {
  decodeStoreRequest,
  encodeStoreRequest,
  type StoreRequest
} from '../../../src/peer/protocols/store.ts'
import {
  decodeStoreAnswer,
  encodeStoreAnswer,
  type StoreAnswer
} from '../../../src/peer/protocols/store-answers.ts'
import {
  MAX_HAS_IDS,
  MAX_PART_BYTES,
  MAX_WORK_IDS,
  partsOf
} from '../../../src/peer/protocols/store-fields.ts'

const request = fc.integer({ min: 0, max: 0xff_ff_ff_ff })
const id = fc.uint8Array({ minLength: 32, maxLength: 32 })
const part = fc.uint8Array({ minLength: 1, maxLength: 300 })
const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name)
const length = fc.integer({ min: 300, max: 16 * 2 ** 20 })

const collection = fc
  .array(fc.integer({ min: 33, max: 126 }), { minLength: 1, maxLength: 64 })
  .map((codes) => String.fromCharCode(...codes))

const order = fc.record({
  payload: fc.uint8Array({ maxLength: 300 }),
  signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  certificate: fc.uint8Array({ maxLength: 100 })
})
const ids = fc.array(id, { minLength: 1, maxLength: 40 })
const sources = fc.array(
  fc.record({
    id: fc.string({ minLength: 1, maxLength: 60 }),
    addresses: fc.array(fc.string({ minLength: 1, maxLength: 100 }), { maxLength: 16 })
  }),
  { maxLength: 16 }
)

const requests: fc.Arbitrary<StoreRequest> = fc.oneof(
  fc.record({ kind: kind('put'), request, id, length, part }),
  fc.record({ kind: kind('part'), request, part }),
  fc.record({ kind: kind('has'), request, ids }),
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
    order
  }),
  fc.record({ kind: kind('holds'), request, ids }),
  fc.record({ kind: kind('check'), request, ids }),
  fc.record({ kind: kind('copy'), request, ids, sources }),
  fc.record({ kind: kind('trim'), request, order })
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
  }),
  fc.record({
    kind: kind('checked'),
    request,
    conditions: fc.array(
      fc.constantFrom('intact' as const, 'corrupt' as const, 'missing' as const, 'absent' as const),
      { minLength: 1, maxLength: MAX_WORK_IDS }
    )
  }),
  fc.record({ kind: kind('working'), request, doneCount: fc.nat(0xff_ff) })
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
    const requestKinds = Array.from({ length: 12 }, (_, at) => at + 1)
    const answerKinds = Array.from({ length: 11 }, (_, at) => at + 16)
    const kinds = fc.constantFrom(...requestKinds, ...answerKinds, 99)
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

  test.each([
    ['too many sources', [17, 0]],
    ['a source without a name', [1, 0, 0, 0]],
    ['too many addresses', [1, 0, 1, 97, 17]],
    ['an address of no characters', [1, 0, 1, 97, 1, 0, 0]],
    ['less than it says', [2, 0, 1, 97, 0]],
    ['more than it says', [0, 0]]
  ])('that ask for copies from %s are refused', (_, tail) => {
    const asked = { ids: [new Uint8Array(32)], sources: [] }
    const [whole] = encodeStoreRequest({ kind: 'copy', request: 1, ...asked })
    const message = concatBytes([
      whole?.subarray(0, -1) ?? new Uint8Array(0),
      Uint8Array.from(tail)
    ])

    expect(() => decodeStoreRequest(message)).toThrow(MalformedError)
  })

  test('name at most 256 chunks where that is work, and 1,024 where it is a look-up', () => {
    const many = Array.from({ length: 1025 }, () => new Uint8Array(32).fill(1))
    const asking = (what: 'has' | 'holds' | 'check', count: number): Uint8Array =>
      concatBytes(encodeStoreRequest({ kind: what, request: 1, ids: many.slice(0, count) }))

    for (const what of ['has', 'holds'] as const) {
      expect(decodeStoreRequest(asking(what, 1024))).toMatchObject({ kind: what })
      expect(() => decodeStoreRequest(asking(what, 1025))).toThrow(MalformedError)
    }
    expect(decodeStoreRequest(asking('check', 256))).toMatchObject({ kind: 'check' })
    expect(() => decodeStoreRequest(asking('check', 257))).toThrow(MalformedError)
  })

  test('carry a large chunk in parts of at most 256 KiB without copying', () => {
    const bytes = new Uint8Array(2 * MAX_PART_BYTES + 5)

    const parts = partsOf(bytes)

    expect(parts.map(({ byteLength }) => byteLength)).toEqual([MAX_PART_BYTES, MAX_PART_BYTES, 5])
    expect(parts.every(({ buffer }) => buffer === bytes.buffer)).toBe(true)
  })
})
