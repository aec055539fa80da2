import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import type { Repository } from '../../src/metadata/repository.ts'
import type { MergeRequest } from '../../src/metadata/repository-types.ts'
import { collectorOf } from '../support/collection/test-collector.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { startTestRepository, type TestRepository } from '../support/repository.ts'
import { sampleBytes } from '../support/sample-bytes.ts'

const CHUNK = 65_536
const SIZES = [CHUNK, 2 * CHUNK, 8 * CHUNK]

/** For tests that look only at their own files; others start one of their own. */
let shared: TestRepository
const started: TestRepository[] = []
beforeAll(async () => {
  shared = await startTestRepository({ chunkBytes: CHUNK })
})
afterAll(async () => shared.stop())
afterEach(async () => {
  for (const bench of started.splice(0)) await bench.stop()
})

async function start(options: Parameters<typeof startTestRepository>[0] = {}) {
  const bench = await startTestRepository({ chunkBytes: CHUNK, ...options })
  started.push(bench)
  return bench
}

async function put(
  { repository }: { repository: Repository },
  path: string,
  bytes: Uint8Array,
  chunkBytes = CHUNK
) {
  const writer = await repository.openWrite(path, { mode: 'replace', chunkBytes })
  await writer.write(0, new Uint8Array(bytes))
  return await writer.publish()
}

async function cat({ repository }: { repository: Repository }, ref: string): Promise<Uint8Array> {
  const snapshot = await repository.openRead(ref)
  const parts = await Array.fromAsync(snapshot.read({ offset: 0, length: Infinity }))
  return new Uint8Array(Buffer.concat(parts))
}

/** What the target reads as after a merge. */
function merged(
  source: Uint8Array,
  target: Uint8Array,
  { offset, length, at }: Pick<MergeRequest, 'offset' | 'length' | 'at'>
): Uint8Array {
  const bytes = source.subarray(offset, offset + length)
  const end = bytes.byteLength === 0 ? 0 : at + bytes.byteLength
  const result = new Uint8Array(Math.max(target.byteLength, end))
  result.set(target)
  result.set(bytes, Math.min(at, result.byteLength - bytes.byteLength))
  return result
}

/** Chunks of 64 KiB by their seeds, 0 for zeros, and a short end of so many bytes. */
const anyContent = fc.record({
  chunks: fc.array(fc.nat(3), { maxLength: 12 }),
  end: fc.oneof(fc.constant(0), fc.nat(CHUNK - 1))
})
type Content = typeof anyContent extends fc.Arbitrary<infer T> ? T : never

function contentOf({ chunks, end }: Content): Uint8Array {
  const parts = chunks.map((seed) => {
    return seed === 0 ? new Uint8Array(CHUNK) : sampleBytes(CHUNK, seed)
  })
  return new Uint8Array(Buffer.concat([...parts, sampleBytes(end, 9)]))
}

const anyOffset = fc.oneof(
  fc.nat(14 * CHUNK),
  fc.nat(14).map((index) => index * CHUNK),
  fc.nat(3).map((index) => index * 4 * CHUNK)
)

