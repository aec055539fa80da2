import { readdir } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId } from '../../src/chunks/chunk-id.ts'
import { MIB } from '../../src/lib/bytes.ts'
import type { WriteMode } from '../../src/metadata/blob-writer-types.ts'
import type { Repository } from '../../src/metadata/repository.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536

/** For tests that look only at their own files; others start one of their own. */
let shared: TestRepository
const started: TestRepository[] = []

beforeAll(async () => {
  shared = await startTestRepository({ chunkBytes: CHUNK })
})

afterAll(async () => {
  await shared.stop()
})

async function start(options: Parameters<typeof startTestRepository>[0] = {}) {
  const bench = await startTestRepository({ chunkBytes: CHUNK, ...options })
  started.push(bench)
  return bench
}

afterEach(async () => {
  for (const bench of started.splice(0)) await bench.stop()
})

interface Extent {
  readonly offset: number
  readonly bytes: Uint8Array
}

interface Upload {
  readonly mode: WriteMode
  readonly extents: readonly Extent[]
}

async function upload(repository: Repository, path: string, { mode, extents }: Upload) {
  const writer = await repository.openWrite(path, { mode })
  await Promise.all(extents.map(({ offset, bytes }) => writer.write(offset, bytes)))
  return await writer.publish()
}

async function put(repository: Repository, path: string, bytes: Uint8Array) {
  return await upload(repository, path, { mode: 'replace', extents: [{ offset: 0, bytes }] })
}

async function cat(repository: Repository, ref: string, offset = 0, length = Infinity) {
  const snapshot = await repository.openRead(ref)
  return new Uint8Array(Buffer.concat(await Array.fromAsync(snapshot.read({ offset, length }))))
}

/** What the version after `before` has to read as. */
function applied(before: Uint8Array, some: Upload): Uint8Array {
  const { mode } = some
  const extents = some.extents.filter(({ bytes }) => bytes.byteLength > 0) // nothing is no extent
  const origin = mode === 'append' ? before.byteLength : 0
  const kept = mode === 'replace' ? new Uint8Array() : before
  const ends = extents.map(({ offset, bytes }) => origin + offset + bytes.byteLength)
  const content = new Uint8Array(Math.max(kept.byteLength, ...ends))
  content.set(kept)
  for (const { offset, bytes } of extents) content.set(bytes, origin + offset)
  return content
}

const anyExtent = fc
  .record({
    offset: fc.oneof(
      fc.nat(4 * CHUNK),
      fc.nat(4).map((index) => index * CHUNK)
    ),
    length: fc.oneof(fc.nat(2 * CHUNK), fc.constant(CHUNK), fc.integer({ min: 1, max: 100 })),
    seed: fc.nat(4)
  })
  .map(({ offset, length, seed }) => ({
    offset,
    bytes: seed === 0 ? new Uint8Array(length) : sampleBytes(length, seed)
  }))
const anyUpload: fc.Arbitrary<Upload> = fc.record({
  mode: fc.constantFrom('replace', 'patch', 'append'),
  extents: fc.array(anyExtent, { maxLength: 5 })
})

