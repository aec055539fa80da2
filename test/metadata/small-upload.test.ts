import { afterEach, describe, expect, test } from '@jest/globals'
import { isZeroChunk } from '../../src/chunks/chunk-id.ts'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import type { VersionSummary } from '../../src/metadata/types.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 64 * KIB

const started: TestRepository[] = []

afterEach(async () => {
  for (const bench of started.splice(0)) await bench.stop()
})

async function start(options: Parameters<typeof startTestRepository>[0] = {}) {
  const bench = await startTestRepository({ chunkBytes: CHUNK, ...options })
  started.push(bench)
  return bench
}

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

async function put(
  { repository }: TestRepository,
  path: string,
  pieces: readonly Piece[]
): Promise<VersionSummary> {
  const writer = await repository.openWrite(path, { mode: 'replace', note: 'small' })
  for (const { offset, bytes } of pieces) await writer.write(offset, bytes)
  return await writer.publish()
}

async function content({ repository }: TestRepository, ref: string): Promise<Buffer> {
  const snapshot = await repository.openRead(ref)
  const range = { offset: 0, length: snapshot.bytes }
  return Buffer.concat(await Array.fromAsync(snapshot.read(range)))
}

const piece = (offset: number, text: string): Piece => ({ offset, bytes: Buffer.from(text) })

const code = (name: string): object => ({ code: name })

describe('a file of less than a chunk', () => {
  test('is there as version 1 once it is published, and not before', async () => {
    const bench = await start()
    const bytes = sampleBytes(4096)
    const writer = await bench.repository.openWrite('/a/b/small', { mode: 'replace', note: 'one' })
    await writer.write(0, bytes)
    expect(await bench.repository.stat('/a')).toBeUndefined()
    expect(await bench.repository.stat('/a/b/small')).toBeUndefined()

    const published = await writer.publish()

    expect(published).toMatchObject({
      version: 1,
      bytes: 4096,
      note: 'one',
      condition: 'published'
    })
    expect(await bench.repository.stat('/a/b/small')).toMatchObject({ version: 1, bytes: 4096 })
    expect(await bench.repository.usage('/a')).toEqual({ bytes: 4096 })
    expect((await content(bench, '/a/b/small')).equals(bytes)).toBe(true)
    expect(writer.progress).toMatchObject({ receivedBytes: 4096, storedBytes: 4096 })
  })

  test('is what its pieces make of it: gaps are zeros, the later one wins', async () => {
    const bench = await start()
    await put(bench, '/pieces', [piece(6, 'six'), piece(0, 'zero'), piece(2, 'ro--'), piece(9, '')])

    expect((await content(bench, '/pieces')).toString()).toBe('zero--six')
  })

  test('may be empty, or nothing but zeros, of which nothing is stored', async () => {
    const bench = await start()

    await put(bench, '/empty', [])
    await put(bench, '/zeros', [{ offset: 0, bytes: new Uint8Array(5000) }])

    expect(await bench.repository.stat('/empty')).toMatchObject({ bytes: 0, version: 1 })
    expect((await content(bench, '/zeros')).equals(Buffer.alloc(5000))).toBe(true)
    const { manifest } = await bench.repository.openRead('/zeros')
    expect(isZeroChunk(await manifest.chunkId(0))).toBe(true)
    expect(bench.pool.writes).toBe(0)
  })

  test('is not stored again where its chunk is there under another name', async () => {
    const bench = await start()
    const bytes = sampleBytes(100)
    await put(bench, '/one', [{ offset: 0, bytes }])

    await put(bench, '/other', [{ offset: 0, bytes }])

    expect(bench.pool.writes).toBe(1)
    expect((await content(bench, '/other')).equals(bytes)).toBe(true)
  })

  test('survives a restart, and so do its folders', async () => {
    const before = await start({ stores: 'disk' })
    const bytes = sampleBytes(3000)
    await put(before, '/a/b/small', [{ offset: 0, bytes }])
    await before.stop({ keepFolder: true })

    const after = await start({ stores: 'disk', folder: before.folder })

    expect((await content(after, '/a/b/small')).equals(bytes)).toBe(true)
    expect(await after.repository.history('/a/b/small')).toMatchObject([
      { version: 1, bytes: 3000 }
    ])
    await put(after, '/a/b/small', [{ offset: 0, bytes: sampleBytes(10, 2) }])
    expect(await after.repository.stat('/a/b/small')).toMatchObject({ version: 2, bytes: 10 })
  })

  test('becomes version 2 where somebody else was faster', async () => {
    const bench = await start()
    const open = async () => await bench.repository.openWrite('/same', { mode: 'replace' })
    const [first, second] = [await open(), await open()]
    await first.write(0, Buffer.from('first'))
    await second.write(0, Buffer.from('second'))

    await first.publish()
    const { version } = await second.publish()

    expect(version).toBe(2)
    expect((await content(bench, '/same@1')).toString()).toBe('first')
    expect((await content(bench, '/same@2')).toString()).toBe('second')
  })

  test('fails where a folder was made meanwhile, and leaves nothing', async () => {
    const bench = await start()
    const writer = await bench.repository.openWrite('/place', { mode: 'replace' })
    await writer.write(0, Buffer.from('x'))
    await bench.repository.makeDirectory('/place')

    await expect(writer.publish()).rejects.toMatchObject(code('ERR_IS_DIRECTORY'))

    expect(writer.signal.aborted).toBe(true)
    expect(await bench.repository.stat('/place')).toMatchObject({ kind: 'directory' })
  })

  test('that is no longer wanted, or given up, is never seen', async () => {
    const bench = await start()
    const open = async () => await bench.repository.openWrite('/place', { mode: 'replace' })
    const [unwanted, given] = [await open(), await open()]
    await unwanted.write(0, Buffer.from('x'))

    const publishing = unwanted.publish({ isStillWanted: () => false })
    await expect(publishing).rejects.toMatchObject(code('ERR_UPLOAD_ABORTED'))
    await given.abort()
    await given.abort()

    await expect(given.write(0, Buffer.from('x'))).rejects.toMatchObject(code('ERR_UPLOAD_ABORTED'))
    expect(given.tryWrite(0, Buffer.from('x'))).toBe(false)
    expect(await bench.repository.stat('/place')).toBeUndefined()
  })
})

