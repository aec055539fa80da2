import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { concatBytes } from '../../../src/lib/bytes.ts'
import {
  GOODBYE_REASONS,
  MAX_PART_BYTES,
  MAX_SWARM_CHUNKS,
  REJECT_REASONS,
  REQUEST_CLASSES,
  SWARM_PROTOCOL,
  type SwarmMessage
} from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'

const u32 = fc.integer({ min: 0, max: 0xffff_ffff })
const u8 = fc.integer({ min: 0, max: 255 })
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length })
const address = fc.string({ maxLength: 20, unit: 'binary' })
const addresses = fc.array(address, { maxLength: 4 })
const zone = fc.constantFrom('', 'rack 1', 'ü'.repeat(32))
const ask = { request: u32, requestClass: fc.constantFrom(...REQUEST_CLASSES), maxCopies: u8 }

const handshake = fc
  .record({
    count: fc.integer({ min: 0, max: 500 }),
    holds: fc.constantFrom('all', 'some', 'none')
  })
  .chain(({ count, holds }) =>
    fc.record({
      type: fc.constant('handshake' as const),
      root: bytes(32),
      wants: fc.boolean(),
      holdsAll: fc.constant(holds === 'all'),
      pagesOnly: fc.constant(false),
      chunkCount: fc.constant(count),
      addresses,
      zone,
      bitfield: holds === 'some' ? bytes(Math.ceil(count / 8)) : fc.constant(undefined)
    })
  )

const chunk = fc
  .record({
    part: fc.uint8Array({ minLength: 1, maxLength: 300 }),
    offset: fc.nat(1000),
    more: fc.nat(9)
  })
  .chain(({ part, offset, more }) =>
    fc.record({
      type: fc.constant('chunk' as const),
      request: u32,
      index: u32,
      encoding: fc.constant(0),
      totalBytes: fc.constant(offset + part.byteLength + more),
      offset: fc.constant(offset),
      part: fc.constant(part)
    })
  )

const message: fc.Arbitrary<SwarmMessage> = fc.oneof(
  handshake,
  chunk,
  fc.record({ type: fc.constant('goodbye' as const), reason: fc.constantFrom(...GOODBYE_REASONS) }),
  fc.record({ type: fc.constant('have' as const), indexes: fc.array(u32, { maxLength: 100 }) }),
  fc.record({ type: fc.constant('request' as const), ...ask, index: u32 }),
  fc.record({ type: fc.constant('any' as const), ...ask }),
  fc.record({ type: fc.constant('cancel' as const), request: u32 }),
  fc.record({
    type: fc.constant('reject' as const),
    request: u32,
    reason: fc.constantFrom(...REJECT_REASONS)
  }),
  fc.record({
    type: fc.constant('peers' as const),
    peers: fc.array(fc.record({ peerId: address, addresses, zone }), { maxLength: 5 })
  }),
  fc.record({
    type: fc.constant('pages' as const),
    request: u32,
    ids: fc.array(bytes(32), { minLength: 1, maxLength: 5 })
  }),
  fc.record({
    type: fc.constant('page' as const),
    request: u32,
    place: u8,
    page: fc.option(fc.uint8Array({ maxLength: 500 }), { nil: undefined })
  }),
  fc.record({ type: fc.constant('wants' as const), wants: fc.boolean() })
)

const encode = (value: SwarmMessage): Uint8Array => concatBytes(encodeSwarmMessage(value))

test('every message is read as it was written', () => {
  fc.assert(
    fc.property(message, (value) => {
      expect(decodeSwarmMessage(encode(value))).toEqual(value)
    }),
    { numRuns: 200 }
  )
})

test('any bytes are a message or malformed', () => {
  const nearly = fc.tuple(message, fc.nat(), u8, fc.nat(5)).map(([value, where, byte, cut]) => {
    const encoded = encode(value)
    encoded[where % encoded.byteLength] = byte
    return encoded.subarray(0, encoded.byteLength - cut)
  })
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), nearly), (input) => {
      try {
        decodeSwarmMessage(input)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_MALFORMED' })
      }
    }),
    { numRuns: 500 }
  )
})

test('the bytes of a chunk are neither copied when written nor when read', () => {
  const part = new Uint8Array(1000)
  const where = { request: 1, index: 2, totalBytes: 1000, offset: 0 }
  const value: SwarmMessage = { type: 'chunk', encoding: 0, ...where, part }

  const parts = encodeSwarmMessage(value)
  const received = concatBytes(parts)
  const decoded = decodeSwarmMessage(received)

  expect(parts[1]).toBe(part)
  expect(decoded.type === 'chunk' && decoded.part.buffer).toBe(received.buffer)
})

test('the largest handshake fits into a message', () => {
  const largest: SwarmMessage = {
    type: 'handshake',
    root: new Uint8Array(32),
    wants: true,
    holdsAll: false,
    pagesOnly: false,
    chunkCount: MAX_SWARM_CHUNKS,
    addresses: Array.from({ length: 16 }, () => 'a'.repeat(256)),
    zone: 'z'.repeat(64),
    bitfield: new Uint8Array(MAX_SWARM_CHUNKS / 8)
  }

  const encoded = encode(largest)

  expect(encoded.byteLength).toBeLessThanOrEqual(SWARM_PROTOCOL.maxMessageBytes)
  expect(decodeSwarmMessage(encoded)).toMatchObject({ chunkCount: MAX_SWARM_CHUNKS })
})

describe('refuses', () => {
  const base = { request: 1, index: 2, encoding: 0, offset: 0 }
  const part = new Uint8Array(10)
  const cases: Record<string, Uint8Array> = {
    'an unknown type': Uint8Array.of(99),
    'an empty message': new Uint8Array(0),
    'a byte too many': Uint8Array.of(6, 0, 0, 0, 1, 0),
    'an unknown reason': Uint8Array.of(2, 200),
    'an unknown class': Uint8Array.of(5, 0, 0, 0, 1, 9, 0),
    'a flag that is neither 0 nor 1': Uint8Array.of(12, 2),
    'more indexes than allowed': Uint8Array.of(3, 0xff, 0xff),
    'a request for no pages': Uint8Array.of(10, 0, 0, 0, 1, 0),
    'a page that is not held and has bytes': Uint8Array.of(11, 0, 0, 0, 1, 0, 0, 7),
    'a zone that is too long': encode({
      type: 'peers',
      peers: [{ peerId: 'p', addresses: [], zone: 'ü'.repeat(33) }]
    }),
    'an empty part': encode({ type: 'chunk', ...base, totalBytes: 10, part: new Uint8Array(0) }),
    'a part beyond the chunk': encode({ type: 'chunk', ...base, totalBytes: 9, part }),
    'an unknown encoding': encode({ type: 'chunk', ...base, encoding: 7, totalBytes: 10, part }),
    'a part that is too large': encode({
      type: 'chunk',
      ...base,
      totalBytes: MAX_PART_BYTES + 1,
      part: new Uint8Array(MAX_PART_BYTES + 1)
    })
  }

  for (const [name, input] of Object.entries(cases)) {
    test(name, () => {
      expect(() => decodeSwarmMessage(input)).toThrow(
        expect.objectContaining({ code: 'ERR_MALFORMED' })
      )
    })
  }
})