describe('uploads', () => {
  test('read back byte for byte, every version for ever', async () => {
    const { repository } = shared
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(anyUpload, { minLength: 1, maxLength: 4 }), async (uploads) => {
        const path = `/any-${run++}`
        const contents: Uint8Array[] = []
        for (const some of uploads) {
          contents.push(applied(contents.at(-1) ?? new Uint8Array(), some))
          const { version, bytes } = await upload(repository, path, some)
          expect([version, bytes]).toEqual([contents.length, contents.at(-1)?.byteLength])
        }

        for (const [at, content] of contents.entries()) {
          const got = await cat(repository, `${path}@${at + 1}`)
          expect(Buffer.compare(got, content)).toBe(0)
        }
      }),
      { numRuns: 25 }
    )
  })

  test('at the same time are the versions that they would be one after the other', async () => {
    const { repository } = shared
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(anyUpload, { minLength: 2, maxLength: 4 }), async (uploads) => {
        const path = `/many-${run++}`

        const published = await Promise.all(
          uploads.map(async (some) => ({ some, ...(await upload(repository, path, some)) }))
        )

        let content: Uint8Array = new Uint8Array()
        for (const { some, version } of published.toSorted((a, b) => a.version - b.version)) {
          content = applied(content, some)
          const got = await cat(repository, `${path}@${version}`)
          expect(Buffer.compare(got, content)).toBe(0)
        }
      }),
      { numRuns: 12 }
    )
  })

  test('to one path at the same time become two versions in order', async () => {
    const { repository } = shared
    const [one, other] = [sampleBytes(3 * CHUNK, 1), sampleBytes(2 * CHUNK, 2)]

    const published = await Promise.all([
      put(repository, '/image-2', one),
      put(repository, '/image-2', other)
    ])

    const versions = published.map(({ version }) => version)
    expect(new Set(versions)).toEqual(new Set([1, 2]))
    for (const [at, bytes] of [one, other].entries()) {
      const got = await cat(repository, `/image-2@${versions[at]}`)
      expect(Buffer.compare(got, bytes)).toBe(0)
    }
  })

  test('that append at the same time all find their place', async () => {
    const { repository } = shared
    await put(repository, '/log-3', sampleBytes(1000))
    const parts = Array.from({ length: 6 }, (_, i) => sampleBytes(CHUNK + i * 777, i + 2))

    const published = await Promise.all(
      parts.map((bytes) =>
        upload(repository, '/log-3', { mode: 'append', extents: [{ offset: 0, bytes }] })
      )
    )

    const inOrder = published
      .map(({ version }, at) => ({ version, bytes: parts[at] ?? new Uint8Array() }))
      .toSorted((left, right) => left.version - right.version)
    const expected = Buffer.concat([sampleBytes(1000), ...inOrder.map(({ bytes }) => bytes)])
    expect(Buffer.compare(await cat(repository, '/log-3'), expected)).toBe(0)
  })

  test('append also where others have cut the end off and put it back meanwhile', async () => {
    const { repository, versions } = shared
    await put(repository, '/log-4', sampleBytes(1000))
    const late = await repository.openWrite('/log-4', { mode: 'append' })
    await late.write(0, sampleBytes(10, 9))
    const assign = jest.spyOn(versions, 'assign')
    assign.mockImplementationOnce(async (request, options) => {
      await put(repository, '/log-4', sampleBytes(500, 2))
      const refused = versions.assign(request, options)
      await refused.catch(() => {})
      await put(repository, '/log-4', sampleBytes(1000, 3))
      return await refused
    })

    const published = await late.publish().finally(() => assign.mockRestore())

    expect(published).toMatchObject({ version: 4, bytes: 1010 })
    const expected = Buffer.concat([sampleBytes(1000, 3), sampleBytes(10, 9)])
    expect(Buffer.compare(await cat(repository, '/log-4'), expected)).toBe(0)
  })

  test('of nothing make a version of 0 bytes', async () => {
    const { repository } = shared
    await put(repository, '/image-4', sampleBytes(10))

    const { version, bytes } = await put(repository, '/image-4', new Uint8Array())

    expect([version, bytes]).toEqual([2, 0])
    expect(await cat(repository, '/image-4')).toEqual(new Uint8Array())
  })

  test('past the end leave a gap of zeros', async () => {
    const { repository } = shared
    await put(repository, '/image-5', sampleBytes(10))
    const extents = [{ offset: 5 * CHUNK, bytes: sampleBytes(10, 2) }]

    await upload(repository, '/image-5', { mode: 'patch', extents })

    const expected = new Uint8Array(5 * CHUNK + 10)
    expected.set(sampleBytes(10))
    expected.set(sampleBytes(10, 2), 5 * CHUNK)
    expect(Buffer.compare(await cat(repository, '/image-5'), expected)).toBe(0)
  })

  test('store nothing that the version before has at the same place', async () => {
    const { repository, pool } = await start()
    const bytes = sampleBytes(64 * CHUNK)
    await put(repository, '/image', bytes)
    const [writes, lookUps] = [pool.writes, pool.lookUps]

    await put(repository, '/image', bytes)

    expect(pool.writes).toBe(writes)
    expect(pool.lookUps - lookUps).toBeLessThan(32)
  })

  test('store a chunk again that the version before has and its provider has lost', async () => {
    const { repository, pool, stores } = await start()
    const bytes = sampleBytes(4 * CHUNK)
    await put(repository, '/image', bytes)
    const [writes, store] = [pool.writes, stores.get('provider-1')]
    await store?.delete(chunkId(bytes.subarray(CHUNK, 2 * CHUNK)))

    await put(repository, '/image', bytes)

    expect(pool.writes).toBe(writes + 1)
    expect(Buffer.compare(await cat(repository, '/image@1'), bytes)).toBe(0)
  })

  test('that are given up leave no write behind', async () => {
    const { repository, pool } = await start()
    const { promise: isWriting, resolve: writing } = Promise.withResolvers<void>()
    const { promise: disk, resolve: takes } = Promise.withResolvers<void>()
    let isWritten = false
    pool.onWrite = async () => {
      writing()
      await disk
      isWritten = true
    }
    const writer = await repository.openWrite('/given-up', { mode: 'replace' })
    await writer.write(0, sampleBytes(2 * CHUNK))
    await isWriting

    const aborting = writer.abort()
    takes()
    await aborting

    expect(isWritten).toBe(true)
  })

  test('store nothing that is there under another name, and ask for many chunks at once', async () => {
    const { repository, pool } = await start()
    const bytes = sampleBytes(64 * CHUNK)
    await put(repository, '/image', bytes)
    const [writes, lookUps] = [pool.writes, pool.lookUps]

    await put(repository, '/other', bytes)

    expect(pool.writes).toBe(writes)
    expect(pool.lookUps - lookUps).toBeLessThan(32)
  })

  test('store about 1% when 1% has changed', async () => {
    const { repository, pool } = await start()
    const bytes = sampleBytes(200 * CHUNK)
    await put(repository, '/image', bytes)
    const before = pool.writtenBytes
    const changed = new Uint8Array(bytes)
    for (const run of [0, 1]) changed.set(sampleBytes(CHUNK, run + 2), run * 90 * CHUNK)

    await put(repository, '/image', changed)

    expect(pool.writtenBytes - before).toBe(2 * CHUNK)
    expect(Buffer.compare(await cat(repository, '/image'), changed)).toBe(0)
  })

  test('store nothing for zeros', async () => {
    const { repository, pool } = await start()

    await put(repository, '/image', new Uint8Array(20 * CHUNK))

    expect(pool.writes).toBe(0)
    expect(await cat(repository, '/image', 7 * CHUNK, 3)).toEqual(new Uint8Array(3))
  })

  test('tell how far they are', async () => {
    const { repository } = await start()
    await put(repository, '/image', sampleBytes(2 * CHUNK))
    const writer = await repository.openWrite('/image', { mode: 'replace' })
    await writer.write(0, sampleBytes(2 * CHUNK))
    await writer.write(2 * CHUNK, new Uint8Array(CHUNK))
    await writer.write(3 * CHUNK, sampleBytes(CHUNK, 9))

    await writer.publish()

    expect(writer.progress).toEqual({
      receivedBytes: 4 * CHUNK,
      storedBytes: CHUNK,
      reusedBytes: 2 * CHUNK,
      zeroBytes: CHUNK
    })
  })

  test('are given up when they are not wanted any more', async () => {
    const { repository } = shared
    const writer = await repository.openWrite('/image-6', { mode: 'replace' })
    await writer.write(0, sampleBytes(100))

    const publishing = writer.publish({ isStillWanted: () => false })

    await expect(publishing).rejects.toMatchObject({ code: 'ERR_UPLOAD_ABORTED' })
    expect(await repository.stat('/image-6')).toBeUndefined()
  })

  test('are refused when another version was faster and they may not come after it', async () => {
    const { repository } = shared
    await put(repository, '/image-7', sampleBytes(10))
    const writer = await repository.openWrite('/image-7', { mode: 'patch', ifNewest: 1 })
    await writer.write(0, sampleBytes(5, 2))
    await put(repository, '/image-7', sampleBytes(10, 3))

    await expect(writer.publish()).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    expect(await repository.history('/image-7')).toHaveLength(2)
  })

  test('fail for good when a chunk cannot be stored, and publish nothing', async () => {
    const { repository, pool } = await start()
    const writer = await repository.openWrite('/image', { mode: 'replace' })
    pool.onWrite = async () => {
      throw new Error('disk is full')
    }
    await writer.write(0, sampleBytes(CHUNK)).catch(() => {})

    await expect(writer.publish()).rejects.toThrow('disk is full')
    pool.onWrite = async () => {}

    await expect(writer.write(CHUNK, sampleBytes(CHUNK))).rejects.toThrow('disk is full')
    await expect(writer.publish()).rejects.toThrow('disk is full')
    expect(await repository.stat('/image')).toBeUndefined()
  })

  test('leave no file behind, whether published or aborted', async () => {
    const { repository, stagingFolder } = await start()
    for (const end of ['publish', 'abort'] as const) {
      const writer = await repository.openWrite('/image', { mode: 'replace' })
      await writer.write(0, sampleBytes(3 * CHUNK).subarray(100))
      await writer[end]()
      await writer.abort()
    }

    expect(await readdir(stagingFolder)).toEqual([])
  })

  test('keep what does not fit into memory in a file until it is whole', async () => {
    const { repository, stagingFolder } = await start({ uploadBudgetBytes: 32 * MIB })
    const bytes = sampleBytes(400 * CHUNK)
    const writer = await repository.openWrite('/image', { mode: 'replace' })

    // All left halves, then all right ones from the end: 25 MiB are open where 16 MiB are allowed.
    for (let index = 0; index < 400; index++) {
      const offset = index * CHUNK
      await writer.write(offset, bytes.slice(offset, offset + CHUNK / 2))
    }
    for (let index = 399; index >= 0; index--) {
      const offset = index * CHUNK + CHUNK / 2
      await writer.write(offset, bytes.slice(offset, offset + CHUNK / 2))
    }
    await writer.publish()

    expect(Buffer.compare(await cat(repository, '/image'), bytes)).toBe(0)
    expect(await readdir(stagingFolder)).toEqual([])
  })

  test('are refused when their path was given to something else meanwhile', async () => {
    const { repository } = shared
    await put(repository, '/moved', sampleBytes(10))
    const writer = await repository.openWrite('/moved', { mode: 'patch' })
    await writer.write(0, sampleBytes(5, 2))
    await repository.rename('/moved', '/elsewhere')

    await expect(writer.publish()).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
    expect(await cat(repository, '/elsewhere')).toEqual(new Uint8Array(sampleBytes(10)))
  })

  test('put each chunk on as many providers as asked, and outlive the loss of one', async () => {
    const { repository, stores } = await start({ providerCount: 3, replicas: 2 })
    const bytes = sampleBytes(20 * CHUNK)
    await put(repository, '/image', bytes)
    const held = Array.from(stores.values(), ({ chunkCount }) => chunkCount)
    const [lost] = stores.values()

    for (const id of Array.from(lost?.ids() ?? [])) await lost?.delete(id)

    expect(held.reduce((sum, count) => sum + count)).toBe(40)
    expect(Buffer.compare(await cat(repository, '/image'), bytes)).toBe(0)
  })

  test('cannot go on after they were aborted', async () => {
    const { repository } = shared
    const writer = await repository.openWrite('/image-8', { mode: 'replace' })
    await writer.abort()

    await expect(writer.write(0, sampleBytes(1))).rejects.toMatchObject({
      code: 'ERR_UPLOAD_ABORTED'
    })
    await expect(writer.publish()).rejects.toMatchObject({ code: 'ERR_UPLOAD_ABORTED' })
  })

  test('are finished by the version manager when they fail after their ticket', async () => {
    const clock = new ManualClock()
    const { repository, faults } = await start({ clock })
    const bytes = sampleBytes(3 * CHUNK)
    const writer = await repository.openWrite('/image', { mode: 'replace' })
    await writer.write(0, bytes)
    faults.putNodes = async () => {
      delete faults.putNodes
      setImmediate(() => clock.advance(40_000))
      throw new Error('metadata provider is gone')
    }

    const { version } = await writer.publish()

    expect(version).toBe(1)
    expect(Buffer.compare(await cat(repository, '/image'), bytes)).toBe(0)
  })
})