describe('a merge', () => {
  test('reads as if the bytes had been written, at any place and for any chunk sizes', async () => {
    let run = 0
    await fc.assert(
      fc.asyncProperty(
        fc.record({ source: anyContent, target: anyContent }),
        fc.record({ offset: anyOffset, length: anyOffset, at: anyOffset }),
        fc.record({ from: fc.constantFrom(...SIZES), to: fc.constantFrom(...SIZES) }),
        async (contents, range, sizes) => {
          const [source, target] = [contentOf(contents.source), contentOf(contents.target)]
          const [from, to] = [`/from-${run}`, `/to-${run++}`]
          await put(shared, from, source, sizes.from)
          await put(shared, to, target, sizes.to)

          const { version, bytes } = await shared.repository.merge({ from, to, ...range })

          const wanted = merged(source, target, range)
          expect([version, bytes]).toEqual([2, wanted.byteLength])
          expect(Buffer.compare(await cat(shared, to), wanted)).toBe(0)
          expect(Buffer.compare(await cat(shared, `${to}@1`), target)).toBe(0)
          expect(Buffer.compare(await cat(shared, from), source)).toBe(0)
        }
      ),
      { numRuns: 40 }
    )
  })

  test('can be written over and grown afterwards', async () => {
    const source = sampleBytes(3 * CHUNK, 1)
    await put(shared, '/cut-source', source, 2 * CHUNK)
    const range = { offset: 100, length: 2 * CHUNK, at: CHUNK }
    await shared.repository.merge({ from: '/cut-source', to: '/cut', ...range })
    const writer = await shared.repository.openWrite('/cut', { mode: 'patch' })
    await writer.write(5 * CHUNK, sampleBytes(10, 2))
    await writer.write(CHUNK + 50, sampleBytes(10, 3))
    await writer.publish()

    const wanted = new Uint8Array(5 * CHUNK + 10)
    wanted.set(merged(source, new Uint8Array(), range))
    wanted.set(sampleBytes(10, 2), 5 * CHUNK)
    wanted.set(sampleBytes(10, 3), CHUNK + 50)
    expect(Buffer.compare(await cat(shared, '/cut'), wanted)).toBe(0)
  })

  test('on the grid moves no bytes, and makes the file with the chunk size of its source', async () => {
    const bench = await start({ chunkBytes: 4 * CHUNK })
    const source = sampleBytes(20 * CHUNK, 1)
    await put(bench, '/from', source, 2 * CHUNK)
    bench.pool.writes = 0

    const range = { offset: 4 * CHUNK, length: 8 * CHUNK, at: 2 * CHUNK }
    await bench.repository.merge({ from: '/from', to: '/new/to', ...range })

    expect(
      Buffer.compare(await cat(bench, '/new/to'), merged(source, new Uint8Array(), range))
    ).toBe(0)
    expect(bench.pool.writes).toBe(0)
    expect(await bench.repository.stat('/new/to')).toMatchObject({ chunkBytes: 2 * CHUNK })
  })

  test('of one version into another of the same file works', async () => {
    const [first, second] = [sampleBytes(4 * CHUNK, 1), sampleBytes(4 * CHUNK, 2)]
    await put(shared, '/same', first)
    await put(shared, '/same', second)
    const range = { offset: CHUNK, length: CHUNK, at: 2 * CHUNK }

    await shared.repository.merge({ from: '/same@1', to: '/same', ...range })

    expect(Buffer.compare(await cat(shared, '/same'), merged(first, second, range))).toBe(0)
  })

  test('reads a chunk that many small chunks take parts of only a few times when sealed', async () => {
    const bench = await start()
    await put(bench, '/large', sampleBytes(32 * CHUNK, 1), 16 * CHUNK)
    const range = { offset: 0, length: 32 * CHUNK, at: 0 }
    await bench.repository.merge({ from: '/large', to: '/small', ...range }, { chunkBytes: CHUNK })
    bench.pool.reads = 0

    await bench.repository.record('/small')

    expect(bench.pool.reads).toBeLessThanOrEqual(4)
  })

  test('holds its source only while it lasts', async () => {
    const bench = await start()
    await put(bench, '/held', sampleBytes(CHUNK, 1))
    const { blob } = (await bench.repository.stat('/held')) as { blob: string }
    const held: boolean[] = []
    const isHeld = async (): Promise<boolean> => {
      const roots = await bench.versions.collected.roots([{ blob, version: 1 }])
      return roots.some((root) => root.blob === blob && root.manifests.length > 0)
    }
    const locate = bench.pool.locate.bind(bench.pool)
    bench.pool.locate = async (ids, options) => {
      await bench.repository.remove('/held')
      held.push(await isHeld())
      return locate(ids, options)
    }

    await bench.repository.merge({ from: '/held', to: '/kept', offset: 0, length: CHUNK, at: 0 })

    expect(held).toEqual([true])
    expect(await isHeld()).toBe(false)
    expect(Buffer.compare(await cat(bench, '/kept'), sampleBytes(CHUNK, 1))).toBe(0)
  })
})

