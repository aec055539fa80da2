import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import type { DiskFormat } from '../../src/chunks/disk-layout.ts'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import type { Durability } from '../../src/chunks/store-types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { findChunk } from '../support/chunk-on-disk.ts'
import {
  type EarlyAcknowledgement,
  findEarlyAcknowledgements
} from '../support/durability/flush-check.ts'
import { RecordingFiles } from '../support/durability/recording-files.ts'

const CHUNKS = 30

let directory: string
let files: RecordingFiles

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-flushes-'))
  files = new RecordingFiles()
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

interface Trial {
  readonly durability?: Durability
  readonly format: DiskFormat
  readonly order: 'in turn' | 'at once'
}

async function put({
  durability = 'fsync',
  format,
  order
}: Trial): Promise<EarlyAcknowledgement[]> {
  const options = { directory, durability, format, segmentBytes: 1000 }
  const store = new DiskStore({ logger: noLogger, files }, options)
  await store.start()
  const acknowledge = async (seed: number): Promise<void> => {
    const { id, bytes } = sampleChunk(seed, 50)
    await store.put(id, bytes)
    // Its file as long as no other put is in it, and the names of the folders above.
    const { path } = await findChunk(directory, id)
    if (format === 'files' || order === 'in turn') files.acknowledge(path)
  }
  const seeds = Array.from({ length: CHUNKS }, (_, seed) => seed)
  if (order === 'at once') await Promise.all(seeds.map(acknowledge))
  else for (const seed of seeds) await acknowledge(seed)
  if (format === 'segments' && order === 'at once') files.acknowledge(join(directory, 'segments'))
  await store.stop()
  return findEarlyAcknowledgements(files.events, (path, what) => isPartOf(path, what))
}

/** A chunk's file, the folders above it, and what lies in the folder that is acknowledged. */
const isPartOf = (path: string, what: string): boolean =>
  what.startsWith(path) || (path.startsWith(what) && path.endsWith('.chunks'))

test.each([
  ['files', 'in turn'],
  ['files', 'at once'],
  ['segments', 'in turn'],
  ['segments', 'at once']
] as const)(
  'chunks in %s that are put %s are flushed, and their names, before they are acknowledged',
  async (format, order) => {
    expect(await put({ format, order })).toEqual([])
    const acknowledged = files.events.filter(({ kind }) => kind === 'acknowledged')
    expect(acknowledged).toHaveLength(format === 'segments' && order === 'at once' ? 1 : CHUNKS)
  }
)

test.each(['files', 'segments'] as const)(
  'the check finds every chunk of a store in %s that flushes nothing',
  async (format) => {
    expect(await put({ durability: 'memory', format, order: 'in turn' })).toHaveLength(CHUNKS)
  }
)
