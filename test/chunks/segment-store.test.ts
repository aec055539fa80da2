import {
  cp,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkKey } from '../../src/chunks/chunk-id.ts'
import { DiskStore, type DiskStoreOptions } from '../../src/chunks/disk-store.ts'
import { recordBytes, SEGMENT_HEADER_BYTES } from '../../src/chunks/segment-format.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { sampleChunk } from '../contract/chunk-store.ts'
import { findChunk, spoilChunk } from '../support/chunk-on-disk.ts'
import { FaultyFiles } from '../support/faulty-files.ts'
import { FlushedLengths } from '../support/flushed-lengths.ts'

type Sample = ReturnType<typeof sampleChunk>

/** Ten chunks of 100 bytes. */
const SEGMENT_BYTES = SEGMENT_HEADER_BYTES + 10 * recordBytes(100)

let directory: string
let files: FaultyFiles
let logger: MemoryLogger
let stores: DiskStore[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'blobswarm-segments-'))
  files = new FaultyFiles()
  logger = new MemoryLogger()
})

afterEach(async () => {
  for (const store of stores.splice(0)) await store.stop()
  await rm(directory, { recursive: true, force: true })
})

const open = async (options: Partial<DiskStoreOptions> = {}): Promise<DiskStore> => {
  const defaults = { directory: join(directory, 'a'), segmentBytes: SEGMENT_BYTES }
  const store = new DiskStore({ logger, files }, { ...defaults, ...options })
  stores.push(store)
  await store.start()
  return store
}
const samples = (count: number): Sample[] =>
  Array.from({ length: count }, (_, seed) => sampleChunk(seed, 100))
const filled = async (count: number): Promise<{ store: DiskStore; chunks: Sample[] }> => {
  const store = await open()
  const chunks = samples(count)
  for (const { id, bytes } of chunks) await store.put(id, bytes)
  return { store, chunks }
}
const segmentFiles = async (): Promise<string[]> =>
  (await readdir(join(directory, 'a', 'segments'))).toSorted()
const segments = async (): Promise<string[]> =>
  (await segmentFiles()).filter((name) => name.endsWith('.chunks'))
const indexOf = (number: number): string =>
  join(directory, 'a', 'segments', `0000000${number}.index`)
/** The store as a process finds it that comes after one that was killed now. */
const afterKill = async (): Promise<DiskStore> => {
  const copy = join(directory, 'b')
  await cp(join(directory, 'a'), copy, { recursive: true })
  await rm(join(copy, 'lock'), { recursive: true })
  return await open({ directory: copy })
}
const heldOf = (store: DiskStore, chunks: readonly Sample[]): number[] =>
  Array.from(chunks.keys()).filter((at) => store.has((chunks[at] as Sample).id))
const errors = (): number => logger.lines.filter(({ level }) => level === 'error').length

test('many chunks share a file, up to its length', async () => {
  const { store, chunks } = await filled(25)

  expect(await segments()).toEqual(['00000001.chunks', '00000002.chunks', '00000003.chunks'])
  for (const { id, bytes } of chunks) expect(await store.get(id)).toEqual(bytes)
})

test('a chunk that is longer than a segment has one of its own', async () => {
  const store = await open()
  const long = sampleChunk(1, 5000)
  const next = sampleChunk(2, 100)

  for (const { id, bytes } of [long, next]) await store.put(id, bytes)

  expect(await segments()).toHaveLength(2)
  for (const { id, bytes } of [long, next]) expect(await store.get(id)).toEqual(bytes)
})

test('many puts share a flush, and each is acknowledged only after the one of its own bytes', async () => {
  const lengths = new FlushedLengths(files)
  const at = join(directory, 'a')
  const store = new DiskStore({ logger, files: lengths }, { directory: at, segmentBytes: 20_000 })
  stores.push(store)
  await store.start()
  const chunks = samples(200)
  lengths.flushCount = 0

  const early: number[] = []
  await Promise.all(
    chunks.map(async ({ id, bytes }, number) => {
      await store.put(id, bytes)
      const flushed = new Map(lengths.flushed)
      const { path, offset, length } = await findChunk(at, id)
      if ((flushed.get(path) ?? 0) < offset + length) early.push(number)
    })
  )

  expect(early).toEqual([])
  expect(lengths.flushCount).toBeLessThan(100)
})

