import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DiskLayout } from '../../src/chunks/disk-layout.ts'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import type { Durability } from '../../src/chunks/types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import {
  type EarlyAcknowledgement,
  findEarlyAcknowledgements
} from '../support/durability/flush-check.ts'
import { RecordingFiles } from '../support/durability/recording-files.ts'

const CHUNKS = 60

let directory: string
let files: RecordingFiles

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-flushes-'))
  files = new RecordingFiles()
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

async function put(
  durability: Durability,
  order: 'in turn' | 'at once'
): Promise<EarlyAcknowledgement[]> {
  const layout = new DiskLayout(directory)
  const store = new DiskStore({ logger: noLogger, files }, { directory, durability })
  await store.start()
  const acknowledge = async (seed: number): Promise<void> => {
    const { id, bytes } = sampleChunk(seed, 50)
    await store.put(id, bytes)
    files.acknowledge(layout.pathOf(id))
  }
  const seeds = Array.from({ length: CHUNKS }, (_, seed) => seed)
  if (order === 'at once') await Promise.all(seeds.map(acknowledge))
  else for (const seed of seeds) await acknowledge(seed)
  await store.stop()
  // A chunk's own bytes and name, and the names of the folders above it.
  return findEarlyAcknowledgements(files.events, (path, what) => what.startsWith(path))
}

test.each(['in turn', 'at once'] as const)(
  'chunks that are put %s are flushed, and their names, before they are acknowledged',
  async (order) => {
    expect(await put('fsync', order)).toEqual([])
    expect(files.events.filter(({ kind }) => kind === 'acknowledged')).toHaveLength(CHUNKS)
  }
)

test('the check finds every chunk of a store that flushes nothing', async () => {
  expect(await put('memory', 'in turn')).toHaveLength(CHUNKS)
})
