import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect } from '@jest/globals'
import {
  type EarlyAcknowledgement,
  type FileEvent,
  findEarlyAcknowledgements
} from '../support/durability/flush-check.ts'
import { readSystemCalls, STRACE_OPTIONS } from '../support/durability/system-calls.ts'
import { runOk, testWith } from '../support/programs.ts'

const TIMEOUT_MS = 60_000
const isIndex = /\/segments\/\d+\.index$/

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-durability-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** Runs a program of test/support/durability on a new folder and gives what it did to files. */
async function trace(program: string, ...args: readonly string[]): Promise<FileEvent[]> {
  const file = join(folder, 'trace')
  await rm(join(folder, 'checked'), { recursive: true, force: true })
  const script = fileURLToPath(new URL(`../support/durability/${program}.ts`, import.meta.url))
  const command = [process.execPath, script, join(folder, 'checked'), ...args]
  await runOk('strace', [...STRACE_OPTIONS, file, ...command], { timeoutMs: TIMEOUT_MS })
  return readSystemCalls(await readFile(file, 'utf8'))
}

/** What was acknowledged before everything in the folder, and the folder's own name, was on disk. */
function early(events: readonly FileEvent[]): EarlyAcknowledgement[] {
  const checked = join(folder, 'checked')
  // Locks are for processes of now; a segment's index only saves work, and may be lost.
  return findEarlyAcknowledgements(
    events,
    (path) => path.startsWith(checked) && !path.split('/').includes('lock') && !isIndex.test(path)
  )
}

function acknowledged(events: readonly FileEvent[]): string[] {
  return events.flatMap((event) => (event.kind === 'acknowledged' ? [event.what] : []))
}

testWith(
  'strace',
  'whatever a version manager, a metadata store, a chunk store and an upload journal acknowledge is on disk by then',
  async () => {
    const events = await trace('metadata-driver')

    expect(acknowledged(events).length).toBeGreaterThan(25)
    expect(early(events)).toEqual([])
  },
  TIMEOUT_MS
)

testWith(
  'strace',
  'a database that does not flush its commits is found out by the same check',
  async () => {
    const flushing = await trace('sqlite-driver', 'FULL')
    const careless = await trace('sqlite-driver', 'OFF')

    expect(acknowledged(flushing)).toHaveLength(3)
    expect(early(flushing)).toEqual([])
    expect(early(careless).length).toBe(3)
  },
  TIMEOUT_MS
)