describe('an upload that began small', () => {
  test('goes on as a large one with all that it had', async () => {
    const bench = await start()
    const image = sampleBytes(3 * CHUNK)
    const writer = await bench.repository.openWrite('/image', { mode: 'replace' })

    expect(writer.tryWrite(0, image.subarray(0, 1000))).toBe(true)
    await Promise.all([
      writer.write(CHUNK, image.slice(CHUNK)),
      writer.write(500, image.slice(500, CHUNK))
    ])
    const { version } = await writer.publish()

    expect(version).toBe(1)
    expect((await content(bench, '/image')).equals(image)).toBe(true)
  })

  test('does so too where many pieces came, or no memory is left', async () => {
    const bench = await start({ uploadBudgetBytes: 32 * MIB })
    const hundred = Array.from({ length: 100 }, (_, at) => ({
      offset: 2 * (99 - at),
      bytes: Buffer.from([at + 1])
    }))
    const whole = Buffer.alloc(CHUNK, 'x')
    const holders = Array.from({ length: 65 }, async (_, at) => {
      const writer = await bench.repository.openWrite(`/holder-${at}`, { mode: 'replace' })
      await writer.write(0, Buffer.from(whole))
      return writer
    })
    const writers = await Promise.all(holders)

    await put(bench, '/pieces', hundred)
    for (const writer of writers) await writer.publish()

    expect((await content(bench, '/pieces'))[2 * 99]).toBe(1)
    expect((await content(bench, '/holder-64')).equals(whole)).toBe(true)
    await put(bench, '/after', [{ offset: 0, bytes: Buffer.from('after') }])
    expect((await content(bench, '/after')).toString()).toBe('after')
  })

  test('is longer than what was written where it was told to be', async () => {
    const bench = await start()
    const lengths = [100, 2 * CHUNK]

    for (const length of lengths) {
      const writer = await bench.repository.openWrite(`/long-${length}`, { mode: 'replace' })
      await writer.write(0, Buffer.from('x'))
      writer.extendTo(length)
      await writer.publish()
      expect(await content(bench, `/long-${length}`)).toHaveLength(length)
    }
  })

  test('reads back what it has, and promises whole chunks only', async () => {
    const bench = await start()
    const image = sampleBytes(CHUNK + 10)
    const writer = await bench.repository.openWrite('/image', { mode: 'replace' })
    const readBack = async (): Promise<Buffer> =>
      Buffer.concat(await Array.fromAsync(writer.readBack(3)))

    await writer.write(0, image.slice(0, 1000))
    expect(await Array.fromAsync(await writer.checkpoint())).toEqual([])
    expect((await readBack()).equals(image.subarray(3, 1000))).toBe(true)
    await writer.write(1000, image.slice(1000))

    expect((await readBack()).equals(image.subarray(3))).toBe(true)
    await writer.suspend()
    expect(await bench.repository.stat('/image')).toBeUndefined()
  })
})

describe('the nodes of a small file', () => {
  test('are safe from collection before anybody knows of the file', async () => {
    const bench = await start()
    const { versions, faults, kept } = bench
    const asked: unknown[] = []
    faults.putNodes = async (nodes, proof, options) => {
      await kept.putNodes(nodes, proof, options)
      const blob = nodes[0]?.key.blob ?? ''
      asked.push(await versions.collected.assigned(blob, { from: 1, to: 1 }))
      await expect(
        versions.collected.assigned(`${blob.slice(1)}0`, { from: 1, to: 1 })
      ).rejects.toMatchObject(code('ERR_UNKNOWN_BLOB'))
    }

    await put(bench, '/small', [{ offset: 0, bytes: Buffer.from('x') }])

    expect(asked).toEqual([[]])
  })

  test('that cannot be stored leave no file', async () => {
    const bench = await start()
    bench.faults.putNodes = async () => {
      throw new Error('no room')
    }

    const putting = put(bench, '/a/small', [{ offset: 0, bytes: Buffer.from('x') }])

    await expect(putting).rejects.toThrow('no room')
    expect(await bench.repository.stat('/a')).toBeUndefined()
    bench.faults.putNodes = undefined
    await put(bench, '/a/small', [{ offset: 0, bytes: Buffer.from('y') }])
    expect((await content(bench, '/a/small')).toString()).toBe('y')
  })
})
