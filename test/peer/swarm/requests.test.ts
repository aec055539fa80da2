import { expect, test } from '@jest/globals'
import { type Ask, RequestLedger } from '../../../src/peer/swarm/requests.ts'

const ask = (chunk: number | undefined, requestClass: Ask['requestClass'] = 'rest'): Ask => ({
  chunk,
  requestClass,
  reason: 'rarest',
  bytes: 100
})

test('counts bytes by neighbour and in all until an answer comes', () => {
  const ledger = new RequestLedger()
  const first = ledger.issue('a', ask(1), 0)
  ledger.issue('a', ask(2), 0)
  ledger.issue('b', ask(3), 0)

  ledger.settle(first)

  expect([ledger.bytesOf('a'), ledger.bytesOf('b'), ledger.bytes]).toEqual([100, 100, 200])
  expect(ledger.find('a', first.id)).toBeUndefined()
})

test('learns which chunk a neighbour chose', () => {
  const ledger = new RequestLedger()
  const request = ledger.issue('a', ask(undefined), 0)
  expect(ledger.unboundCount).toBe(1)

  const bound = ledger.bind(request, 7)

  expect(ledger.unboundCount).toBe(0)
  expect(ledger.pendingFor(7)).toEqual([bound])
  expect(ledger.bytesOf('a')).toBe(100)
})

test('a request that was given up uses no credit but its answer is still expected', () => {
  const ledger = new RequestLedger()
  const request = ledger.issue('a', ask(1), 0)

  ledger.abandon(request, 0)

  expect(ledger.bytesOf('a')).toBe(0)
  expect(ledger.pendingFor(1)).toEqual([])
  expect(ledger.find('a', request.id)).toEqual(request)
  expect(ledger.owedBy('a')).toBe(1)
  ledger.settle(request)
  expect(ledger.owedBy('a')).toBe(0)
})

test('knows who has sent nothing for too long, and that a part is a sign of life', () => {
  const ledger = new RequestLedger({ silenceMs: 1000 })
  ledger.issue('slow', ask(1), 0)
  ledger.issue('dead', ask(2), 0)

  ledger.touch('slow', 900)

  expect(ledger.silent(1001)).toEqual(['dead'])
  expect(ledger.silent(1901)).toEqual(['slow', 'dead'])
})

test('the silence of a neighbour begins with the first request that it owes', () => {
  const ledger = new RequestLedger({ silenceMs: 1000 })
  ledger.settle(ledger.issue('a', ask(1), 0))

  ledger.issue('a', ask(2), 5000)

  expect(ledger.silent(5500)).toEqual([])
})

test('forgets a neighbour and says what it owed', () => {
  const ledger = new RequestLedger()
  const request = ledger.issue('a', ask(1), 0)
  ledger.issue('b', ask(1), 0)

  expect(ledger.drop('a')).toEqual([request])
  expect(ledger.pendingFor(1).map(({ peer }) => peer)).toEqual(['b'])
  expect(ledger.bytes).toBe(100)
})

test('only demanded chunks are overdue by age alone', () => {
  const ledger = new RequestLedger({ demandMs: 500 })
  const demanded = ledger.issue('a', ask(1, 'demand'), 0)
  const rest = ledger.issue('a', ask(2), 0)

  expect(ledger.isOverdue(demanded, 501)).toBe(true)
  expect(ledger.isOverdue(rest, 501)).toBe(false)
})

test('one that is borne with gets twice as long each time, and as long as others once it is faster', () => {
  const ledger = new RequestLedger({ silenceMs: 1000 })
  ledger.issue('a', ask(1), 0)

  ledger.bearWith('a', 1001)
  expect([ledger.silent(3001), ledger.silent(3002)]).toEqual([[], ['a']])
  ledger.bearWith('a', 3002)
  ledger.touch('a', 6000, 10)
  expect([ledger.isBorneWith('a'), ledger.silenceMsOf('a')]).toEqual([true, 4000])
  ledger.touch('a', 6200, 10)

  expect([ledger.isBorneWith('a'), ledger.silenceMsOf('a')]).toEqual([false, 1000])
})

test('nobody may be silent for more than eight times as long as others', () => {
  const ledger = new RequestLedger({ silenceMs: 1000 })
  ledger.issue('a', ask(1), 0)

  for (let times = 0; times < 10; times++) ledger.bearWith('a', 1001)

  expect(ledger.silenceMsOf('a')).toBe(8000)
})

test('what was given up long after it was asked for is owed from then on', () => {
  const ledger = new RequestLedger({ silenceMs: 1000 })
  const request = ledger.issue('a', ask(1), 0)

  ledger.abandon(request, 9000)

  expect([ledger.silent(12_000), ledger.silent(12_001)]).toEqual([[], ['a']])
})
