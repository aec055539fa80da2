import { expect, test } from '@jest/globals'
import { Precedence } from '../../../src/peer/swarm/precedence.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

function stageOf() {
  const clock = new VirtualClock()
  const precedence = new Precedence(clock)
  const passed: string[] = []
  const link = new AbortController()
  const pass = async (requestClass: 'demand' | 'rest'): Promise<void> => {
    await precedence.yield(requestClass, { signal: link.signal })
    passed.push(requestClass)
  }
  return { clock, precedence, passed, link, pass }
}

test('what nobody waits for lets all demanded chunks pass, which wait for nothing', async () => {
  const { clock, precedence, passed, pass } = stageOf()
  const ends = [precedence.begin('demand'), precedence.begin('demand')]

  const passing = [pass('rest'), pass('demand')]
  ends[0]?.()
  await clock.settle()
  expect(passed).toEqual(['demand'])
  ends[1]?.()
  await Promise.all(passing)

  expect(passed).toEqual(['demand', 'rest'])
  expect(clock.scheduledCount).toBe(0)
})

test('a demanded chunk for a neighbour that does not read holds nobody up for long', async () => {
  const { clock, precedence, passed, pass } = stageOf()
  precedence.begin('demand')
  const passing = pass('rest')

  await clock.advance(249)
  expect(passed).toEqual([])
  await clock.advance(2)
  await passing

  expect(passed).toEqual(['rest'])
})

test('waits no longer than the link is there', async () => {
  const { clock, precedence, link, pass } = stageOf()
  precedence.begin('demand')
  const passing = pass('rest')

  link.abort(new Error('gone'))

  await expect(passing).rejects.toThrow('gone')
  expect(clock.scheduledCount).toBe(0)
})
