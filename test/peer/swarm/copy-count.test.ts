import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { Bitfield } from '../../../src/chunks/bitfield.ts'
import { countCopies } from '../../../src/peer/swarm/copy-count.ts'

const MAX_NAMED = 4

function bitfieldOf(count: number, has: (index: number) => boolean): Bitfield {
  const bitfield = new Bitfield(count)
  for (let index = 0; index < count; index++) if (has(index)) bitfield.set(index)
  return bitfield
}

const image = fc.integer({ min: 1, max: 200 }).chain((count) => {
  const bits = fc.array(fc.boolean(), { minLength: count, maxLength: count })
  const holder = fc.record({ isSource: fc.boolean(), has: bits, all: fc.boolean() })
  return fc.record({ count: fc.constant(count), own: bits, zeros: bits, holders: fc.array(holder) })
})

test('counts as many copies as a look at each chunk and holder does', () => {
  fc.assert(
    fc.property(image, ({ count, own, zeros, holders: generated }) => {
      const distinctField = bitfieldOf(count, (index) => zeros[index] !== true)
      const holders = generated.map(({ isSource, has, all }) => {
        const held = bitfieldOf(count, (at) => all || has[at] === true).and(distinctField)
        return { isSource, held, holdsAll: held.onesCount === distinctField.onesCount }
      })
      const mine = bitfieldOf(count, (index) => own[index] === true)
      const missing = Array.from(distinctField.ones()).filter((index) => !mine.get(index))
      const copiesOf = (index: number, of = holders): number =>
        of.filter(({ held }) => held.get(index)).length
      const others = holders.filter(({ isSource }) => !isSource)
      const atSources = missing.filter((at) => copiesOf(at) > 0 && copiesOf(at, others) === 0)

      const counted = countCopies({ distinctField }, mine, holders, MAX_NAMED)

      const expected = Array.from({ length: holders.length + 1 }, () => 0)
      for (const at of missing) expected[copiesOf(at)] = (expected[copiesOf(at)] ?? 0) + 1
      expect(counted).toEqual({
        chunksByCopies: expected,
        atSourcesOnly: atSources.length,
        nobodyHolds: missing.filter((at) => copiesOf(at) === 0).slice(0, MAX_NAMED)
      })
    })
  )
})
