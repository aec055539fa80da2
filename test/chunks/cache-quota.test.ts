import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from '@jest/globals'
import pLimit from 'p-limit'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { DiskStore } from '../../src/chunks/disk-store.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { temporaryFolders } from '../support/temporary-folder.ts'

const CHUNK = 4096
const SEGMENT = 8 * CHUNK
const QUOTA = 64 * CHUNK
const newFolder = temporaryFolders()

const open: DiskStore[] = []
afterEach(async () => {
  for (const store of open.splice(0)) await store.stop()
})

async function start(directory: string, makeRoom?: (bytes: number) => Promise<boolean>) {
  const store = new DiskStore(
    { logger: noLogger, makeRoom },
    { directory, durability: 'memory', quotaBytes: QUOTA, countsDead: true, segmentBytes: SEGMENT }
  )
  await store.start()
  open.push(store)
  return store
}

async function bytesBelow(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true })
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** Puts chunks and remembers in which order. */
async function fill(store: DiskStore, count: number, seed: number, ids: ChunkId[]): Promise<void> {
  for (let at = 0; at < count; at++) {
    const bytes = sampleBytes(CHUNK, seed * 1000 + at)
    const id = chunkId(bytes)
    await store.put(id, bytes)
    ids.push(id)
  }
}

describe('a store whose quota counts what it takes on the disk', () => {
  test('stays below it however much is put and deleted', async () => {
    const folder = await newFolder()
    const ids: ChunkId[] = []
    const store = await start(folder, async () => {
      // Every other one, so that no segment comes free by itself.
      const doomed = ids.splice(0, 8).filter((id, at) => at % 2 === 0 || !store.has(id))
      for (const id of doomed) await store.delete(id)
      return doomed.length > 0
    })

    const used: number[] = []
    for (let round = 0; round < 8; round++) {
      await fill(store, 24, round, ids)
      used.push(await bytesBelow(join(folder, 'segments')))
    }

    expect(store.storedBytes).toBeLessThanOrEqual(QUOTA)
    // Headers and indexes, the segment that is being filled and the one that is given back.
    expect(Math.max(...used)).toBeLessThanOrEqual(QUOTA + 2 * SEGMENT + QUOTA / 16)
  })

  test('refuses when nothing more can be given up', async () => {
    const store = await start(await newFolder(), async () => false)
    const ids: ChunkId[] = []
    await fill(store, 64, 1, ids)

    await expect(fill(store, 1, 2, ids)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

    expect(store.chunkCount).toBe(64)
  })

  test('takes many puts at once that all wait for room', async () => {
    const ids: ChunkId[] = []
    const oneByOne = pLimit(1)
    const evict = async (): Promise<boolean> => {
      const doomed = ids.splice(0, 16)
      for (const id of doomed) await store.delete(id)
      return doomed.length > 0
    }
    const store = await start(await newFolder(), async () => oneByOne(evict))
    await fill(store, 64, 1, ids)
    const more = Array.from({ length: 40 }, (_, at) => sampleBytes(CHUNK, 5000 + at))

    await Promise.all(more.map(async (bytes) => store.put(chunkId(bytes), bytes)))

    expect(more.every((bytes) => store.has(chunkId(bytes)))).toBe(true)
    expect(store.storedBytes).toBeLessThanOrEqual(QUOTA)
  })

  test('counts what is kept elsewhere under the same quota', async () => {
    let otherBytes = 0
    const store = new DiskStore(
      { logger: noLogger, otherBytes: () => otherBytes },
      { directory: await newFolder(), durability: 'memory', quotaBytes: 4 * CHUNK }
    )
    await store.start()
    open.push(store)
    await fill(store, 2, 1, [])
    otherBytes = 2 * CHUNK

    await expect(fill(store, 1, 2, [])).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

    otherBytes = CHUNK
    await fill(store, 1, 2, [])
    expect(store.chunkCount).toBe(3)
  })
})