describe('a merge while its source is removed and collected', () => {
  const LEASE_MS = 1000
  const content = sampleBytes(3 * CHUNK + 5, 1)
  const range = { offset: 10, length: 3 * CHUNK, at: 2 * CHUNK }

  /** A repository in which the leases of what was stored can be let run out. */
  async function collectable() {
    const leaseClock = new ManualClock()
    const bench = await start({ leaseClock, leaseMs: LEASE_MS })
    const collector = collectorOf(bench)
    const removeAndCollect = async () => {
      await bench.repository.remove('/from').catch(() => {})
      leaseClock.advance(2 * LEASE_MS)
      return await collector.collect({ isDryRun: false })
    }
    await put(bench, '/from', content)
    await bench.repository.record('/from') // sealed, so that the merge begins with its own pages
    return { bench, removeAndCollect }
  }

  test.each(['locate', 'putPages', 'putNodes'] as const)('loses nothing at %s', async (step) => {
    const { bench, removeAndCollect } = await collectable()
    let isDone = false
    const interrupt = async (): Promise<void> => {
      if (isDone) return
      isDone = true
      await removeAndCollect()
    }
    if (step === 'locate') {
      const locate = bench.pool.locate.bind(bench.pool)
      bench.pool.locate = async (ids, options) => {
        const found = await locate(ids, options)
        await interrupt()
        return found
      }
    } else {
      const method = bench.kept[step].bind(bench.kept) as (...args: unknown[]) => Promise<void>
      bench.faults[step] = async (...args: unknown[]) => {
        await interrupt()
        await method(...args)
      }
    }

    await bench.repository.merge({ from: '/from', to: '/to', ...range })

    expect(isDone).toBe(true)
    await removeAndCollect()
    expect(Buffer.compare(await cat(bench, '/to'), merged(content, new Uint8Array(), range))).toBe(
      0
    )
    await removeAndCollect()
    expect(Buffer.compare(await cat(bench, '/to'), merged(content, new Uint8Array(), range))).toBe(
      0
    )
    const chunkCount = Array.from(bench.stores.values()).reduce((sum, s) => sum + s.chunkCount, 0)
    expect(chunkCount).toBe(3)
  })
})

describe('a merge that cannot be', () => {
  const range = { offset: 0, length: CHUNK, at: 0 }

  test('for a chunk that nobody has any more names it and publishes nothing', async () => {
    const bench = await start()
    await put(bench, '/from', sampleBytes(CHUNK, 1))
    for (const store of bench.stores.values()) {
      for (const id of store.ids()) await store.delete(id)
    }

    await expect(
      bench.repository.merge({ from: '/from', to: '/to', ...range })
    ).rejects.toMatchObject({ code: 'ERR_CHUNK_UNAVAILABLE' })

    expect(await bench.repository.stat('/to')).toBeUndefined()
  })

  test('asks everybody for a chunk that is not where it was', async () => {
    const bench = await start({ providerCount: 2 })
    await put(bench, '/from', sampleBytes(CHUNK, 1))
    const [one, other] = [...bench.stores.values()]
    if (one === undefined || other === undefined) throw new Error('two providers were wanted')
    const [holder, empty] = one.chunkCount > 0 ? [one, other] : [other, one]
    for (const id of Array.from(holder.ids())) {
      const bytes = await holder.get(id)
      if (bytes !== undefined) await empty.put(id, bytes)
      await holder.delete(id)
    }

    await bench.repository.merge({ from: '/from', to: '/to', ...range })

    expect(Buffer.compare(await cat(bench, '/to'), sampleBytes(CHUNK, 1))).toBe(0)
  })

  test('because the target has gone on is a conflict', async () => {
    await put(shared, '/busy', sampleBytes(CHUNK, 1))
    await put(shared, '/busy', sampleBytes(CHUNK, 2))

    await expect(
      shared.repository.merge({ from: '/busy', to: '/busy', ...range }, { ifNewest: 1 })
    ).rejects.toMatchObject({ code: 'ERR_TICKET_CONFLICT' })
  })

  test.each([
    [{ from: '/nothing' }, 'ERR_PATH_NOT_FOUND'],
    [{ from: '/' }, 'ERR_IS_DIRECTORY'],
    [{ to: '/x@3' }, 'ERR_INVALID_PATH'],
    [{ to: 'x' }, 'ERR_INVALID_PATH']
  ])('with %j fails with %s', async (wrong, code) => {
    await put(shared, '/fine', sampleBytes(100, 1))
    const request = { from: '/fine', to: '/target', ...range, ...wrong }

    await expect(shared.repository.merge(request)).rejects.toMatchObject({ code })
  })

  test.each([{ offset: -1 }, { offset: 0.5 }, { length: -1 }, { at: -1 }])(
    'with %j is a mistake',
    async (wrong) => {
      const request = { from: '/fine', to: '/target', ...range, ...wrong }

      await expect(shared.repository.merge(request)).rejects.toThrow(RangeError)
    }
  )
})
