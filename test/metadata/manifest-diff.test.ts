import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { buildManifest } from '../../src/chunks/manifest.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { diffManifests } from '../../src/metadata/manifest-diff.ts'
import { ManifestView } from '../../src/metadata/manifest-view.ts'
import type { ByteRange } from '../../src/metadata/types.ts'
import { testSigner, trusting } from '../support/signing.ts'

const CHUNK = 65_536
const PAGE = 1024

/** Manifests in memory whose pages are counted as they are fetched. */
class Manifests {
  fetched = 0
  openFetches = 0
  readonly #pages = new Map<string, Uint8Array>()

  /** @param contents a number stands for a chunk's content; 0 for zeros. */
  async open(contents: readonly number[], bytes = contents.length * CHUNK, chunkBytes = CHUNK) {
    const list = new ChunkList(contents.length)
    for (const [index, content] of contents.entries()) {
      if (content !== 0) list.set(index, idOf(content))
    }
    const { root, pages } = buildManifest(list, bytes, chunkBytes)
    for (const page of pages) this.#pages.set(chunkKey(page.id), page.bytes)
    const view = await ManifestView.open(
      {
        fetchPages: async (ids) => {
          this.fetched += ids.length
          this.openFetches++
          await Promise.resolve()
          this.openFetches--
          return ids.map((id) => this.#pages.get(chunkKey(id)) ?? new Uint8Array())
        },
        records: { getRecords: async (names) => names.map(() => undefined) },
        verifier: trusting(testSigner()),
        logger: noLogger.forComponent('test')
      },
      root
    )
    return view
  }
}

/** Ids need not be hashes of anything here. */
function idOf(content: number): ChunkId {
  const id = new Uint8Array(ZERO_CHUNK_ID)
  new DataView(id.buffer).setUint32(28, content)
  return id
}

async function diff(
  manifests: Manifests,
  before: Parameters<Manifests['open']>,
  after: Parameters<Manifests['open']>
): Promise<ByteRange[]> {
  const [left, right] = [await manifests.open(...before), await manifests.open(...after)]
  manifests.fetched = 0
  return await Array.fromAsync(diffManifests(left, right))
}

/** `count` chunks that all differ. */
function chunks(count: number, from = 1): number[] {
  return Array.from({ length: count }, (_, at) => from + at)
}

/** Zeros, but for the first chunk of each page. */
function sparse(pages: number, from = 1): number[] {
  const all = Array<number>(pages * PAGE).fill(0)
  for (let page = 0; page < pages; page++) all[page * PAGE] = from + page
  return all
}

/** The chunks that a plain comparison finds, as ranges of bytes. */
function compared(
  before: readonly number[],
  after: readonly number[],
  sizes: readonly [number, number]
): ByteRange[] {
  const [low, high] = sizes.toSorted((a, b) => a - b) as [number, number]
  const isChanged = new Map<number, boolean>()
  for (let index = 0; index < Math.min(before.length, after.length); index++) {
    isChanged.set(index, before[index] !== after[index])
  }
  const edges: [number, number][] = []
  for (const [index, changed] of isChanged) {
    if (changed) edges.push([index * CHUNK, Math.min((index + 1) * CHUNK, high)])
  }
  if (high > low) edges.push([low, high])
  const joined: [number, number][] = []
  for (const [start, end] of edges) {
    const last = joined.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end)
    else joined.push([start, end])
  }
  return joined.map(([start, end]) => ({ offset: start, length: end - start }))
}

const anyImage = fc
  .record({
    chunks: fc.array(fc.nat(2), { maxLength: 12 }),
    pages: fc.constantFrom(0, 0, 0, 1, 2),
    short: fc.nat(CHUNK - 1)
  })
  .map(({ chunks: some, pages, short }) => {
    const all = [...Array<number>(pages * PAGE).fill(3), ...some]
    return { chunks: all, bytes: Math.max(0, all.length * CHUNK - short) }
  })

