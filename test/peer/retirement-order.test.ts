import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MalformedError } from '../../src/lib/errors.ts'
import { UntrustedSignatureError } from '../../src/metadata/errors.ts'
import {
  decodeRetirementOrder,
  encodeRetirementOrder,
  MAX_ORDER_KEYS,
  type RetirementOrder,
  signRetirementOrder,
  verifyRetirementOrder
} from '../../src/peer/retirement-order.ts'
import { testSigner, trusting } from '../support/signing.ts'

const orders: fc.Arbitrary<RetirementOrder> = fc.record({
  kind: fc.constantFrom('chunks', 'nodes', 'pages', 'records'),
  provider: fc.string({ maxLength: 60, unit: 'grapheme-ascii' }),
  collection: fc.string({ maxLength: 64, unit: 'grapheme-ascii' }),
  keys: fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 }), { minLength: 1, maxLength: 40 })
})

const order: RetirementOrder = {
  kind: 'chunks',
  provider: 'provider-a',
  collection: 'some name',
  keys: [new Uint8Array(32).fill(1)]
}

const manager = testSigner(1)
const verifier = trusting(manager)

test('survives encoding and decoding', () => {
  fc.assert(
    fc.property(orders, (some) => {
      expect(decodeRetirementOrder(encodeRetirementOrder(some))).toEqual(some)
    })
  )
})

test('may only ask what would go, of chunks', () => {
  const asking = { ...order, isDryRun: true }
  const ofNodes = { ...asking, kind: 'nodes' } as const

  expect(decodeRetirementOrder(encodeRetirementOrder(asking))).toEqual(asking)
  expect(() => encodeRetirementOrder(ofNodes)).toThrow(RangeError)
})

test('made of any bytes is refused or read, never worse', () => {
  const spoilt = fc
    .tuple(orders, fc.nat(), fc.nat(255))
    .map(([some, at, value]) =>
      encodeRetirementOrder(some).map((byte, index, { length }) =>
        index === at % length ? value : byte
      )
    )
  fc.assert(
    fc.property(fc.oneof(spoilt, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      try {
        decodeRetirementOrder(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    }),
    { numRuns: 300 }
  )
})

test.each([
  ['no keys', []],
  ['too many keys', Array.from({ length: MAX_ORDER_KEYS + 1 }, () => Uint8Array.of(1))],
  ['an empty key', [new Uint8Array(0)]],
  ['a key that is too long', [new Uint8Array(1025)]]
])('cannot have %s', (_, keys) => {
  expect(() => encodeRetirementOrder({ ...order, keys })).toThrow(RangeError)
})

test.each([
  ['another format', 0, 2],
  ['an unknown kind', 1, 4],
  ['an unknown flag', 2, 2],
  ['a provider whose name is longer than the order', 3, 255],
  ['more keys than it has', 3 + 2 + 10 + 2 + 9, 4]
])('with %s is refused', (_, at, value) => {
  const bytes = encodeRetirementOrder(order)
  bytes[at] = value

  expect(() => decodeRetirementOrder(bytes)).toThrow(MalformedError)
})

test('of a version manager is taken by the provider that it is for', () => {
  const envelope = signRetirementOrder(manager, order)

  expect(verifyRetirementOrder(verifier, envelope, order)).toEqual(order)
})

test.each([
  ['another provider', { ...order, provider: 'provider-b' }],
  ['keys of another kind', { ...order, kind: 'pages' } as const]
])('for %s is refused', (_, expected) => {
  const envelope = signRetirementOrder(manager, order)

  expect(() => verifyRetirementOrder(verifier, envelope, expected)).toThrow(UntrustedSignatureError)
})

test('of somebody else, changed, or signed for something else is refused', () => {
  const payload = encodeRetirementOrder(order)
  const forged = [
    signRetirementOrder(testSigner(2), order),
    { ...signRetirementOrder(manager, order), payload: payload.fill(2, payload.length - 1) },
    manager.sign('ticket', encodeRetirementOrder(order))
  ]

  for (const envelope of forged) {
    expect(() => verifyRetirementOrder(verifier, envelope, order)).toThrow(UntrustedSignatureError)
  }
})
