import { describe, expect, test } from '@jest/globals'
import { encode } from 'cborg'
import * as fc from 'fast-check'
import { MalformedError } from '../../../src/lib/errors.ts'
import { moverMethods } from '../../../src/peer/protocols/mover.ts'
import { providersMethods } from '../../../src/peer/protocols/providers.ts'
import { takePage } from '../../../src/peer/protocols/schemas.ts'
import { treeMethods } from '../../../src/peer/protocols/tree.ts'
import { versionMethods } from '../../../src/peer/protocols/version.ts'

const methods = [versionMethods, providersMethods, treeMethods, moverMethods].flatMap((protocol) =>
  Object.values(protocol)
)
const names =
  'blob version path keys ids names pages records nodes entries count report summary ticket limit kind host port targets parts ranges base description list counts collection order lacking behind versions proofs proof after prefix'.split(
    ' '
  )

/** Values in the likeness of messages: known names, any contents. */
const likeness = fc.dictionary(
  fc.constantFrom(...names),
  fc.oneof(
    fc.anything({ maxDepth: 2 }).filter((value) => value !== undefined),
    fc.uint8Array({ maxLength: 64 }),
    fc.array(fc.uint8Array({ minLength: 32, maxLength: 45 }), { maxLength: 3 })
  )
)

function encodable(value: unknown): Uint8Array | undefined {
  try {
    return encode(value)
  } catch {
    return undefined // fast-check made something that CBOR has no words for
  }
}

function decodeWithAll(bytes: Uint8Array): void {
  for (const { request, answer } of methods) {
    for (const codec of [request, answer]) {
      try {
        codec.decode(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    }
  }
}

describe('the messages of version/1, providers/1, tree/1 and mover/1', () => {
  test('made of any bytes are refused or read, never worse', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), decodeWithAll), { numRuns: 60 })
  })

  test('in the likeness of messages are refused or read, never worse', () => {
    fc.assert(
      fc.property(likeness, (value) => {
        const bytes = encodable(value)
        if (bytes !== undefined) decodeWithAll(bytes)
      }),
      { numRuns: 60 }
    )
  })

  test('have names that differ within a protocol and are those of their keys', () => {
    for (const protocol of [versionMethods, providersMethods, treeMethods]) {
      expect(Object.values(protocol).map(({ name }) => name)).toEqual(Object.keys(protocol))
    }
  })
})

describe('a page of a list', () => {
  test('is the longest part from the front that fits, but never nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50)), fc.nat(100), (items, maxBytes) => {
        const { items: taken, isCut } = takePage(items, maxBytes, (item) => item)
        const bytes = taken.reduce((sum, item) => sum + item, 0)
        const next = items[taken.length]

        expect(taken).toEqual(items.slice(0, taken.length))
        expect(isCut).toBe(taken.length < items.length)
        expect(taken.length > 0 || items.length === 0).toBe(true)
        expect(bytes <= maxBytes || taken.length === 1).toBe(true)
        expect(next === undefined || bytes + next > maxBytes).toBe(true)
      })
    )
  })
})