describe('reading', () => {
  test('gives any range, cut off at the end', async () => {
    const { repository } = shared
    const bytes = sampleBytes(5 * CHUNK + 99)
    await put(repository, '/image-9', bytes)

    await fc.assert(
      fc.asyncProperty(fc.nat(6 * CHUNK), fc.nat(3 * CHUNK), async (offset, length) => {
        const got = await cat(repository, '/image-9', offset, length)

        expect(Buffer.compare(got, bytes.subarray(offset, offset + length))).toBe(0)
      })
    )
  })

  test('fetches a bounded number of chunks ahead of its taker', async () => {
    const { repository, pool } = await start({ readAheadBytes: 4 * CHUNK })
    await put(repository, '/image', sampleBytes(50 * CHUNK))
    const snapshot = await repository.openRead('/image')
    pool.reads = 0

    const reading = snapshot.read({ offset: 0, length: Infinity })
    await reading.next()
    await reading.return()

    expect(pool.reads).toBe(4)
  })

  test('stops with the reason of its signal and leaves nothing running', async () => {
    const { repository, pool } = await start()
    await put(repository, '/image', sampleBytes(50 * CHUNK))
    const snapshot = await repository.openRead('/image')
    const controller = new AbortController()
    pool.onRead = async (_, { signal }) => {
      controller.abort(new Error('gone away'))
      signal?.throwIfAborted()
    }

    const reading = Array.fromAsync(
      snapshot.read({ offset: 0, length: Infinity }, { signal: controller.signal })
    )

    await expect(reading).rejects.toThrow('gone away')
    expect(pool.openReads).toBe(0)
  })

  test('shows the version that was opened, whatever is published meanwhile', async () => {
    const { repository } = shared
    await put(repository, '/image-10', sampleBytes(CHUNK))
    const snapshot = await repository.openRead('/image-10')
    await put(repository, '/image-10', sampleBytes(CHUNK, 2))

    const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity }))

    expect(Buffer.compare(Buffer.concat(parts), sampleBytes(CHUNK))).toBe(0)
  })

  test('of what is not there says so', async () => {
    const { repository } = shared
    await put(repository, '/folder-11/image', sampleBytes(1))

    await expect(repository.openRead('/nothing')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
    await expect(repository.openRead('/folder-11')).rejects.toMatchObject({
      code: 'ERR_IS_DIRECTORY'
    })
    await expect(repository.openRead('/folder-11/image@2')).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
  })
})

