import { describe, expect, test } from '@jest/globals'
import type { SwarmDescription } from '../../../src/peer/swarm/description.ts'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()
const MIB = 1024 * 1024
const image = 'ab'.repeat(32)

const peer = {
  zone: '',
  isSource: false,
  isProvider: false,
  bytesReceived: 0,
  bytesSent: 0,
  bytesWasted: 0,
  answerMs: 0,
  silences: 0
}
const neighbour = {
  ...peer,
  roles: ['deploy'],
  wants: true,
  isDialled: true,
  sinceMs: 12_000,
  chunksHeld: 10,
  receivedPerSecond: MIB,
  sentPerSecond: 0,
  bytesInFlight: 0,
  waitingRequests: 0,
  failures: 0
}
const DOWNLOADING: SwarmDescription = {
  image,
  role: 'downloading',
  bytes: 64 * MIB,
  chunks: 256,
  bytesHeld: 16 * MIB,
  chunksHeld: 64,
  neighbourCount: 2,
  receivedPerSecond: 2 * MIB,
  sentPerSecond: MIB,
  etaMs: 24_000,
  wait: {
    reason: 'answers',
    waitedMs: 2500,
    nextInMs: 7500,
    giveUpInMs: 117_500,
    peers: ['12D3KooWsource']
  },
  chunkBytes: 262_144,
  missing: {
    chunks: 192,
    bytes: 48 * MIB,
    byClass: { demand: { chunks: 2, bytes: 524_288 }, rest: { chunks: 190, bytes: 47.5 * MIB } },
    pending: 4,
    storing: 1,
    open: 187,
    heldByNobody: 1,
    nobodyHolds: [17],
    heldBySourcesOnly: 100,
    copies: [
      { copies: 0, chunks: 1 },
      { copies: 1, chunks: 191 }
    ]
  },
  download: {
    state: 'running',
    elapsedMs: 8000,
    firstChunkMs: 350,
    bytesFromProviders: 8 * MIB,
    bytesFromPeers: 6 * MIB,
    bytesReused: MIB,
    zeroBytes: MIB,
    duplicateBytes: 262_144,
    wrongBytes: 262_144,
    averagePerSecond: 1.75 * MIB,
    asked: {
      any: { requests: 33, chunks: 32, bytes: 8 * MIB },
      rarest: { requests: 25, chunks: 24, bytes: 6 * MIB }
    },
    askedAtSources: { any: { requests: 33, chunks: 32, bytes: 8 * MIB } },
    waitedMs: { dial: 1200 }
  },
  uploads: { bytesSent: 4 * MIB, sentPerSecond: MIB, busySlots: 1, waitingRequests: 3 },
  limits: { uploadRate: 0, downloadRate: 10 * MIB },
  neighbours: [
    {
      ...neighbour,
      peerId: '12D3KooWsource',
      zone: 'rack-1',
      isSource: true,
      isProvider: true,
      wants: false,
      chunksHeld: 255,
      bytesReceived: 8 * MIB,
      answerMs: 120
    },
    { ...neighbour, peerId: '12D3KooWother', bytesReceived: 6 * MIB, bytesSent: 4 * MIB }
  ],
  left: [{ ...peer, peerId: '12D3KooWgone', bytesWasted: 262_144, reason: 'lied' }],
  forgotten: { peers: 0, receivedBytes: 0, sentBytes: 0 }
}

