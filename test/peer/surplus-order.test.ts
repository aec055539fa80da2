import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MalformedError } from '../../src/lib/errors.ts'
import { UntrustedSignatureError } from '../../src/metadata/errors.ts'
import {
  decodeSurplusOrder,
  encodeSurplusOrder,
  MAX_SURPLUS_IDS,
  SURPLUS_ORDER_MS,
  type SurplusOrder,
  signSurplusOrder,
  verifySurplusOrder
} from '../../src/peer/surplus-order.ts'
import { testSigner, trusting } from '../support/signing.ts'

const orders: fc.Arbitrary<SurplusOrder> = fc.record({
  provider: fc.string({ maxLength: 60, unit: 'grapheme-ascii' }),
  issuedMs: fc.maxSafeNat(),
  ids: fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { minLength: 1, maxLength: 40 })
})

const order: SurplusOrder = {
  provider: 'provider-a',
  issuedMs: 1_000_000,
  ids: [new Uint8Array(32).fill(1)]
}
const here = { provider: 'provider-a', nowMs: 1_000_000 }

const manager = testSigner(1)
const verifier = trusting(manager)

test('survives encoding and decoding', () => {
  fc.assert(
    fc.property(orders, (some) => {
      expect(decodeSurplusOrder(encodeSurplusOrder(some))).toEqual(some)
    })
  )
})

test('made of any bytes is refused or read, never worse', () => {
  const spoilt = fc
    .tuple(orders, fc.nat(), fc.nat(255))
    .map(([some, at, value]) =>
      encodeSurplusOrder(some).map((byte, index, { length }) =>
        index === at % length ? value : byte
      )
    )
  fc.assert(
    fc.property(fc.oneof(spoilt, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      try {
        decodeSurplusOrder(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    }),
    { numRuns: 300 }
  )
})

test.each([
  ['no chunks', []],
  ['too many chunks', Array.from({ length: MAX_SURPLUS_IDS + 1 }, () => new Uint8Array(32))],
  ['what is no id', [new Uint8Array(31)]]
])('cannot have %s', (_, ids) => {
  expect(() => encodeSurplusOrder({ ...order, ids })).toThrow(RangeError)
})

test.each([
  ['another format', 0, 2],
  ['a time that is no number', 1, 255],
  ['a provider whose name is longer than the order', 9, 255],
  ['more chunks than it has', 9 + 2 + 10 + 1, 4]
])('with %s is refused', (_, at, value) => {
  const bytes = encodeSurplusOrder(order)
  bytes[at] = value

  expect(() => decodeSurplusOrder(bytes)).toThrow(MalformedError)
})

test.each([
  ['at once', 0],
  ['a while later', SURPLUS_ORDER_MS],
  ['by a provider whose clock is behind', -SURPLUS_ORDER_MS]
])('of a provider manager is taken %s', (_, laterMs) => {
  const envelope = signSurplusOrder(manager, order)

  const taken = verifySurplusOrder(verifier, envelope, { ...here, nowMs: here.nowMs + laterMs })

  expect(taken).toEqual(order)
})

test.each([
  ['of long ago', { ...here, nowMs: here.nowMs + SURPLUS_ORDER_MS + 1 }],
  ['of the future', { ...here, nowMs: here.nowMs - SURPLUS_ORDER_MS - 1 }],
  ['for another provider', { ...here, provider: 'provider-b' }]
])('%s is refused', (_, expected) => {
  const envelope = signSurplusOrder(manager, order)

  expect(() => verifySurplusOrder(verifier, envelope, expected)).toThrow(UntrustedSignatureError)
})

test('of somebody else, changed, or signed for something else is refused', () => {
  const payload = encodeSurplusOrder(order)
  const forged = [
    signSurplusOrder(testSigner(2), order),
    { ...signSurplusOrder(manager, order), payload: payload.fill(2, payload.length - 1) },
    manager.sign('retirement', encodeSurplusOrder(order))
  ]

  for (const envelope of forged) {
    expect(() => verifySurplusOrder(verifier, envelope, here)).toThrow(UntrustedSignatureError)
  }
})
