import { expect, test } from '@jest/globals'
import type { ChunkMessage } from '../../../src/peer/protocols/swarm.ts'
import { Assembly } from '../../../src/peer/swarm/assembly.ts'
import { Candidates } from '../../../src/peer/swarm/candidates.ts'
import { type Ask, RequestLedger } from '../../../src/peer/swarm/requests.ts'

const ASK: Ask = { chunk: 1, requestClass: 'rest', reason: 'rarest', bytes: 100 }

const part = (offset: number, bytes: readonly number[]): ChunkMessage => ({
  type: 'chunk',
  request: 1,
  index: 0,
  encoding: 0,
  totalBytes: 4,
  offset,
  part: Uint8Array.from(bytes)
})

test('an answer that is needless by now is still counted to its end, and nothing of it is kept', () => {
  const assembly = new Assembly('a', 4)
  assembly.add(part(0, [1, 2]))

  assembly.discard()

  expect(assembly.add(part(2, [3]))).toBeUndefined()
  expect(assembly.add(part(3, [4]))).toHaveLength(0)
})

test('a neighbour that never comes to the end of an answer counts as silent in the end', () => {
  const ledger = new RequestLedger({ silenceMs: 100 })
  const request = ledger.issue('a', ASK, 0)
  ledger.abandon(request, 0)
  const silent: string[][] = []

  for (const nowMs of [50, 150, 250, 350]) {
    silent.push(ledger.silent(nowMs))
    ledger.touch('a', nowMs)
  }

  expect(silent).toEqual([[], [], [], ['a']])
  expect(ledger.abandonedBy('a')).toBe(1)
})

test('peers that come by themselves make no room of their own among those that are remembered', () => {
  const candidates = new Candidates(() => 0.5, { maxPeers: 3 })
  for (const peer of ['a', 'b', 'c']) candidates.add(peer, 'exchange')

  for (const peer of ['d', 'e', 'f', 'g']) {
    candidates.joined(peer)
    candidates.left(peer, 0)
  }

  expect(candidates.size).toBe(3)
})