describe('a diff of manifests', () => {
  test('is what comparing all chunk ids gives', async () => {
    await fc.assert(
      fc.asyncProperty(anyImage, anyImage, async (before, after) => {
        const got = await diff(
          new Manifests(),
          [before.chunks, before.bytes],
          [after.chunks, after.bytes]
        )

        expect(got).toEqual(compared(before.chunks, after.chunks, [before.bytes, after.bytes]))
      }),
      { numRuns: 100 }
    )
  })

  test('of a version with itself fetches nothing', async () => {
    const manifests = new Manifests()

    expect(await diff(manifests, [sparse(3)], [sparse(3)])).toEqual([])
    expect(manifests.fetched).toBe(0)
  })

  test('joins neighbours, over the borders of pages too', async () => {
    const before = chunks(2 * PAGE)
    const after = before.with(1022, 0).with(1023, 0).with(1024, 0).with(1030, 0)

    expect(await diff(new Manifests(), [before], [after])).toEqual([
      { offset: 1022 * CHUNK, length: 3 * CHUNK },
      { offset: 1030 * CHUNK, length: CHUNK }
    ])
  })

  test('fetches only the pages that differ, two for each', async () => {
    const manifests = new Manifests()
    const before = sparse(300)
    const after = before.with(7 * PAGE, 8000).with(200 * PAGE + 5, 9)

    const ranges = await diff(manifests, [before], [after])

    expect(ranges).toHaveLength(2)
    expect(manifests.fetched).toBe(4)
  })

  test('goes down three levels on the way to one chunk', async () => {
    const manifests = new Manifests()
    const before = sparse(PAGE + 1)
    const after = before.with(500_000, 9)

    expect(await diff(manifests, [before], [after])).toEqual([
      { offset: 500_000 * CHUNK, length: CHUNK }
    ])
    expect(manifests.fetched).toBe(4)
  })

  test('with a version that has a level more fetches what both have, and not the rest', async () => {
    const manifests = new Manifests()

    expect(await diff(manifests, [sparse(1)], [sparse(40)])).toEqual([
      { offset: PAGE * CHUNK, length: 39 * PAGE * CHUNK }
    ])
    expect(manifests.fetched).toBe(1)
  })

  test('counts a tail of zeros as changed', async () => {
    expect(await diff(new Manifests(), [[1, 0], CHUNK + 10], [[1, 0, 0]])).toEqual([
      { offset: CHUNK + 10, length: 2 * CHUNK - 10 }
    ])
  })

  test('of an empty version is everything', async () => {
    expect(await diff(new Manifests(), [[], 0], [[1, 2], CHUNK + 1])).toEqual([
      { offset: 0, length: CHUNK + 1 }
    ])
    expect(await diff(new Manifests(), [[], 0], [[], 0])).toEqual([])
  })

  test('fetches a few pages ahead of its taker and stops when the taker does', async () => {
    const manifests = new Manifests()
    const before = await manifests.open(sparse(100))
    const after = await manifests.open(sparse(100, 1_000_000))
    manifests.fetched = 0

    const ranges = diffManifests(before, after)
    await ranges.next()
    await ranges.return()

    expect(manifests.fetched).toBeLessThanOrEqual(2 * 9)
    expect(manifests.openFetches).toBe(0)
  })

  test('is refused for chunks of different size', async () => {
    const wanted = diff(new Manifests(), [[1]], [[1], 2 * CHUNK, 2 * CHUNK])

    await expect(wanted).rejects.toMatchObject({
      code: 'ERR_INCOMPARABLE_VERSIONS',
      message: 'the versions cannot be compared: chunks of 65536 and 131072 bytes'
    })
  })

  test('ends with the reason of its signal', async () => {
    const manifests = new Manifests()
    const [before, after] = [await manifests.open(sparse(3)), await manifests.open(sparse(3, 9))]
    const signal = AbortSignal.abort(new Error('enough'))

    await expect(Array.fromAsync(diffManifests(before, after, { signal }))).rejects.toThrow(
      'enough'
    )
  })
})
