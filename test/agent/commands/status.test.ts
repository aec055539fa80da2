import { expect, test } from '@jest/globals'
import { commandLineStage } from '../../support/command-line-stage.ts'

const stage = commandLineStage()

const COUNTS = { checked: 10, corrupt: 1, missing: 0, unreadable: 0 }
const STATUS = {
  peerId: 'me',
  roles: ['provider'],
  chunks: 3,
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
