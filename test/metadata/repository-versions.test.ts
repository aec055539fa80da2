import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { FileEntry } from '../../src/metadata/namespace-types.ts'
import type { FileStatus } from '../../src/metadata/repository-types.ts'
import type { ByteRange } from '../../src/metadata/types.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536

let bench: TestRepository
beforeAll(async () => {
  bench = await startTestRepository({ chunkBytes: CHUNK })
})
afterEach(async () => clear('/'))
afterAll(async () => bench.stop())

/** Removes everything in a folder. */
async function clear(folder: string): Promise<void> {
  const { repository } = bench
  for (const { kind, path } of await Array.fromAsync(repository.list(folder))) {
    if (kind === 'directory') await clear(path)
    else for (const { version } of await repository.history(path)) await unpin(path, version)
    await repository.remove(path, 'any')
  }
}

async function unpin(path: string, version: number): Promise<void> {
  await bench.repository.setPinned({ path, version }, false)
}

async function put(
  path: string,
  bytes: Uint8Array,
  mode: 'replace' | 'patch' | 'append' = 'replace'
) {
  const writer = await bench.repository.openWrite(path, { mode })
  await writer.write(0, new Uint8Array(bytes))
  return await writer.publish()
}

async function cat(ref: string): Promise<Uint8Array> {
  const snapshot = await bench.repository.openRead(ref)
  const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity }))
  return new Uint8Array(Buffer.concat(parts))
}

async function list(path: string): Promise<string[]> {
  const entries = await Array.fromAsync(bench.repository.list(path))
  return entries.map((entry) =>
    entry.kind === 'file' ? `${entry.path}@${entry.version}` : entry.path
  )
}

const image = sampleBytes(3 * CHUNK + 100, 1)
const other = sampleBytes(2 * CHUNK, 2)

describe('a clone', () => {
  test('reads as its source, in a folder that is made for it, as version 0', async () => {
    await put('/a', image)

    const made = await bench.repository.clone('/a', '/new/b')

    expect(made).toMatchObject({
      kind: 'file',
      path: '/new/b',
      version: 0,
      bytes: image.byteLength
    })
    expect(Buffer.compare(await cat('/new/b'), image)).toBe(0)
    expect(Buffer.compare(await cat('/new/b@0'), image)).toBe(0)
    expect(await list('/new')).toEqual(['/new/b@0'])
    expect(await bench.repository.stat('/new/b')).toMatchObject({
      version: 0,
      bytes: image.byteLength,
      chunkBytes: CHUNK,
      isFixed: false
    })
    expect(await bench.repository.stat('/new/b@0')).toMatchObject({ version: 0, isFixed: true })
    expect(await bench.repository.stat('/new/b@1')).toBeUndefined()
  })

  test('of one version stays that version', async () => {
    await put('/a', image)
    await put('/a', other)

    await bench.repository.clone('/a@1', '/b')

    expect(Buffer.compare(await cat('/b'), image)).toBe(0)
  })

  test('and its source do not see what is written to the other', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    const patched = await put('/b', sampleBytes(10, 3), 'patch')
    await put('/a', other)

    expect(patched.version).toBe(1)
    expect(Buffer.compare((await cat('/b')).subarray(0, 10), sampleBytes(10, 3))).toBe(0)
    expect(Buffer.compare((await cat('/b')).subarray(10), image.subarray(10))).toBe(0)
    expect(Buffer.compare(await cat('/b@0'), image)).toBe(0)
    expect(Buffer.compare(await cat('/a@1'), image)).toBe(0)
    expect(Buffer.compare(await cat('/a'), other)).toBe(0)
  })

  test.each(['replace', 'append'] as const)('can be written over with %s', async (mode) => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    await put('/b', other, mode)

    const kept = mode === 'append' ? [image, other] : [other]
    expect(Buffer.compare(await cat('/b'), Buffer.concat(kept))).toBe(0)
  })

  test('stores nothing, and stores nothing again when the same is written over it', async () => {
    await put('/a', image)
    bench.pool.writes = 0

    await bench.repository.clone('/a', '/b')
    await put('/b', image)

    expect(bench.pool.writes).toBe(0)
  })

  test('has a history that begins with version 0', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')
    await put('/b', other)

    const versions = await bench.repository.history('/b')

    expect(versions.map(({ version, bytes }) => [version, bytes])).toEqual([
      [0, image.byteLength],
      [1, other.byteLength]
    ])
  })

  test('of a clone of a file that is gone still reads', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')
    await bench.repository.clone('/b', '/c')
    await bench.repository.remove('/a')
    await bench.repository.remove('/b')

    expect(Buffer.compare(await cat('/c'), image)).toBe(0)
  })

  test('can lose its version 0 once it has another, and then its path', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')
    await put('/b', other)

    await bench.repository.remove('/b@0')
    expect((await bench.repository.history('/b')).map(({ version }) => version)).toEqual([1])
    await bench.repository.remove('/b')

    expect(await bench.repository.stat('/b')).toBeUndefined()
    expect(Buffer.compare(await cat('/a'), image)).toBe(0)
  })

  test('may be the newest that a writer counts on: version 0', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    const writer = await bench.repository.openWrite('/b', { mode: 'patch', ifNewest: 0 })
    await writer.write(0, sampleBytes(10, 3))

    expect(await writer.publish()).toMatchObject({ version: 1 })
  })

  test.each([
    ['/a', '/a', 'ERR_PATH_EXISTS'],
    ['/a', '/folder', 'ERR_PATH_EXISTS'],
    ['/a', '/a/b', 'ERR_NOT_DIRECTORY'],
    ['/a', '/b@1', 'ERR_INVALID_PATH'],
    ['/a@7', '/b', 'ERR_UNKNOWN_VERSION'],
    ['/nothing', '/b', 'ERR_PATH_NOT_FOUND'],
    ['/folder', '/b', 'ERR_IS_DIRECTORY']
  ])('of %s at %s fails with %s', async (ref, path, code) => {
    await put('/a', image)
    await bench.repository.makeDirectory('/folder')

    await expect(bench.repository.clone(ref, path)).rejects.toMatchObject({ code })
  })
})

