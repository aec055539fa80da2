import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Bitfield } from '../../src/chunks/bitfield.ts'

const bitsOf = (bits: readonly boolean[]): Bitfield => {
  const bitfield = new Bitfield(bits.length)
  for (const [index, bit] of bits.entries()) if (bit) bitfield.set(index)
  return bitfield
}

test('puts bit 0 into the highest bit of the first byte', () => {
  const bitfield = new Bitfield(10)

  bitfield.set(0)
  bitfield.set(9)

  expect(Array.from(bitfield.encode())).toEqual([0b1000_0000, 0b0100_0000])
})

test('behaves as an array of booleans', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 100 }), (bits) => {
      const bitfield = bitsOf(bits)
      const indexes = (wanted: boolean): number[] =>
        bits.flatMap((bit, index) => (bit === wanted ? [index] : []))

      expect(Array.from(bitfield.ones())).toEqual(indexes(true))
      expect(Array.from(bitfield.missing())).toEqual(indexes(false))
      expect(bitfield.onesCount).toBe(indexes(true).length)
      expect(bitfield.missingCount).toBe(indexes(false).length)
      expect(bitfield.hasAll).toBe(bits.every(Boolean))
      expect(bits.map((_, index) => bitfield.get(index))).toEqual(bits)
    })
  )
})

test('is the same after encoding and decoding', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 100 }), (bits) => {
      const decoded = Bitfield.decode(bitsOf(bits).encode(), bits.length)

      expect(Array.from(decoded.ones())).toEqual(Array.from(bitsOf(bits).ones()))
      expect(decoded.onesCount).toBe(bits.filter(Boolean).length)
    })
  )
})

test('decodes only what it encodes, and refuses everything else as malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4 }), fc.nat(33), (bytes, count) => {
      try {
        expect(Bitfield.decode(bytes, count).encode()).toEqual(bytes)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_MALFORMED' })
      }
    })
  )
})

test('refuses a padding bit that is 1', () => {
  expect(() => Bitfield.decode(Uint8Array.of(0b0000_0001), 7)).toThrow('padding')
  expect(() => Bitfield.decode(Uint8Array.of(0b0000_0010), 7)).not.toThrow()
})

test('says whether setting and clearing changed anything', () => {
  const bitfield = new Bitfield(3)

  expect([bitfield.set(1), bitfield.set(1), bitfield.onesCount]).toEqual([true, false, 1])
  expect([bitfield.clear(1), bitfield.clear(1), bitfield.onesCount]).toEqual([true, false, 0])
})

test('sets all bits without touching the padding', () => {
  const bitfield = new Bitfield(13)

  bitfield.setAll()

  expect(bitfield.hasAll).toBe(true)
  expect(Array.from(bitfield.encode())).toEqual([0xff, 0b1111_1000])
})

test.each([-1, 3, 0.5, Number.NaN])('has no bit %d of 3', (index) => {
  const bitfield = new Bitfield(3)

  expect(() => bitfield.get(index)).toThrow(RangeError)
  expect(() => bitfield.set(index)).toThrow(RangeError)
})

test('what two have in common is what each of both has', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.boolean()), { maxLength: 100 }), (bits) => {
      const [left, right] = [new Bitfield(bits.length), new Bitfield(bits.length)]
      for (const [index, [isLeft, isRight]] of bits.entries()) {
        if (isLeft) left.set(index)
        if (isRight) right.set(index)
      }

      const both = left.and(right)

      const indexes = Array.from(left.ones()).filter((index) => right.get(index))
      expect([Array.from(both.ones()), both.onesCount]).toEqual([indexes, indexes.length])
    })
  )
})
