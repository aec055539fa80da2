import { join } from 'node:path'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { runCli } from '../../../src/agent/cli.ts'
import { ControlServer } from '../../../src/agent/control-server.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { RecordedOperations } from '../../support/recorded-operations.ts'
import { temporaryFolders } from '../../support/temporary-folder.ts'

const newFolder = temporaryFolders()
let socket: string
let stdout: string
let operations: RecordedOperations
let server: ControlServer
beforeEach(async () => {
  socket = join(await newFolder(), 'control.sock')
  operations = new RecordedOperations()
  server = new ControlServer(operations, noLogger, socket)
  await server.start()
  stdout = ''
  jest.spyOn(process.stdout, 'write').mockImplementation((text, encoding, callback) => {
    stdout += String(text)
    const done = typeof encoding === 'function' ? encoding : callback
    done?.()
    return true
  })
})
afterEach(async () => {
  jest.restoreAllMocks()
  process.exitCode = 0
  await server.stop()
})

/** Runs a command line. @returns its exit code. */
async function run(...args: string[]): Promise<number> {
  await runCli([...args, '--socket', socket], {})
  const { exitCode = 0 } = process
  process.exitCode = 0
  return Number(exitCode)
}

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
  operations.status = async () => STATUS

  expect(await run('status')).toBe(0)

  expect(stdout).toBe(`\
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
  operations.status = async () => ({ scrub: {}, providers: { error }, repair: { error } })

  expect(await run('status')).toBe(0)

  expect(stdout).toBe(`\
scrub            no round has ended yet
providers        unknown: the provider manager does not answer
repair           unknown: the provider manager does not answer
`)
})

test('tells how far the scrubber is', async () => {
  operations.status = async () => ({ scrub: { running: { ...COUNTS, checked: 4 } } })

  expect(await run('status')).toBe(0)

  expect(stdout).toBe('scrub            no round has ended yet; 4 checked in this round\n')
})

test('is one JSON document for programs', async () => {
  operations.status = async () => STATUS

  expect(await run('status', '--json')).toBe(0)

  expect(JSON.parse(stdout)).toEqual(STATUS)
})
