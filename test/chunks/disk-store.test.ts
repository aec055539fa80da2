import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { DiskStore, type DiskStoreOptions } from '../../src/chunks/disk-store.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { toHex } from '../../src/lib/bytes.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { MemoryMetrics } from '../../src/lib/metrics.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk, testChunkStore } from '../contract/chunk-store.ts'
import { FaultyFiles } from '../support/faulty-files.ts'

let directory: string
let stores: DiskStore[] = []
let logger: MemoryLogger
let metrics: MemoryMetrics
let files: FaultyFiles

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-store-'))
  logger = new MemoryLogger()
  metrics = new MemoryMetrics()
  files = new FaultyFiles()
})

afterEach(async () => {
  for (const store of stores) await store.stop()
  stores = []
  await rm(directory, { recursive: true, force: true })
})

const makeStore = (options: Partial<DiskStoreOptions> = {}): DiskStore => {
  const store = new DiskStore({ logger, metrics, files }, { directory, ...options })
  stores.push(store)
  return store
}
const open = async (options: Partial<DiskStoreOptions> = {}): Promise<DiskStore> => {
  const store = makeStore(options)
  await store.start()
  return store
}
const pathOf = (id: ChunkId): string =>
  join(directory, 'chunks', toHex(id).slice(0, 2), toHex(id).slice(2))
const spoil = async (id: ChunkId): Promise<void> => {
  const bytes = await readFile(pathOf(id))
  bytes[10] = (bytes[10] ?? 0) ^ 1
  await writeFile(pathOf(id), bytes)
}
const openWithSpoilt = async (
  seeds: readonly number[],
  options: Partial<DiskStoreOptions> = {}
): Promise<DiskStore> => {
  const first = await open()
  for (const seed of seeds) {
    const { id, bytes } = sampleChunk(seed)
    await first.put(id, bytes)
    await spoil(id)
  }
  await first.stop()
  return await open(options)
}
const errorsLogged = (): number => logger.lines.filter(({ level }) => level === 'error').length

let storeNumber = 0
const contractDirectory = (): string => join(directory, `store-${storeNumber++}`)

testChunkStore('disk store', async (options) => {
  const store = makeStore({ ...options, directory: contractDirectory(), durability: 'memory' })
  return { store, close: () => store.stop() }
})

testChunkStore('disk store that moves 100 bytes at a time, and syncs', async (options) => {
  const store = makeStore({ ...options, directory: contractDirectory(), maxWrites: 2, maxReads: 2 })
  files.maxBytes = 100
  return { store, close: () => store.stop() }
})

test('refuses chunks when its disk has no more free than the reserve', async () => {
  let free = 3000
  const freeBytes = async (): Promise<number> => free
  const components = { logger, files, freeBytes }
  const store = new DiskStore(components, { directory, reserveBytes: 2000 })
  stores.push(store)
  await store.start()
  const [first, second] = [sampleChunk(1, 900), sampleChunk(2, 900)]
  await store.put(first.id, first.bytes)
  free = 2100

  await expect(store.put(second.id, second.bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })

  expect(await readdir(join(directory, 'tmp'))).toEqual([])
  free = 3000
  expect(await store.put(second.id, second.bytes)).toBe(true)
})

describe('durability', () => {
  test('acknowledges after file and folder are on the disk, in that order', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    files.trace.length = 0

    await store.put(id, bytes)

    const hex = toHex(id)
    expect(files.changes.slice(-4)).toEqual([
      'write tmp/0',
      'fsync tmp/0',
      `rename ${hex.slice(0, 2)}/${hex.slice(2, 14)}`,
      `fsync chunks/${hex.slice(0, 2)}`
    ])
  })

  test('acknowledges each of many puts only after the flush of its own folder', async () => {
    const store = await open()
    const chunks = Array.from({ length: 100 }, (_, seed) => sampleChunk(seed))
    files.trace.length = 0

    const flushedBefore = chunks.map(async ({ id, bytes }) => {
      await store.put(id, bytes)
      const folder = toHex(id).slice(0, 2)
      const renamed = files.trace.indexOf(`rename ${folder}/${toHex(id).slice(2, 14)}`)
      return renamed !== -1 && files.trace.indexOf(`fsync chunks/${folder}`, renamed) > renamed
    })

    expect(new Set(await Promise.all(flushedBefore))).toEqual(new Set([true]))
    const folderFlushes = files.trace.filter((line) => line.startsWith('fsync chunks/'))
    expect(folderFlushes.length).toBeLessThan(100)
  })

  test('flushes nothing when told to acknowledge from memory', async () => {
    const store = await open({ durability: 'memory' })
    const { id, bytes } = sampleChunk(1)
    files.trace.length = 0

    await store.put(id, bytes)

    expect(files.trace.filter((line) => line.startsWith('fsync'))).toEqual([])
  })

  test('opens no more files at a time than it may', async () => {
    const store = await open({ durability: 'memory', maxWrites: 3 })
    const chunks = Array.from({ length: 30 }, (_, seed) => sampleChunk(seed))
    files.mostOpenFiles = 0

    await Promise.all(chunks.map(({ id, bytes }) => store.put(id, bytes)))

    expect(files.mostOpenFiles).toBeLessThanOrEqual(3)
  })
})

