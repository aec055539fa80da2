import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DiskStore, type DiskStoreOptions } from '../../src/chunks/disk-store.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { FailingDisk } from '../support/failing-disk.ts'
import { ManualClock } from '../support/manual-clock.ts'

let directory: string
let stores: DiskStore[] = []
let disk: FailingDisk
let clock: ManualClock
let logger: MemoryLogger

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-failing-'))
  disk = new FailingDisk()
  clock = new ManualClock()
  logger = new MemoryLogger()
})

afterEach(async () => {
  disk.condition = 'well'
  for (const store of stores.splice(0)) await store.stop()
  await rm(directory, { recursive: true, force: true })
})

const open = async (options: Partial<DiskStoreOptions> = {}): Promise<DiskStore> => {
  const store = new DiskStore({ logger, clock, files: disk }, { directory, ...options })
  stores.push(store)
  await store.start()
  return store
}
const logged = (level: 'error' | 'info', part: string): number =>
  logger.lines.filter((line) => line.level === level && line.format.includes(part)).length

describe.each(['segments', 'files'] as const)('a store in %s on a disk', (format) => {
  test('that becomes read-only refuses puts, says so, and still reads', async () => {
    const store = await open({ format })
    const [before, after] = [sampleChunk(1), sampleChunk(2)]
    await store.put(before.id, before.bytes)
    expect(store.isWritable).toBe(true)

    disk.condition = 'read-only'
    const refusal = { code: 'ERR_STORE_FAILED', cause: { code: 'EROFS' } }
    await expect(store.put(after.id, after.bytes)).rejects.toMatchObject(refusal)

    expect(store.isWritable).toBe(false)
    await expect(store.reserve(100)).rejects.toMatchObject(refusal)
    expect(await store.get(before.id)).toEqual(before.bytes)
    expect(logged('error', 'takes no writes')).toBe(1)
  })

  test('that takes writes again is found to by a put', async () => {
    const store = await open({ format })
    const { id, bytes } = sampleChunk(1)
    disk.condition = 'broken'
    await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

    disk.condition = 'well'

    expect(await store.put(id, bytes)).toBe(true)
    expect(store.isWritable).toBe(true)
    expect(logged('info', 'takes writes again')).toBe(1)
  })

  test('that takes writes again is found to without a put, now and then', async () => {
    const store = await open({ format })
    const { id, bytes } = sampleChunk(1)
    disk.condition = 'broken'
    await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
    clock.advance(10_000)
    expect(store.isWritable).toBe(false)
    await nextTurn()

    disk.condition = 'well'
    clock.advance(9000)
    expect(store.isWritable).toBe(false)
    clock.advance(1000)
    while (!store.isWritable) await nextTurn()

    expect(logged('error', 'takes no writes')).toBe(1)
    expect(await store.put(id, bytes)).toBe(true)
  })

  test('that is full refuses puts, and counts as one that takes writes', async () => {
    const store = await open({ format })
    const { id, bytes } = sampleChunk(1)
    disk.condition = 'full'

    await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

    expect(store.isWritable).toBe(true)
    disk.condition = 'well'
    expect(await store.put(id, bytes)).toBe(true)
  })

  test('with a bad part loses what is there and nothing else', async () => {
    const store = await open({ format })
    const chunks = [1, 2, 3, 4].map((seed) => sampleChunk(seed))
    for (const { id, bytes } of chunks) await store.put(id, bytes)
    const bad = chunks[1] as ReturnType<typeof sampleChunk>
    await disk.spoil(directory, bad.id)

    const found = []
    for (const { id } of chunks) found.push(await store.check(id))

    expect(found).toEqual(['intact', 'corrupt', 'intact', 'intact'])
    expect([store.lostCount, store.has(bad.id)]).toEqual([1, false])
    expect(logged('error', 'is lost')).toBe(1)
    expect(await store.put(bad.id, bad.bytes)).toBe(true)
    expect(await store.get(bad.id)).toEqual(bad.bytes)
    await store.stop()
    const again = await open({ format })
    expect(await again.get(bad.id)).toEqual(bad.bytes)
  })
})

describe('space that is reserved', () => {
  test('counts against the quota until it is released', async () => {
    const store = await open({ quotaBytes: 2500 })
    const first = await store.reserve(1000)
    const second = await store.reserve(1000)

    await expect(store.reserve(1000)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
    first.release()
    first.release()
    const third = await store.reserve(1000)
    await expect(store.reserve(1000)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

    second.release()
    third.release()
    await expect(store.reserve(2500)).resolves.toMatchObject({ bytes: 2500 })
  })

  test('is for the put that it is given to, and free when that ends', async () => {
    const store = await open({ quotaBytes: 2500 })
    const [first, second] = [sampleChunk(1), sampleChunk(2)]
    const one = await store.reserve(1000)
    const two = await store.reserve(1000)

    await store.put(first.id, first.bytes, { reservation: one })
    await store.put(first.id, first.bytes, { reservation: two })

    expect(store.storedBytes).toBe(1000)
    expect(await store.put(second.id, second.bytes)).toBe(true)
  })

  test('is free again when the put fails', async () => {
    const store = await open({ quotaBytes: 1500 })
    const { id, bytes } = sampleChunk(1)
    const reservation = await store.reserve(1000)
    disk.condition = 'broken'

    await expect(store.put(id, bytes, { reservation })).rejects.toThrow()

    disk.condition = 'well'
    expect(await store.put(id, bytes)).toBe(true)
  })

  test('is not there on a disk without room', async () => {
    let free = 5000
    const freeBytes = async (): Promise<number> => free
    const store = new DiskStore({ logger, files: disk, freeBytes }, { directory })
    stores.push(store)
    await store.start()
    await store.reserve(3000)
    free = 2000

    await expect(store.reserve(3000)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
  })
})