describe('the namespace', () => {
  test('shows a file only after its first version is published', async () => {
    const { repository } = shared
    const writer = await repository.openWrite('/folder-12/image', { mode: 'replace' })
    await writer.write(0, sampleBytes(10))
    expect(await repository.stat('/folder-12/image')).toBeUndefined()

    await writer.publish()

    expect(await repository.stat('/folder-12/image')).toMatchObject({
      kind: 'file',
      version: 1,
      bytes: 10,
      isFixed: false
    })
  })

  test('knows each version of a file', async () => {
    const { repository } = shared
    await put(repository, '/image-13', sampleBytes(10))
    await put(repository, '/image-13', sampleBytes(20))

    expect(await repository.stat('/image-13@1')).toMatchObject({ bytes: 10, isFixed: true })
    expect(await repository.stat('/image-13@2')).toMatchObject({ bytes: 20, isFixed: true })
    expect(await repository.stat('/image-13@3')).toBeUndefined()
    expect((await repository.history('/image-13')).map(({ bytes }) => bytes)).toEqual([10, 20])
  })

  test('makes a file of zeros, once', async () => {
    const { repository } = shared

    const { version, bytes } = await repository.create('/disk-14', 10 * CHUNK + 1)

    expect([version, bytes]).toEqual([1, 10 * CHUNK + 1])
    expect((await cat(repository, '/disk-14')).every((byte) => byte === 0)).toBe(true)
    await expect(repository.create('/disk-14', 1)).rejects.toMatchObject({
      code: 'ERR_PATH_EXISTS'
    })
  })

  test('does not store to a name that means a version', async () => {
    const { repository } = shared

    const opening = repository.openWrite('/image-15@3', { mode: 'replace' })

    await expect(opening).rejects.toMatchObject({ code: 'ERR_INVALID_PATH' })
  })

  test('lists, moves and removes', async () => {
    const { repository } = shared
    await repository.makeDirectory('/folder-16')
    await put(repository, '/folder-16/b', sampleBytes(1))
    await put(repository, '/folder-16/a', sampleBytes(1))

    await repository.rename('/folder-16/b', '/folder-16/c')
    await repository.remove('/folder-16/a')

    const names = await Array.fromAsync(repository.list('/folder-16'), ({ path }) => path)
    expect(names).toEqual(['/folder-16/c'])
    await expect(repository.remove('/folder-16', 'any')).rejects.toMatchObject({
      code: 'ERR_DIRECTORY_NOT_EMPTY'
    })
  })

  test('removes one version and keeps the others', async () => {
    const { repository } = shared
    await put(repository, '/image-17', sampleBytes(10))
    await put(repository, '/image-17', sampleBytes(20))

    await repository.remove('/image-17@1')

    await expect(repository.openRead('/image-17@1')).rejects.toMatchObject({
      code: 'ERR_UNKNOWN_VERSION'
    })
    expect(await cat(repository, '/image-17')).toEqual(new Uint8Array(sampleBytes(20)))
  })
})

test('a repository on disk is the same after it was stopped and started', async () => {
  const bytes = sampleBytes(10 * CHUNK + 5)
  const first = await start({ stores: 'disk' })
  await put(first.repository, '/image-17', bytes)
  await first.stop({ keepFolder: true })

  const second = await start({ stores: 'disk', folder: first.folder })

  expect(Buffer.compare(await cat(second.repository, '/image-17'), bytes)).toBe(0)
})