describe('a restart', () => {
  test('finds all chunks and removes what writes left', async () => {
    const first = await open()
    const chunks = Array.from({ length: 20 }, (_, seed) => sampleChunk(seed))
    for (const { id, bytes } of chunks) await first.put(id, bytes)
    await first.stop()
    await writeFile(join(directory, 'tmp', '7'), 'half a chunk')

    const second = await open()

    expect([second.chunkCount, second.storedBytes]).toEqual([20, 20_000])
    for (const { id, bytes } of chunks) expect(await second.get(id)).toEqual(bytes)
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
  })

  test('leaves alone what is no chunk, and removes empty files', async () => {
    const first = await open()
    const { id, bytes } = sampleChunk(1)
    await first.put(id, bytes)
    await first.stop()
    await truncate(pathOf(id))
    const foreign = join(pathOf(id), '..', 'README')
    await writeFile(foreign, 'hello')

    const second = await open()

    expect([second.has(id), second.chunkCount]).toEqual([false, 0])
    expect(await readFile(foreign, 'utf8')).toBe('hello')
    expect(await second.put(id, bytes)).toBe(true)
  })
})

describe('a chunk that went bad on the disk', () => {
  test('is noticed on the first read, reported, moved away and no longer held', async () => {
    const { id, bytes } = sampleChunk(1)
    const store = await openWithSpoilt([1])

    expect(await store.get(id)).toBeUndefined()

    expect([store.has(id), store.storedBytes]).toEqual([false, 0])
    expect(await readdir(join(directory, 'corrupt'))).toEqual([toHex(id)])
    expect(errorsLogged()).toBe(1)
    expect(metrics.values.get('blobswarm_chunks_corrupt_total')).toBe(1)
    expect(await store.put(id, bytes)).toBe(true)
    expect(await store.get(id)).toEqual(bytes)
  })

  test('is reported once, however many read it at the same time', async () => {
    const { id } = sampleChunk(1)
    const store = await openWithSpoilt([1])

    const reads = await Promise.all(Array.from({ length: 5 }, () => store.get(id)))

    expect(new Set(reads)).toEqual(new Set([undefined]))
    expect(errorsLogged()).toBe(1)
  })

  test('is put again while the bad one is being moved away', async () => {
    const { id, bytes } = sampleChunk(1)
    const store = await openWithSpoilt([1])
    const putWhenGone = async (): Promise<void> => {
      while (!(await store.put(id, bytes))) await nextTurn()
    }

    await Promise.all([store.get(id), putWhenGone()])

    expect(await store.get(id)).toEqual(bytes)
  })

  test('is removed when enough were kept', async () => {
    const store = await openWithSpoilt([1, 2, 3], { maxCorruptFiles: 2 })

    for (const seed of [1, 2, 3]) await store.get(sampleChunk(seed).id)

    expect(await readdir(join(directory, 'corrupt'))).toHaveLength(2)
    expect(store.chunkCount).toBe(0)
  })

  test('or is gone altogether is no longer held', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    await store.put(id, bytes)
    await rm(pathOf(id))

    expect(await store.get(id)).toBeUndefined()

    expect(store.has(id)).toBe(false)
    expect(errorsLogged()).toBe(1)
  })

  test('or cannot be read is an error of this machine, and stays', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    await store.put(id, bytes)
    files.fail({ operation: 'read', code: 'EIO' })

    await expect(store.get(id)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

    expect(await store.get(id)).toEqual(bytes)
  })
})

