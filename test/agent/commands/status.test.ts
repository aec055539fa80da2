import { expect, test } from '@jest/globals'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

const COUNTS = { checked: 10, corrupt: 1, missing: 0, unreadable: 0 }
const STATUS = {
  peerId: 'me',
  roles: ['provider'],
  chunks: 3,
  cache: { images: 2, bytes: 1024, limitBytes: 4096, evictedImages: 1, evictedBytes: 512 },
  scrub: { last: { ended: '2026-11-22T08:15:00.000Z', ...COUNTS } },
  providers: { live: 4, suspect: 1, dead: 0, draining: 2 },
  repair: {
    replicas: 2,
    chunks: 306,
    underReplicated: 5,
    unreachable: 1,
    surplus: 4,
    isCurrent: false,
    lookedMs: Date.UTC(2026, 10, 22, 8, 15),
    pending: 7,
    copiedChunks: 200,
    copiedBytes: 1_572_864,
    failedCopies: 3,
    trimmedChunks: 9
  }
}

test('shows how the cluster is, a line for each thing', async () => {
  stage.operations.status = async () => STATUS

  expect(await stage.run('status')).toBe(0)

  expect(stage.stdout).toBe(`\
peerId           me
roles            ["provider"]
chunks           3
cache            2 images, 1.0 KiB of 4.0 KiB, 1 evicted
scrub            ended 2026-11-22T08:15:00.000Z: 10 checked, 1 corrupt, 0 missing, 0 unreadable
providers        4 live, 1 suspect, 0 dead, 2 draining
replicas         2
under-replicated 5 of 306
unreachable      1
repair           not up to date, looked at 2026-11-22 08:15:00Z, 200 copied (1.5 MiB), 7 pending, 3 failed, 4 surplus, 9 trimmed
`)
})

test('says what is not known, and why', async () => {
  const error = 'the provider manager does not answer'
  stage.operations.status = async () => ({ scrub: {}, providers: { error }, repair: { error } })

  expect(await stage.run('status')).toBe(0)

  expect(stage.stdout).toBe(`\
scrub            no round has ended yet
providers        unknown: the provider manager does not answer
repair           unknown: the provider manager does not answer
`)
})

test('tells how far the scrubber is', async () => {
  stage.operations.status = async () => ({ scrub: { running: { ...COUNTS, checked: 4 } } })

  expect(await stage.run('status')).toBe(0)

  expect(stage.stdout).toBe('scrub            no round has ended yet; 4 checked in this round\n')
})

test('is one JSON document for programs', async () => {
  stage.operations.status = async () => STATUS

  expect(await stage.run('status', '--json')).toBe(0)

  expect(JSON.parse(stage.stdout)).toEqual(STATUS)
})

test('lists the images that are exchanged, and what they wait for', async () => {
  const image = {
    names: ['/img@3'],
    image: 'ab'.repeat(32),
    role: 'downloading',
    bytes: 1_048_576,
    chunks: 4,
    bytesHeld: 262_144,
    chunksHeld: 1,
    neighbourCount: 2,
    receivedPerSecond: 0,
    sentPerSecond: 1024,
    wait: { reason: 'look-up', waitedMs: 3000, nextInMs: 7000, giveUpInMs: 90_000, peers: [] }
  }
  const served = { ...image, names: [], role: 'seeding', bytesHeld: 1_048_576, wait: undefined }
  stage.operations.status = async () => ({
    swarm: {
      images: 2,
      downloading: 1,
      seeding: 1,
      waiting: 1,
      neighbours: 4,
      receivedPerSecond: 0,
      sentPerSecond: 2048,
      uploadRate: 1_048_576,
      downloadRate: 0
    },
    images: [image, served]
  })

  expect(await stage.run('status')).toBe(0)

  expect(stage.stdout).toBe(`\
swarm            2 images, 1 downloading (1 waiting), 1 seeding, 4 neighbours; 0 B/s in, 2.0 KiB/s of 1.0 MiB/s out

image             role              held       of    %  neighbours  rate in   rate out  left
/img@3            downloading  256.0 KiB  1.0 MiB   25           2    0 B/s  1.0 KiB/s
abababababababab  seeding        1.0 MiB  1.0 MiB  100           2    0 B/s  1.0 KiB/s
/img@3 waits 3 s for the directory; something else in 7 s, gives up in 1 min 30 s
`)
})
