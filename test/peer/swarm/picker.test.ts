import { expect, test } from '@jest/globals'
import { seededRandom } from '../../../src/lib/random.ts'
import { Availability } from '../../../src/peer/swarm/availability.ts'
import { Picker } from '../../../src/peer/swarm/picker.ts'

/** One character a chunk: `#` is not wanted any more, a digit is wanted and says how many copies there are. */
function swarm(copies: string, profileWindow = 2): { picker: Picker; availability: Availability } {
  const random = seededRandom(7)
  const availability = new Availability(copies.length, random)
  for (const [chunk, digit] of Array.from(copies).entries()) {
    if (digit === '#') continue
    availability.open(chunk)
    for (let copy = 0; copy < Number(digit); copy++) availability.increment(chunk)
  }
  return { availability, picker: new Picker({ availability, random }, { profileWindow }) }
}

const all = (): boolean => true

test('takes the rarest chunk of the rest', () => {
  expect(swarm('3#152').picker.pickRest(all)).toEqual({ chunk: 2, requestClass: 'rest' })
})

test('takes demand before read-ahead before the boot profile', () => {
  const { picker } = swarm('11111')
  picker.prioritise([0], 'profile')
  picker.prioritise([3], 'readAhead')
  picker.prioritise([4], 'demand')

  const order = [4, 3, 0].map((chunk) => {
    const pick = picker.pickPrioritised(all)
    picker.settle(chunk)
    return pick
  })

  expect(order).toEqual([
    { chunk: 4, requestClass: 'demand' },
    { chunk: 3, requestClass: 'readAhead' },
    { chunk: 0, requestClass: 'profile' }
  ])
  expect(picker.pickPrioritised(all)).toBeUndefined()
})

test('chooses nothing else while a demanded chunk is missing, even if the neighbour lacks it', () => {
  const { picker } = swarm('1111')
  picker.prioritise([2], 'readAhead')
  picker.prioritise([1], 'demand')

  expect(picker.pickPrioritised((chunk) => chunk !== 1)).toBeUndefined()
  expect(picker.pickRest(all)).toBeUndefined()
  picker.settle(1)
  expect(picker.pickPrioritised(all)?.chunk).toBe(2)
})

test('takes the rarest inside a window of the profile that moves in order of first touch', () => {
  const { picker } = swarm('9813')
  picker.prioritise([0, 1, 2, 3], 'profile')

  const first = picker.pickPrioritised(all)
  picker.settle(1)
  const second = picker.pickPrioritised(all)

  expect(first?.chunk).toBe(1)
  expect(second?.chunk).toBe(2)
})

test('raises a chunk to a higher class and never lowers it', () => {
  const { picker } = swarm('111')
  picker.prioritise([0], 'profile')
  picker.prioritise([0], 'demand')
  picker.prioritise([0], 'readAhead')
  picker.prioritise([1], 'readAhead')
  picker.prioritise([1], 'profile')

  expect([0, 1, 2].map((chunk) => picker.classOf(chunk))).toEqual(['demand', 'readAhead', 'rest'])
})

test('skips what is asked for already', () => {
  const { picker, availability } = swarm('111')
  picker.prioritise([0, 1], 'demand')
  availability.close(0)

  expect(picker.pickPrioritised(all)?.chunk).toBe(1)
})

test('refuses more than it has room for', () => {
  const random = seededRandom(1)
  const availability = new Availability(10, random)
  const picker = new Picker({ availability, random }, { maxPrioritised: 3 })

  expect(picker.prioritise([0, 1, 2], 'demand')).toBe(true)
  expect(picker.prioritise([3], 'demand')).toBe(false)
  expect(picker.classOf(3)).toBe('rest')
})
