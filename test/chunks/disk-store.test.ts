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
import { findChunk, spoilChunk } from '../support/chunk-on-disk.ts'
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
/** Of a chunk in a file of its own. */
const pathOf = (id: ChunkId): string =>
  join(directory, 'chunks', toHex(id).slice(0, 2), toHex(id).slice(2))
const openWithSpoilt = async (
  seeds: readonly number[],
  options: Partial<DiskStoreOptions> = {}
): Promise<DiskStore> => {
  const first = await open(options)
  for (const seed of seeds) {
    const { id, bytes } = sampleChunk(seed)
    await first.put(id, bytes)
    await spoilChunk(directory, id)
  }
  await first.stop()
  return await open(options)
}
const errorsLogged = (): number => logger.lines.filter(({ level }) => level === 'error').length

let storeNumber = 0
const contractDirectory = (): string => join(directory, `store-${storeNumber++}`)

testChunkStore('disk store in segments', async (options) => {
  const store = makeStore({ ...options, directory: contractDirectory(), durability: 'memory' })
  return { store, close: () => store.stop() }
})

testChunkStore('disk store in small segments that moves 100 bytes at a time', async (options) => {
  const small = { maxWrites: 2, maxReads: 2, segmentBytes: 2000 }
  const store = makeStore({ ...options, ...small, directory: contractDirectory() })
  files.maxBytes = 100
  return { store, close: () => store.stop() }
})