describe('an image of zeros', () => {
  test('is made with its size and chunk size, and stores nothing', async () => {
    await bench.repository.create('/new/z', 5 * CHUNK + 1, { chunkBytes: 2 * CHUNK })

    expect(await bench.repository.stat('/new/z')).toMatchObject({
      version: 1,
      bytes: 5 * CHUNK + 1,
      chunkBytes: 2 * CHUNK
    })
    expect(Buffer.compare(await cat('/new/z'), new Uint8Array(5 * CHUNK + 1))).toBe(0)
    expect(bench.pool.writes).toBe(0)
  })

  test('of a tebibyte takes one tree node', async () => {
    const batches: number[] = []
    bench.faults.putNodes = async (nodes, ...rest) => {
      batches.push(nodes.length)
      bench.faults.putNodes = undefined
      await bench.metadata.putNodes(nodes, ...rest)
    }

    await bench.repository.create('/huge', 2 ** 40)

    expect(batches).toEqual([1])
    expect(await bench.repository.stat('/huge')).toMatchObject({ bytes: 2 ** 40 })
  })

  test('is not made over what was cloned to its path in between', async () => {
    await put('/a', image)
    const { namespace } = bench.versions
    const lookup = namespace.lookup.bind(namespace)
    namespace.lookup = async (path) => {
      namespace.lookup = lookup
      await bench.repository.clone('/a', path)
      return undefined
    }

    await expect(bench.repository.create('/b', 10)).rejects.toMatchObject({
      code: 'ERR_PATH_EXISTS'
    })

    expect(await bench.repository.stat('/b')).toMatchObject({ version: 0 })
  })

  test('is not made over a clone, nor over anything else', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    for (const path of ['/a', '/b', '/']) {
      await expect(bench.repository.create(path, 10)).rejects.toMatchObject({
        code: 'ERR_PATH_EXISTS'
      })
    }
  })
})

describe('a condition on the newest version', () => {
  test('is refused before a byte is taken', async () => {
    await put('/a', image)
    await put('/a', other)

    const opening = bench.repository.openWrite('/a', { mode: 'replace', ifNewest: 1 })

    await expect(opening).rejects.toMatchObject({
      code: 'ERR_TICKET_CONFLICT',
      message: 'version 1 was expected to be the newest, 2 is'
    })
  })

  test('is refused at the end when somebody was faster', async () => {
    await put('/a', image)
    const writer = await bench.repository.openWrite('/a', { mode: 'patch', ifNewest: 1 })
    await writer.write(0, sampleBytes(10, 3))
    await put('/a', other)

    await expect(writer.publish()).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })

    expect(Buffer.compare(await cat('/a'), other)).toBe(0)
  })
})

async function diff(before: string, after: string): Promise<ByteRange[]> {
  return await Array.fromAsync((await bench.repository.diff(before, after)).ranges)
}