test('explains a download: what is here, what is missing and why, who sent what', async () => {
  stage.operations.swarm = async () => DOWNLOADING

  expect(await stage.run('swarm', '/img')).toBe(0)

  expect(stage.stdout).toBe(`\
image      abababababababab, downloading
held       16.0 MiB of 64.0 MiB (25%), 64 of 256 chunks
download   running for 8 s, first chunk after 0.4 s
rate       2.0 MiB/s now, 1.8 MiB/s on average, 24 s left
bytes      providers 8.0 MiB, peers 6.0 MiB, reused 1.0 MiB, zero 1.0 MiB, wasted 512.0 KiB (256.0 KiB wrong)
asked      a source chose what it sent least: 33 (8.0 MiB); rarest first: 25 (6.0 MiB)
sources    used because a source chose what it sent least: 33 (8.0 MiB)
waited     1.2 s for connections
waiting    2.5 s for answers of 12D3KooWsource; something else in 7.5 s, gives up in 1 min 58 s
missing    192 chunks, 48.0 MiB: 4 asked for, 1 being stored, 187 open
           demand 2 (512.0 KiB), rest 190 (47.5 MiB)
           nobody connected holds 1: 17
           only sources hold 100
           copies at neighbours: 1 with 0, 191 with 1
uploads    4.0 MiB sent, 1.0 MiB/s now, 1 slots busy, 3 requests waiting
limits     up unlimited, down 10.0 MiB/s

neighbour       zone    is           holds  received     sent    rate in  rate out  in flight  answer ms  failures  since
12D3KooWsource  rack-1  provider       255   8.0 MiB      0 B  1.0 MiB/s     0 B/s        0 B        120         0  12 s
12D3KooWother           peer, wants     10   6.0 MiB  4.0 MiB  1.0 MiB/s     0 B/s        0 B                    0  12 s

left          received  sent     wasted  why
12D3KooWgone       0 B   0 B  256.0 KiB  lied
`)
})

test('says so when the agent has no part in it', async () => {
  stage.operations.swarm = async () => ({ ref: '/img', image, role: 'absent', neighbours: [] })

  expect(await stage.run('swarm', '/img')).toBe(0)

  expect(stage.stdout).toBe('/img: this agent has no part in the exchange of abababababababab\n')
})

test('is one JSON document for programs', async () => {
  stage.operations.swarm = async () => DOWNLOADING

  expect(await stage.run('swarm', '/img', '--json')).toBe(0)

  expect(JSON.parse(stage.stdout)).toEqual(JSON.parse(JSON.stringify(DOWNLOADING)))
})

describe('blobswarm limits', () => {
  test('shows what is in force', async () => {
    stage.operations.limits = async () => ({ uploadRate: 50_000_000, downloadRate: 0 })

    expect(await stage.run('limits')).toBe(0)

    expect(stage.stdout).toBe('up    47.7 MiB/s\ndown  unlimited\n')
    expect(stage.operations.calls).toEqual([])
  })

  test('changes what is named and leaves the rest', async () => {
    expect(await stage.run('limits', '--up', '400Mbit/s', '--json')).toBe(0)
    expect(await stage.run('limits', '--down', '0', '--up', '1.5MiB/s')).toBe(0)

    expect(stage.operations.calls).toEqual([
      ['setLimits', { uploadRate: 50_000_000, downloadRate: undefined }],
      ['setLimits', { uploadRate: 1_572_864, downloadRate: 0 }]
    ])
  })

  test('refuses what is no rate', async () => {
    expect(await stage.run('limits', '--up', 'fast')).toBe(2)

    expect(stage.stderr).toBe(
      'blobswarm: --up fast: wanted a rate such as 50MB/s, 400Mbit/s or 0\n'
    )
    expect(stage.operations.calls).toEqual([])
  })
})

test('blobswarm peers shows connections and what goes over them', async () => {
  stage.operations.peers = async () => [
    {
      peerId: '12D3KooWother',
      roles: ['deploy', 'provider'],
      rights: ['read'],
      certificateUntil: '2027-01-01T00:00:00.000Z',
      zone: 'rack-2',
      direction: 'outbound',
      address: '/ip4/10.0.0.2/tcp/4001/p2p/12D3KooWother',
      ageSeconds: 65,
      images: ['/a@1', '/b@2'],
      bytesReceived: MIB,
      bytesSent: 0
    }
  ]

  expect(await stage.run('peers')).toBe(0)

  expect(stage.stdout).toBe(`\
peer           roles            zone    connection                       age        received  sent  images
12D3KooWother  deploy,provider  rack-2  outbound /ip4/10.0.0.2/tcp/4001  1 min 5 s   1.0 MiB   0 B  /a@1,/b@2
`)
})