testChunkStore('disk store in files that moves 100 bytes at a time, and syncs', async (options) => {
  const small = { maxWrites: 2, maxReads: 2, format: 'files' } as const
  const store = makeStore({ ...options, ...small, directory: contractDirectory() })
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

describe('durability in files', () => {
  test('acknowledges after file and folder are on the disk, in that order', async () => {
    const store = await open({ format: 'files' })
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
    const store = await open({ format: 'files' })
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
    const store = await open({ format: 'files', durability: 'memory' })
    const { id, bytes } = sampleChunk(1)
    files.trace.length = 0

    await store.put(id, bytes)

    expect(files.trace.filter((line) => line.startsWith('fsync'))).toEqual([])
  })

  test('opens no more files at a time than it may', async () => {
    const store = await open({ format: 'files', durability: 'memory', maxWrites: 3 })
    const chunks = Array.from({ length: 30 }, (_, seed) => sampleChunk(seed))
    files.mostOpenFiles = 0

    await Promise.all(chunks.map(({ id, bytes }) => store.put(id, bytes)))

    expect(files.mostOpenFiles).toBeLessThanOrEqual(3)
  })
})

describe('a restart', () => {
  test.each(['segments', 'files'] as const)(
    'finds all chunks and removes what writes left, in %s',
    async (format) => {
      const first = await open({ format })
      const chunks = Array.from({ length: 20 }, (_, seed) => sampleChunk(seed))
      for (const { id, bytes } of chunks) await first.put(id, bytes)
      await first.stop()
      await writeFile(join(directory, 'tmp', '7'), 'half a chunk')

      const second = await open()

      expect([second.chunkCount, second.storedBytes]).toEqual([20, 20_000])
      for (const { id, bytes } of chunks) expect(await second.get(id)).toEqual(bytes)
      expect(await readdir(join(directory, 'tmp'))).toEqual([])
    }
  )

  test('leaves alone what is no chunk, and removes empty files', async () => {
    const first = await open({ format: 'files' })
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

describe.each(['segments', 'files'] as const)(
  'a chunk in %s that went bad on the disk',
  (format) => {
    test('is noticed on the first read, reported, moved away and no longer held', async () => {
      const { id, bytes } = sampleChunk(1)
      const store = await openWithSpoilt([1], { format })

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
      const store = await openWithSpoilt([1], { format })

      const reads = await Promise.all(Array.from({ length: 5 }, () => store.get(id)))

      expect(new Set(reads)).toEqual(new Set([undefined]))
      expect(errorsLogged()).toBe(1)
    })

    test('is put again while the bad one is being moved away', async () => {
      const { id, bytes } = sampleChunk(1)
      const store = await openWithSpoilt([1], { format })
      const putWhenGone = async (): Promise<void> => {
        while (!(await store.put(id, bytes))) await nextTurn()
      }

      await Promise.all([store.get(id), putWhenGone()])

      expect(await store.get(id)).toEqual(bytes)
    })

    test('is removed when enough were kept', async () => {
      const store = await openWithSpoilt([1, 2, 3], { maxCorruptFiles: 2, format })

      for (const seed of [1, 2, 3]) await store.get(sampleChunk(seed).id)

      expect(await readdir(join(directory, 'corrupt'))).toHaveLength(2)
      expect(store.chunkCount).toBe(0)
    })

    test('or is gone altogether is no longer held', async () => {
      const store = await open({ format })
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)
      await store.stop()
      const again = await open({ format })
      await rm((await findChunk(directory, id)).path)

      expect(await again.get(id)).toBeUndefined()

      expect(again.has(id)).toBe(false)
      expect(errorsLogged()).toBe(1)
    })

    test('or cannot be read is no longer held, and stays for people', async () => {
      const store = await open({ format })
      const [bad, good] = [sampleChunk(1), sampleChunk(2)]
      for (const { id, bytes } of [bad, good]) await store.put(id, bytes)
      files.fail({ operation: 'read', code: 'EIO', times: 2 })

      expect(await store.get(bad.id)).toBeUndefined()

      expect([store.has(bad.id), store.lostCount]).toEqual([false, 1])
      expect(metrics.values.get('blobswarm_chunks_corrupt_total')).toBe(1)
      files.heal()
      expect(await store.get(good.id)).toEqual(good.bytes)
      expect(await store.put(bad.id, bad.bytes)).toBe(true)
      expect(await store.get(bad.id)).toEqual(bad.bytes)
    })

    test('does not keep a check of the others from going on', async () => {
      const store = await open({ format })
      const chunks = [1, 2, 3].map((seed) => sampleChunk(seed))
      for (const { id, bytes } of chunks) await store.put(id, bytes)
      await spoilChunk(directory, chunks[0]?.id ?? new Uint8Array())

      const found: unknown[] = []
      for (const { id } of chunks) found.push(await store.check(id))

      expect(found).toEqual(['corrupt', 'intact', 'intact'])
    })
  }
)

describe.each(['segments', 'files'] as const)('a disk below %s', (format) => {
  describe('that is full or fails', () => {
    test.each([
      ['open', 'ENOSPC', 'ERR_STORE_FULL'],
      ['write', 'ENOSPC', 'ERR_STORE_FULL'],
      ['write', 'EDQUOT', 'ERR_STORE_FULL'],
      ['write', 'EIO', 'ERR_STORE_FAILED'],
      ['fsync', 'ENOSPC', 'ERR_STORE_FULL'],
      ['fsync', 'EIO', 'ERR_STORE_FAILED'],
      ['open', 'EROFS', 'ERR_STORE_FAILED']
    ] as const)('at %s with %s gives %s and leaves nothing', async (operation, cause, code) => {
      const store = await open({ format })
      const { id, bytes } = sampleChunk(1)
      files.fail({ operation, code: cause })

      await expect(store.put(id, bytes)).rejects.toMatchObject({ code, cause: { code: cause } })

      expect([store.has(id), store.storedBytes]).toEqual([false, 0])
      expect(await readdir(join(directory, 'tmp'))).toEqual([])
      expect(await store.put(id, bytes)).toBe(true)
    })

    test('when the folder is flushed leaves no chunk that might vanish later', async () => {
      const store = await open({ format })
      const { id, bytes } = sampleChunk(1)
      const folder = format === 'files' ? '/chunks/' : '/segments'
      files.fail({ operation: 'fsync', code: 'EIO', path: folder })

      await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

      expect(store.has(id)).toBe(false)
      await store.stop()
      expect((await open({ format })).has(id)).toBe(false)
    })

    test('fails one of two puts of a chunk, and the other does it itself', async () => {
      const store = await open({ format })
      const { id, bytes } = sampleChunk(1)
      files.fail({ operation: 'write', code: 'ENOSPC' })

      const [first, second] = await Promise.allSettled([store.put(id, bytes), store.put(id, bytes)])

      expect([first?.status, second?.status]).toEqual(['rejected', 'fulfilled'])
      expect(await store.get(id)).toEqual(bytes)
    })

    test('keeps a chunk that could not be removed', async () => {
      const store = await open({ format })
      const { id, bytes } = sampleChunk(1)
      await store.put(id, bytes)
      if (format === 'files') files.fail({ operation: 'unlink', code: 'EIO' })
      else files.fail({ operation: 'open', path: '.dead', code: 'EIO' })

      await expect(store.delete(id)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })

      expect([store.has(id), store.storedBytes]).toEqual([true, 1000])
    })

    test('an abandoned put that has not begun leaves nothing', async () => {
      const store = await open({ format, maxWrites: 1 })
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
    ['a newer format', '{"format":3,"hash":30}'],
    ['an unknown format', '{"format":0,"hash":30}'],
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

  test.each([
    ['a folder for its format', 'format.json', 'folder'],
    ['a file for its segments', 'segments', 'file'],
    ['a file for what is corrupt', 'corrupt', 'file']
  ])('is one with %s', async (_, name, kind) => {
    if (kind === 'folder') await mkdir(join(directory, name))
    else await writeFile(join(directory, name), 'not a folder')

    await expect(makeStore().start()).rejects.toMatchObject(refusal)
  })

  test('is not one with a folder among its temporary files', async () => {
    await (await open()).stop()
    await mkdir(join(directory, 'tmp', '0'))

    await expect(open()).resolves.toBeInstanceOf(DiskStore)
  })

  test('is not one with a folder in the place of a chunk, which is lost', async () => {
    const first = await open({ format: 'files' })
    const [bad, good] = [sampleChunk(1), sampleChunk(2)]
    for (const { id, bytes } of [bad, good]) await first.put(id, bytes)
    await first.stop()
    await rm(pathOf(bad.id))
    await mkdir(pathOf(bad.id))

    const store = await open()

    expect(await store.get(bad.id)).toBeUndefined()
    expect(await store.get(good.id)).toEqual(good.bytes)
    expect(await store.put(bad.id, bad.bytes)).toBe(true)
    expect(await store.get(bad.id)).toEqual(bad.bytes)
  })

  test('is one that cannot be read', async () => {
    files.fail({ operation: 'list', code: 'EIO', path: 'segments' })

    await expect(makeStore().start()).rejects.toMatchObject({ ...refusal, cause: { code: 'EIO' } })
    await expect(open()).resolves.toBeInstanceOf(DiskStore)
  })

  test('tells its format and hash', async () => {
    await open()

    const text = await readFile(join(directory, 'format.json'), 'utf8')
    expect(JSON.parse(text)).toEqual({ format: 2, hash: 0x1e })
  })
})