describe('a diff', () => {
  test('covers every byte that differs, chunk by chunk, whatever the versions are', async () => {
    let run = 0
    const anyPatch = fc.record({
      offset: fc.nat(6 * CHUNK),
      length: fc.integer({ min: 1, max: CHUNK })
    })
    await fc.assert(
      fc.asyncProperty(fc.array(anyPatch, { maxLength: 4 }), async (patches) => {
        const path = `/any-${run++}`
        await put(path, image)
        const writer = await bench.repository.openWrite(path, { mode: 'patch' })
        for (const { offset, length } of patches) {
          await writer.write(offset, sampleBytes(length, 5))
        }
        await writer.publish()
        const [before, after] = [await cat(`${path}@1`), await cat(`${path}@2`)]

        const ranges = await diff(`${path}@1`, path)

        const covers = (at: number): boolean =>
          ranges.some(({ offset, length }) => at >= offset && at < offset + length)
        for (let at = 0; at < after.byteLength; at += CHUNK) {
          const [left, right] = [before, after].map((all) => all.subarray(at, at + CHUNK))
          const isEqual = Buffer.compare(left ?? after, right ?? before) === 0
          expect([at, covers(at)]).toEqual([at, !isEqual])
        }
      }),
      { numRuns: 8 }
    )
  })

  test('reads no chunk, and names what it compared', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')
    await put('/b', sampleBytes(10, 3), 'patch')
    await bench.repository.record('/b')
    bench.pool.reads = 0

    const { before, after, ranges } = await bench.repository.diff('/a', '/b')

    expect([before.path, before.version, after.path, after.version]).toEqual(['/a', 1, '/b', 1])
    expect(await Array.fromAsync(ranges)).toEqual([{ offset: 0, length: CHUNK }])
    expect(bench.pool.reads).toBe(0)
  })

  test('of a clone and its source is empty', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    expect(await diff('/b', '/a')).toEqual([])
  })

  test('of blobs with different chunks is refused', async () => {
    await put('/a', image)
    await bench.repository.create('/b', 10, { chunkBytes: 2 * CHUNK })

    await expect(diff('/a', '/b')).rejects.toMatchObject({ code: 'ERR_INCOMPARABLE_VERSIONS' })
  })
})

describe('pins and retention', () => {
  test('a pinned version cannot be removed, nor its file, until it is unpinned', async () => {
    await put('/a', image)
    await put('/a', other)
    const { blob } = (await bench.repository.stat('/a')) as FileStatus

    expect(await bench.repository.setPinned('/a@1', true)).toEqual({ blob, version: 1 })
    const versions = await bench.repository.history('/a')
    expect(versions.map(({ isPinned }) => isPinned)).toEqual([true, false])
    await expect(bench.repository.remove('/a@1')).rejects.toMatchObject({
      code: 'ERR_VERSION_PINNED'
    })
    await expect(bench.repository.remove('/a')).rejects.toMatchObject({
      code: 'ERR_VERSION_PINNED'
    })

    await bench.repository.setPinned('/a@1', false)
    await bench.repository.remove('/a@1')
    await bench.repository.remove('/a')
  })

  test('version 0 of a clone can be pinned as well', async () => {
    await put('/a', image)
    await bench.repository.clone('/a', '/b')

    await bench.repository.setPinned('/b', true)

    expect(await bench.repository.history('/b')).toMatchObject([{ version: 0, isPinned: true }])
  })

  test('a policy holds for what is below its folder, until something nearer has one', async () => {
    await put('/images/a', image)
    await bench.repository.setRetention('/images', { last: 3 })
    expect(await bench.repository.retention('/images/a')).toEqual({
      policy: { last: 3 },
      setFor: '/images'
    })

    await bench.repository.setRetention('/images/a', { youngerMs: 1000 })
    expect(await bench.repository.retention('/images/a')).toMatchObject({ setFor: '/images/a' })

    await bench.repository.setRetention('/images/a', undefined)
    expect(await bench.repository.retention('/images/a')).toMatchObject({ setFor: '/images' })
    await expect(bench.repository.retention('/nothing')).rejects.toMatchObject({
      code: 'ERR_PATH_NOT_FOUND'
    })
  })
})

test('a hold outlasts the removal of its file', async () => {
  await put('/a', image)
  const { blob, version } = (await bench.repository.stat('/a')) as FileEntry
  const hold = await bench.repository.hold({ blob, version }, 'test')
  await bench.repository.remove('/a')
  const roots = async () =>
    (await bench.versions.collected.roots([{ blob, version }])).filter(isOfBlob)
  const isOfBlob = (root: { blob: string; manifests: readonly number[] }): boolean =>
    root.blob === blob && root.manifests.length > 0

  expect(await roots()).toHaveLength(1)
  await hold.release()

  expect(await roots()).toEqual([])
})