describe('a disk that is full or fails', () => {
  test.each([
    ['open', 'ENOSPC', 'ERR_STORE_FULL'],
    ['write', 'ENOSPC', 'ERR_STORE_FULL'],
    ['write', 'EDQUOT', 'ERR_STORE_FULL'],
    ['write', 'EIO', 'ERR_STORE_FAILED'],
    ['fsync', 'ENOSPC', 'ERR_STORE_FULL'],
    ['fsync', 'EIO', 'ERR_STORE_FAILED'],
    ['close', 'EIO', 'ERR_STORE_FAILED'],
    ['rename', 'ENOSPC', 'ERR_STORE_FULL']
  ] as const)('at %s with %s gives %s and leaves nothing', async (operation, cause, code) => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    files.fail({ operation, code: cause })

    await expect(store.put(id, bytes)).rejects.toMatchObject({ code, cause: { code: cause } })

    expect([store.has(id), store.storedBytes]).toEqual([false, 0])
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
    expect(await store.put(id, bytes)).toBe(true)
  })

  test('when the folder is flushed leaves no chunk that might vanish later', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    files.fail({ operation: 'fsync', code: 'EIO', path: '/chunks/' })

    await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

    expect(store.has(id)).toBe(false)
    await expect(readFile(pathOf(id))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('fails one of two puts of a chunk, and the other does it itself', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    files.fail({ operation: 'write', code: 'ENOSPC' })

    const [first, second] = await Promise.allSettled([store.put(id, bytes), store.put(id, bytes)])

    expect([first?.status, second?.status]).toEqual(['rejected', 'fulfilled'])
    expect(await store.get(id)).toEqual(bytes)
  })

  test('keeps a chunk that could not be removed', async () => {
    const store = await open()
    const { id, bytes } = sampleChunk(1)
    await store.put(id, bytes)
    files.fail({ operation: 'unlink', code: 'EIO' })

    await expect(store.delete(id)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

    expect([store.has(id), store.storedBytes]).toEqual([true, 1000])
  })

  test('an abandoned put that has not begun leaves nothing', async () => {
    const store = await open({ maxWrites: 1 })
    const [first, second] = [sampleChunk(1), sampleChunk(2)]
    const abort = new AbortController()

    const running = store.put(first.id, first.bytes)
    const waiting = store.put(second.id, second.bytes, { signal: abort.signal })
    abort.abort(new Error('enough'))

    await expect(waiting).rejects.toThrow('enough')
    expect(await running).toBe(true)
    expect([store.has(second.id), store.storedBytes]).toEqual([false, 1000])
  })
})

describe('a directory that cannot be used', () => {
  const refusal = { code: 'ERR_STORE_UNUSABLE' }

  test('is one that another store uses', async () => {
    await open()

    await expect(makeStore().start()).rejects.toMatchObject(refusal)
  })

  test('can be used again when the other has stopped', async () => {
    const first = await open()
    await first.stop()

    await expect(open()).resolves.toBeInstanceOf(DiskStore)
  })

  test.each([
    ['a newer format', '{"format":2,"hash":30}'],
    ['another hash', '{"format":1,"hash":18}'],
    ['no format', '{"hash":30}'],
    ['no JSON', 'format 1'],
    ['no object', 'null']
  ])('is one with %s, and stays as it is', async (_, text) => {
    await writeFile(join(directory, 'format.json'), text)

    await expect(makeStore().start()).rejects.toMatchObject(refusal)

    expect((await readdir(directory)).toSorted()).toEqual(['format.json', 'lock'])
    expect(await readdir(join(directory, 'lock'))).toEqual([])
  })

  test('is one that holds something else', async () => {
    await mkdir(join(directory, 'photographs'))

    await expect(makeStore().start()).rejects.toMatchObject(refusal)
  })

  test('is one that cannot be read', async () => {
    files.fail({ operation: 'list', code: 'EIO', path: 'chunks' })

    await expect(makeStore().start()).rejects.toMatchObject({ ...refusal, cause: { code: 'EIO' } })
    await expect(open()).resolves.toBeInstanceOf(DiskStore)
  })

  test('tells its format and hash', async () => {
    await open()

    const text = await readFile(join(directory, 'format.json'), 'utf8')
    expect(JSON.parse(text)).toEqual({ format: 1, hash: 0x1e })
  })
})