describe('space', () => {
  test('of deleted chunks comes back, and the others stay', async () => {
    const { store, chunks } = await filled(50)
    const [kept, gone] = [chunks.slice(0, 50), [] as Sample[]]
    for (let at = 49; at >= 0; at--) if (at % 5 !== 0) gone.push(...kept.splice(at, 1))

    await Promise.all(gone.map(({ id }) => store.delete(id)))
    while ((await segments()).length > 2) await nextTurn()

    for (const { id, bytes } of kept) expect(await store.get(id)).toEqual(bytes)
    expect(store.chunkCount).toBe(10)
    await store.stop()
    const again = await open()
    expect(heldOf(again, chunks)).toEqual(kept.map((chunk) => chunks.indexOf(chunk)))
  })

  test('of a segment that is being written to comes back when the writing has ended', async () => {
    const { store, chunks } = await filled(6)
    const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const write = files.write.bind(files)
    files.write = async (file, bytes, position) => {
      if (bytes.byteLength === recordBytes(200)) {
        begun.resolve()
        await goOn.promise
      }
      return await write(file, bytes, position)
    }
    const late = sampleChunk(80, 200)

    const putting = store.put(late.id, late.bytes)
    await begun.promise
    for (const { id } of chunks.slice(0, 5)) await store.delete(id)
    await nextTurn()
    goOn.resolve()
    await putting

    while ((await segments()).includes('00000001.chunks')) await nextTurn()
    expect(await store.get(late.id)).toEqual(late.bytes)
    expect(heldOf(store, chunks)).toEqual([5])
    expect(errors()).toBe(0)
  })

  test('of a segment without chunks comes back at once', async () => {
    const { store, chunks } = await filled(15)

    for (const { id } of chunks.slice(0, 10)) await store.delete(id)
    while ((await segmentFiles()).some((name) => name.startsWith('00000001'))) await nextTurn()

    expect(await segments()).toEqual(['00000002.chunks'])
    expect(heldOf(store, chunks)).toEqual([10, 11, 12, 13, 14])
  })

  test('comes back while everything is read', async () => {
    const { store, chunks } = await filled(40)
    const kept = chunks.filter((_, at) => at % 4 === 0)

    const reading = Array.from({ length: 10 }, async () => {
      for (const { id, bytes } of kept) expect(await store.get(id)).toEqual(bytes)
    })
    for (const chunk of chunks) if (!kept.includes(chunk)) await store.delete(chunk.id)
    await Promise.all(reading)
    while ((await segments()).length > 2) await nextTurn()

    for (const { id, bytes } of kept) expect(await store.get(id)).toEqual(bytes)
  })

  test('comes back earlier on a disk that is short of it', async () => {
    let free = 20_000
    const freeBytes = async (): Promise<number> => free
    const options = { directory: join(directory, 'a'), segmentBytes: SEGMENT_BYTES }
    const store = new DiskStore({ logger, files, freeBytes }, options)
    stores.push(store)
    await store.start()
    const chunks = samples(40)
    for (const { id, bytes } of chunks) await store.put(id, bytes)
    for (const at of [0, 1, 10, 11, 12, 20]) await store.delete((chunks[at] as Sample).id)
    expect(await segments()).toHaveLength(4)

    free = 100
    const { id, bytes } = sampleChunk(90, 5000)
    await expect(store.put(id, bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FULL' })
    const worth = new Set(['00000001.chunks', '00000002.chunks'])
    while ((await segments()).some((name) => worth.has(name))) await nextTurn()

    const held = Array.from(chunks.keys()).filter((at) => ![0, 1, 10, 11, 12, 20].includes(at))
    expect(heldOf(store, chunks)).toEqual(held)
    for (const at of held) {
      expect(await store.get((chunks[at] as Sample).id)).toEqual(chunks[at]?.bytes)
    }
  })

  test('of a segment with a bad chunk comes back when that was found by a reader', async () => {
    const { store, chunks } = await filled(20)
    const bad = chunks[7] as Sample
    await spoilChunk(join(directory, 'a'), bad.id)

    for (const at of [0, 1, 2, 3, 4, 5]) await store.delete((chunks[at] as Sample).id)
    while (!logger.lines.some(({ values }) => String(values[1]).includes('bad'))) await nextTurn()

    expect(await segments()).toContain('00000001.chunks')
    expect(await store.get(bad.id)).toBeUndefined()
    while ((await segments()).includes('00000001.chunks')) await nextTurn()
    expect(heldOf(store, chunks)).toEqual([6, ...Array.from({ length: 12 }, (_, at) => 8 + at)])
    expect(store.lostCount).toBe(1)
  })

  test('is freed on a disk that has no room to note it', async () => {
    const { store, chunks } = await filled(20)
    files.fail({ operation: 'open', path: '.dead', code: 'ENOSPC', times: 100 })

    for (const { id } of chunks.slice(0, 10)) expect(await store.delete(id)).toBe(true)
    while ((await segments()).length > 1) await nextTurn()

    expect(heldOf(store, chunks)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
  })

  test('stays taken by what cannot be copied, and a later delete frees it', async () => {
    const { store, chunks } = await filled(20)
    files.fail({ operation: 'write', path: '00000003', code: 'ENOSPC', times: 100 })

    for (const { id } of chunks.slice(0, 9)) await store.delete(id)
    while (!logger.lines.some(({ format }) => format.includes('not compacted'))) await nextTurn()
    files.heal()

    expect(await store.get((chunks[9] as Sample).id)).toEqual(chunks[9]?.bytes)
    await store.delete((chunks[9] as Sample).id)
    while ((await segments()).includes('00000001.chunks')) await nextTurn()
    expect(store.chunkCount).toBe(10)
  })
})

describe('after a kill', () => {
  test('all chunks are there, without the deleted ones', async () => {
    const { store, chunks } = await filled(35)
    for (const at of [3, 12, 34]) await store.delete((chunks[at] as Sample).id)

    const next = await afterKill()

    const expected = Array.from(chunks.keys()).filter((at) => ![3, 12, 34].includes(at))
    expect(heldOf(next, chunks)).toEqual(expected)
    for (const at of expected) {
      const { id, bytes } = chunks[at] as Sample
      expect(await next.get(id)).toEqual(bytes)
    }
  })

  test('what was cut off is passed over, and the segment goes on', async () => {
    const { chunks } = await filled(4)
    const path = join(directory, 'a', 'segments', '00000001.chunks')
    await truncate(path, SEGMENT_HEADER_BYTES + 3 * recordBytes(100) + 70)

    const next = await afterKill()

    expect(heldOf(next, chunks)).toEqual([0, 1, 2])
    const { id, bytes } = chunks[3] as Sample
    expect(await next.put(id, bytes)).toBe(true)
    expect(await next.get(id)).toEqual(bytes)
    expect(await readdir(join(directory, 'b', 'segments'))).toEqual([
      '00000001.chunks',
      '00000001.index'
    ])
  })

  test('a segment that was only begun is removed', async () => {
    await filled(4)
    await writeFile(join(directory, 'a', 'segments', '00000002.chunks'), 'BSW')
    await writeFile(join(directory, 'a', 'segments', '00000002.dead'), 'left over')

    const next = await afterKill()

    expect(next.chunkCount).toBe(4)
    expect(await readdir(join(directory, 'b', 'segments'))).not.toContain('00000002.dead')
    const { id, bytes } = sampleChunk(99, 900)
    expect(await next.put(id, bytes)).toBe(true)
  })

  test('of two copies of a chunk the later counts', async () => {
    const { store, chunks } = await filled(12)
    await store.stop()
    const from = join(directory, 'a', 'segments', '00000001.chunks')
    await cp(from, join(directory, 'a', 'segments', '00000007.chunks'))

    const next = await open()

    expect([next.chunkCount, next.storedBytes]).toEqual([12, 1200])
    while ((await segments()).includes('00000001.chunks')) await nextTurn()
    for (const { id, bytes } of chunks) expect(await next.get(id)).toEqual(bytes)
  })
})

describe('an index', () => {
  test.each([
    ['is rubbish', async () => await writeFile(indexOf(1), Buffer.alloc(500, 7))],
    ['is empty', async () => await writeFile(indexOf(1), '')],
    ['is gone', async () => await rm(indexOf(1))],
    ['is cut off', async () => await truncate(indexOf(1), 300)],
    ['is of another segment', async () => await cp(indexOf(2), indexOf(1))],
    [
      'is a folder',
      async () => {
        await rm(indexOf(1))
        await mkdir(indexOf(1))
      }
    ]
  ])('that %s costs time only', async (_, spoil) => {
    const { store, chunks } = await filled(25)
    await store.stop()
    await spoil()

    const next = await open()

    expect(heldOf(next, chunks)).toHaveLength(25)
    for (const { id, bytes } of chunks) expect(await next.get(id)).toEqual(bytes)
  })

  test('of before is followed by what was written since', async () => {
    const { store, chunks } = await filled(5)
    await store.stop()
    const index = await readFile(indexOf(1))
    const second = await open()
    const more = [sampleChunk(50, 100), sampleChunk(51, 100)]
    for (const { id, bytes } of more) await second.put(id, bytes)
    await second.stop()
    await writeFile(indexOf(1), index)

    const next = await open()

    expect(heldOf(next, [...chunks, ...more])).toHaveLength(7)
  })
})

describe('a segment that cannot be used', () => {
  test('because it cannot be opened leaves the others, and is left alone', async () => {
    const { store, chunks } = await filled(25)
    await store.stop()
    files.fail({ operation: 'open', path: '00000002.chunks', code: 'EIO' })

    const next = await open()

    expect(heldOf(next, chunks)).toHaveLength(15)
    expect(errors()).toBe(1)
    expect(await next.put(chunks[12]?.id as Uint8Array, chunks[12]?.bytes as Uint8Array)).toBe(true)
    expect(await segments()).toHaveLength(3)
  })

  test('because it is a folder, or something else, leaves the others', async () => {
    const { store, chunks } = await filled(5)
    await store.stop()
    await mkdir(join(directory, 'a', 'segments', '00000005.chunks'))
    await writeFile(join(directory, 'a', 'segments', '00000004.chunks'), Buffer.alloc(500))
    const headless = Buffer.alloc(500).fill(7, 16)
    await writeFile(join(directory, 'a', 'segments', '00000003.chunks'), headless)
    await writeFile(join(directory, 'a', 'segments', '00000006.chunks'), 'a letter to somebody')

    const next = await open()

    expect(heldOf(next, chunks)).toHaveLength(5)
    expect(errors()).toBe(3)
    expect(await segments()).not.toContain('00000004.chunks')
    expect(await segments()).toContain('00000003.chunks')
    const other = sampleChunk(70, 1000)
    await next.put(other.id, other.bytes)
    expect(await segments()).toContain('00000007.chunks')
  })

  test('because its head is spoilt is used by what its index says', async () => {
    const { store, chunks } = await filled(5)
    await store.stop()
    const file = await openFile(join(directory, 'a', 'segments', '00000001.chunks'), 'r+')
    await file.write(Buffer.alloc(SEGMENT_HEADER_BYTES, 9), 0, SEGMENT_HEADER_BYTES, 0)
    await file.close()

    const next = await open()

    expect(heldOf(next, chunks)).toHaveLength(5)
    for (const { id, bytes } of chunks) expect(await next.get(id)).toEqual(bytes)
  })

  test('because a flush of it has failed takes no more chunks', async () => {
    const { store } = await filled(2)
    const [bad, good] = [sampleChunk(60, 100), sampleChunk(61, 100)]
    files.fail({ operation: 'fsync', path: '.chunks', code: 'EIO' })

    await expect(store.put(bad.id, bad.bytes)).rejects.toMatchObject({ code: 'ERR_STORE_FAILED' })
    await store.put(good.id, good.bytes)

    expect((await findChunk(join(directory, 'a'), good.id)).path).toContain('00000002')
    const next = await afterKill()
    expect(heldOf(next, [...samples(2), bad, good])).toEqual([0, 1, 3])
  })
})

test('is a map, whatever is done to it and however often it is started again', async () => {
  const chunks = samples(14)
  const step = fc.record({
    verb: fc.constantFrom('put', 'put', 'delete', 'restart'),
    which: fc.subarray(Array.from(chunks.keys()), { minLength: 1 })
  })
  let number = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const options = { directory: join(directory, `map-${number++}`), segmentBytes: 500 } as const
      const model = new Set<string>()
      let store = await open({ ...options, durability: 'memory' })
      for (const { verb, which } of steps) {
        const some = which.map((at) => chunks[at] as Sample)
        if (verb === 'restart') {
          await store.stop()
          store = await open({ ...options, durability: 'memory' })
        } else if (verb === 'put') {
          await Promise.all(some.map(async ({ id, bytes }) => await store.put(id, bytes)))
          for (const { id } of some) model.add(chunkKey(id))
        } else {
          await Promise.all(some.map(async ({ id }) => await store.delete(id)))
          for (const { id } of some) model.delete(chunkKey(id))
        }
      }

      for (const { id, bytes } of chunks) {
        const expected = model.has(chunkKey(id)) ? bytes : undefined
        expect(await store.get(id)).toEqual(expected)
      }
      expect(store.chunkCount).toBe(model.size)
      await store.stop()
    }),
    { numRuns: 25 }
  )
})
