import { expect, test } from '@jest/globals'
import { Precedence } from '../../../src/peer/swarm/precedence.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function stageOf() {
  const clock = new VirtualClock()
  const precedence = new Precedence(clock)
  const passed: string[] = []
  const link = new AbortController()
  const [demanded, second, other] = [{ name: 'demanded' }, { name: 'second' }, { name: 'other' }]
  const pass = async (slot: { readonly name: string }): Promise<void> => {
    await precedence.yield(slot, { signal: link.signal })
    passed.push(slot.name)
  }
  return { clock, precedence, passed, link, pass, demanded, second, other }
}

test('what nobody waits for lets the demanded chunks of all others pass', async () => {
  const { clock, precedence, passed, pass, demanded, second, other } = stageOf()
  precedence.note(demanded, true)
  precedence.note(second, true)

  const passing = pass(other)
  precedence.note(demanded, false)
  await clock.settle()
  expect(passed).toEqual([])
  precedence.note(second, false)
  await passing

  expect(passed).toEqual(['other'])
  expect(clock.scheduledCount).toBe(0)
})

test('what goes to a neighbour that waits for a chunk waits for nobody, since that comes behind it', async () => {
  const { precedence, passed, pass, demanded, second } = stageOf()
  precedence.note(demanded, true)
  precedence.note(second, true)

  await Promise.all([pass(demanded), pass(second)])

  expect(passed).toEqual(['demanded', 'second'])
})

test('a demanded chunk for a neighbour that does not read holds nobody up for long', async () => {
  const { clock, precedence, passed, pass, demanded, other } = stageOf()
  precedence.note(demanded, true)
  const passing = pass(other)

  await clock.advance(249)
  expect(passed).toEqual([])
  await clock.advance(2)
  await passing

  expect(passed).toEqual(['other'])
})

test('waits no longer than the link is there', async () => {
  const { clock, precedence, link, pass, demanded, other } = stageOf()
  precedence.note(demanded, true)
  const passing = pass(other)

  link.abort(new Error('gone'))

  await expect(passing).rejects.toThrow('gone')
  expect(clock.scheduledCount).toBe(0)
})
