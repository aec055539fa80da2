import { describe, expect, test } from '@jest/globals'
import { MemoryEventLog } from '../../../src/lib/events.ts'
import { MemoryMetrics } from '../../../src/lib/metrics.ts'
import { ImageAccounts } from '../../../src/peer/swarm/accounts.ts'
import type { SwarmEvent } from '../../../src/peer/swarm/events.ts'
import { SwarmMetrics } from '../../../src/peer/swarm/swarm-metrics.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const image = 'aa'

/** Accounts on virtual time, and shorthands for what happens. */
function bench(maxPeers?: number) {
  const clock = new VirtualClock()
  const events = new MemoryEventLog<SwarmEvent>()
  const metrics = new MemoryMetrics()
  const parts = { clock, events, metrics: new SwarmMetrics(metrics) }
  const accounts = new ImageAccounts(parts, maxPeers === undefined ? {} : { maxPeers })
  const join = (peer: string, isSource = false): void => {
    const about = { isSource, isProvider: isSource, isDialled: true, zone: 'rack-1', chunks: 0 }
    accounts.emit({ event: 'neighbour-joined', image, peer, ...about })
  }
  const leave = (peer: string): void =>
    accounts.emit({ event: 'neighbour-left', image, peer, reason: 'goodbye' })
  const receive = (peer: string, bytes: number, reason: 'any' | 'rarest' = 'rarest'): void => {
    const about = { chunk: 0, from: 'peer', requestClass: 'rest', ms: 100 } as const
    accounts.emit({ event: 'chunk-received', image, peer, bytes, reason, ...about })
  }
  const start = (): void =>
    accounts.emit({ event: 'download-started', image, bytes: 9, chunks: 9, held: 0 })
  return { accounts, clock, events, metrics, join, leave, receive, start }
}

test('says who sent what, also of those that left and of those that came back', () => {
  const { accounts, join, leave, receive } = bench()
  join('a', true)
  join('b')
  receive('a', 10)
  receive('b', 20)
  receive('b', 30)
  leave('a')
  accounts.emit({ event: 'chunk-sent', image, chunk: 1, peer: 'b', bytes: 7 })

  const summed = accounts
    .peers()
    .map(({ peerId, receivedBytes, sentBytes, leftBecause }) => [
      peerId,
      receivedBytes,
      sentBytes,
      leftBecause
    ])
  expect(summed).toEqual([
    ['a', 10, 0, 'goodbye'],
    ['b', 50, 7, undefined]
  ])
  join('a')
  expect(accounts.peer('a')).toMatchObject({ receivedBytes: 10, leftBecause: undefined })
})

test('says why neighbours were asked and what came of it, and of sources apart', () => {
  const { accounts, join, receive, start } = bench()
  join('source', true)
  join('other')
  start()
  for (const [peer, reason] of [
    ['source', 'any'],
    ['source', 'any'],
    ['other', 'rarest']
  ] as const) {
    accounts.ask(peer, reason)
  }
  receive('source', 10, 'any')
  receive('other', 20)

  expect(accounts.run?.asked()).toEqual({
    any: { requests: 2, chunks: 1, bytes: 10 },
    rarest: { requests: 1, chunks: 1, bytes: 20 }
  })
  expect(accounts.run?.askedAtSources()).toEqual({ any: { requests: 2, chunks: 1, bytes: 10 } })
})

test('counts what came for nothing, by why', () => {
  const { accounts, join, start } = bench()
  join('a')
  start()
  const chunk = { image, chunk: 1, peer: 'a' }
  accounts.emit({ event: 'chunk-rejected', ...chunk, bytes: 10, reason: 'not needed' })
  accounts.emit({ event: 'chunk-rejected', ...chunk, bytes: 3, reason: 'wrong bytes' })

  expect(accounts.run).toMatchObject({ duplicateBytes: 10, wrongBytes: 3, wastedBytes: 13 })
  expect(accounts.peer('a').wastedBytes).toBe(13)
})

test('a new download has a new account; who sent what goes on', async () => {
  const { accounts, clock, join, receive, start } = bench()
  join('a')
  start()
  receive('a', 10)
  accounts.emit({ event: 'download-failed', image, code: 'ERR_X', ms: 5 })
  const first = accounts.run
  await clock.advance(1000)
  start()
  await clock.advance(250)
  receive('a', 10)

  expect(first?.ending).toEqual({ state: 'failed', endedMs: 0, code: 'ERR_X' })
  expect(accounts.run).toMatchObject({ receivedBytes: 10, firstChunkMs: 250 })
  expect(accounts.peer('a').receivedBytes).toBe(20)
})

test('remembers a bounded number of agents and sums up the first that left', () => {
  const { accounts, join, leave, receive } = bench(3)
  for (const peer of ['a', 'b', 'c', 'd', 'e']) {
    join(peer)
    receive(peer, 10)
    if (peer !== 'a') leave(peer)
  }
  join('f')

  expect(accounts.peers().map(({ peerId }) => peerId)).toEqual(['a', 'e', 'f'])
  expect(accounts.forgotten).toEqual({ peers: 3, receivedBytes: 30, sentBytes: 0 })
})

test('hands every event on, and counts it for operators', () => {
  const { accounts, events, metrics, join, leave, receive, start } = bench()
  join('a')
  start()
  accounts.ask('a', 'rarest')
  receive('a', 10)
  accounts.emit({ event: 'neighbour-silent', image, peer: 'a', requests: 2 })
  leave('a')

  expect(events.events.map(({ event }) => event)).toEqual([
    'neighbour-joined',
    'download-started',
    'chunk-received',
    'neighbour-silent',
    'neighbour-left'
  ])
  expect(Object.fromEntries(metrics.values)).toEqual({
    'blobswarm_peer_swarm_requests_total{reason=rarest}': 1,
    'blobswarm_peer_swarm_chunk_seconds{from=peer}_count': 1,
    blobswarm_peer_swarm_silences_total: 1,
    'blobswarm_peer_swarm_neighbours_left_total{reason=goodbye}': 1
  })
})

describe('metrics of downloads', () => {
  test('that finish and fail', () => {
    const { accounts, metrics } = bench()
    const counts = { bytesFromProviders: 0, bytesFromPeers: 0, bytesReused: 0, zeroBytes: 0 }
    const costs = { wastedBytes: 0, asked: {}, firstChunkMs: 40 }
    accounts.emit({ event: 'download-finished', image, ms: 100, ...counts, ...costs })
    accounts.emit({ event: 'download-failed', image, code: 'ERR_X', ms: 100 })

    expect(Object.fromEntries(metrics.values)).toEqual({
      'blobswarm_peer_swarm_downloads_total{outcome=finished}': 1,
      'blobswarm_peer_swarm_downloads_total{outcome=failed}': 1,
      blobswarm_peer_swarm_download_seconds_count: 1,
      blobswarm_peer_swarm_first_chunk_seconds_count: 1
    })
  })

  test('that wait', () => {
    const { accounts, metrics } = bench()
    accounts.emit({ event: 'download-waited', image, reason: 'disk', ms: 1500 })
    accounts.emit({ event: 'download-stuck', image, reason: 'answers', ms: 10_000 })

    expect(Object.fromEntries(metrics.values)).toEqual({
      'blobswarm_peer_swarm_waiting_seconds_total{reason=disk}': 1.5,
      blobswarm_peer_swarm_stuck_total: 1
    })
  })
})
