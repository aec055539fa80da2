import { describe, expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { chunkId, chunkKey, isZeroChunk, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import {
  type BuiltManifest,
  buildManifest,
  decodeManifestRoot,
  encodeManifestRoot,
  type Manifest,
  manifestShape
} from '../../src/chunks/manifest.ts'
import { type FetchPages, loadManifest, ManifestWalker } from '../../src/chunks/manifest-load.ts'
import { updateManifest } from '../../src/chunks/manifest-update.ts'
import { KIB } from '../../src/lib/bytes.ts'

const CHUNK = 64 * KIB
const id = (seed: number): Uint8Array => chunkId(Uint8Array.of(seed, seed >> 8, seed >> 16))
const idsFrom = (count: number, seed = 1): ChunkList =>
  ChunkList.from(Array.from({ length: count }, (_, index) => id(seed + index)))

/** Pages by id, and a count of what was fetched. */
class PageShelf {
  readonly pages = new Map<string, Uint8Array>()
  fetched = 0

  put(built: BuiltManifest): BuiltManifest {
    for (const page of built.pages) this.pages.set(chunkKey(page.id), page.bytes)
    return built
  }

  readonly fetch: FetchPages = async (ids) => {
    this.fetched += ids.length
    return ids.flatMap((each) => this.pages.get(chunkKey(each)) ?? [])
  }
}

const buildOn = (shelf: PageShelf, list: ChunkList): BuiltManifest =>
  shelf.put(buildManifest(list, list.count * CHUNK, CHUNK))
const load = (shelf: PageShelf, root: Uint8Array): Promise<Manifest> =>
  loadManifest(root, shelf.fetch, { pagesPerFetch: 2 })

describe('building and loading', () => {
  test.each([0, 1, 1024, 1025, 3000])('gives back a manifest of %d chunks', async (count) => {
    const shelf = new PageShelf()
    const list = idsFrom(count)

    const manifest = await load(shelf, buildOn(shelf, list).root)

    expect(manifest.ids.equals(list)).toBe(true)
    expect(manifest).toMatchObject({ bytes: count * CHUNK, chunkBytes: CHUNK, chunkCount: count })
    expect(manifest.pageIds).toHaveLength(shelf.pages.size)
  })

  test('knows that only the last chunk is shorter', async () => {
    const shelf = new PageShelf()
    const { root } = shelf.put(buildManifest(idsFrom(3), 2 * CHUNK + 7, CHUNK))

    const manifest = await load(shelf, root)

    expect([0, 1, 2].map((index) => manifest.chunkLength(index))).toEqual([CHUNK, CHUNK, 7])
    expect(() => manifest.chunkLength(3)).toThrow(RangeError)
  })

  test('names the page that lists a chunk, the root if it does itself', async () => {
    const shelf = new PageShelf()
    const large = buildOn(shelf, idsFrom(2000))
    const small = buildOn(shelf, idsFrom(5))

    const [first, second] = await Promise.all([load(shelf, large.root), load(shelf, small.root)])

    expect(first.leafPageCount).toBe(2)
    expect(first.leafPageId(1)).toEqual(large.pages[1]?.id)
    expect(second.leafPageCount).toBe(1)
    expect(second.leafPageId(0)).toEqual(small.root)
  })

  test('shares the pages that two images have in common', () => {
    const shelf = new PageShelf()
    buildOn(shelf, idsFrom(3000))
    const changed = idsFrom(3000)
    changed.set(1500, id(999_999))

    const pagesBefore = shelf.pages.size
    buildOn(shelf, changed)

    expect(shelf.pages.size - pagesBefore).toBe(2)
  })

  test('neither stores nor fetches pages of zeros, on any level', async () => {
    const shelf = new PageShelf()
    const list = new ChunkList(1024 * 1024 + 1)
    list.set(1024 * 1024, id(1))

    const { root, pages } = buildOn(shelf, list)
    const manifest = await load(shelf, root)

    expect(pages).toHaveLength(3)
    expect(shelf.fetched).toBe(3)
    expect(manifest.chunkId(1024 * 1024)).toEqual(id(1))
    expect(manifest.ids.isZero(77)).toBe(true)
    expect(isZeroChunk(manifest.leafPageId(0))).toBe(true)
  })

  test('refuses a list that is not as long as the image', () => {
    expect(() => buildManifest(idsFrom(2), CHUNK, CHUNK)).toThrow(RangeError)
    expect(() => manifestShape(2 ** 53, CHUNK)).toThrow(RangeError)
    expect(() => manifestShape((2 ** 32 + 1) * CHUNK, CHUNK)).toThrow(RangeError)
  })

  test('four levels are enough for the largest image', () => {
    expect(manifestShape(2 ** 32 * CHUNK, CHUNK).levels).toBe(3)
  })
})

describe('a manifest from a stranger', () => {
  test('is refused when a page is not what its id names', async () => {
    const shelf = new PageShelf()
    const { root, pages } = buildOn(shelf, idsFrom(1500))
    shelf.pages.set(chunkKey(pages[0]?.id ?? root), new Uint8Array(1024 * 32))

    await expect(load(shelf, root)).rejects.toMatchObject({ code: 'ERR_CHUNK_MISMATCH' })
  })

  test('is refused when not all pages come', async () => {
    const shelf = new PageShelf()
    const { root, pages } = buildOn(shelf, idsFrom(1500))
    shelf.pages.delete(chunkKey(pages[1]?.id ?? root))

    await expect(load(shelf, root)).rejects.toMatchObject({ code: 'ERR_MALFORMED' })
  })

  test('is refused when a page is longer than its place', async () => {
    const shelf = new PageShelf()
    const long = buildManifest(idsFrom(1024 + 20), 1044 * CHUNK, CHUNK)
    shelf.put(long)
    const children = ChunkList.from(long.pages.slice(0, 2).map((page) => page.id))
    const lie = encodeManifestRoot(manifestShape(1034 * CHUNK, CHUNK), children)
    shelf.pages.set(chunkKey(chunkId(lie)), lie)

    await expect(load(shelf, chunkId(lie))).rejects.toMatchObject({ code: 'ERR_MALFORMED' })
  })

  test('is refused when zeros are not named as zeros', async () => {
    const shelf = new PageShelf()
    const zeros = new Uint8Array(1024 * 32)
    const children = ChunkList.from([chunkId(zeros), id(1)])
    const lie = encodeManifestRoot(manifestShape(2048 * CHUNK, CHUNK), children)
    for (const page of [zeros, lie]) shelf.pages.set(chunkKey(chunkId(page)), page)

    await expect(load(shelf, chunkId(lie))).rejects.toThrow('zeros')
  })

  test('is refused before it takes more memory than allowed', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(1500))

    await expect(loadManifest(root, shelf.fetch, { maxChunks: 1499 })).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED'
    })
    expect(shelf.fetched).toBe(1)
  })

  test('never does more than throw a MalformedError, whatever the root page is', () => {
    const valid = encodeManifestRoot(manifestShape(3 * CHUNK, CHUNK), idsFrom(3))
    const mutated = fc
      .tuple(fc.nat(valid.length - 1), fc.nat(255), fc.integer({ min: -8, max: 8 }))
      .map(([at, value, longer]) => {
        const bytes = new Uint8Array(Math.max(0, valid.length + longer))
        bytes.set(valid.subarray(0, bytes.length))
        if (at < bytes.length) bytes[at] = value
        return bytes
      })
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), (bytes) => {
        try {
          const { shape, children } = decodeManifestRoot(bytes)
          expect(encodeManifestRoot(shape, children)).toEqual(bytes)
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_MALFORMED' })
        }
      }),
      { numRuns: 1000 }
    )
  })

  test('may send its pages in any order and more than once', () => {
    const { root, pages } = buildManifest(idsFrom(5000), 5000 * CHUNK, CHUNK)
    const walker = new ManifestWalker(root)

    for (const page of pages) walker.add(page.id, page.bytes)
    expect(walker.wanted(9)).toHaveLength(5)
    for (const page of pages.toReversed()) walker.add(page.id, page.bytes)
    for (const page of pages) walker.add(page.id, page.bytes)

    expect(walker.finish()?.ids.equals(idsFrom(5000))).toBe(true)
  })

  test('stops when it is aborted', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(1500))
    const signal = AbortSignal.abort(new Error('enough'))

    await expect(loadManifest(root, shelf.fetch, { signal })).rejects.toThrow('enough')
  })
})

describe('updating', () => {
  test('gives the manifest that building from scratch gives, whatever changes', async () => {
    // Sizes around a page and around two levels' worth make the tree grow and shrink.
    const count = fc.oneof(fc.nat(3), fc.integer({ min: 1020, max: 1030 }), fc.nat(4100))
    const places = fc.array(fc.tuple(fc.nat(5000), fc.nat(3)), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(
        count,
        count,
        places,
        fc.boolean(),
        async (before, after, edits, isSparse) => {
          const shelf = new PageShelf()
          const old = isSparse ? new ChunkList(before) : idsFrom(before)
          const { root } = buildOn(shelf, old)
          const model = new ChunkList(after)
          model.bytes.set(old.bytes.subarray(0, model.bytes.byteLength))
          const chunks = edits
            .filter(([index]) => index < after)
            .map(([index, seed]) => [index, seed === 0 ? ZERO_CHUNK_ID : id(seed)] as const)
          for (const [index, each] of chunks) model.set(index, each)

          const fetchPages = shelf.fetch
          const built = await updateManifest({ root, fetchPages }, { bytes: after * CHUNK, chunks })

          expect(built.root).toEqual(buildManifest(model, after * CHUNK, CHUNK).root)
          shelf.put(built)
          expect((await load(shelf, built.root)).ids.equals(model)).toBe(true)
        }
      ),
      { numRuns: 60 }
    )
  })

  test('grows over two levels and shrinks again to the same root', async () => {
    const shelf = new PageShelf()
    const small = buildOn(shelf, idsFrom(5))
    const bytes = (1024 * 1024 + 5) * CHUNK
    const old = (root: Uint8Array) => ({ root, fetchPages: shelf.fetch })

    const large = await updateManifest(old(small.root), { bytes, chunks: [[1024 * 1024, id(7)]] })
    shelf.put(large)
    const again = await updateManifest(old(large.root), { bytes: 5 * CHUNK, chunks: [] })

    expect(
      decodeManifestRoot(shelf.pages.get(chunkKey(large.root)) ?? large.root).shape.levels
    ).toBe(2)
    expect(again.root).toEqual(small.root)
  })

  test('fetches and returns only the pages on the way to the change', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(10_000))

    const built = await updateManifest(
      { root, fetchPages: shelf.fetch },
      { bytes: 10_000 * CHUNK, chunks: [[5000, id(1)]] }
    )

    expect(shelf.fetched).toBe(2)
    expect(built.pages).toHaveLength(2)
  })

  test('does not fetch a page of which nothing stays', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(2048))
    const chunks = Array.from({ length: 1024 }, (_, index) => [index, id(7)] as const)

    await updateManifest({ root, fetchPages: shelf.fetch }, { bytes: 2048 * CHUNK, chunks })

    expect(shelf.fetched).toBe(1)
  })

  test('returns the root alone when nothing changes', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(2048))

    const chunks = [[5, id(6)]] as const
    const built = await updateManifest(
      { root, fetchPages: shelf.fetch },
      { bytes: 2048 * CHUNK, chunks }
    )

    expect(built.root).toEqual(root)
    expect(built.pages).toHaveLength(1)
  })

  test('refuses changes beyond the end', async () => {
    const shelf = new PageShelf()
    const { root } = buildOn(shelf, idsFrom(3))
    const changes = { bytes: 2 * CHUNK, chunks: [[2, id(1)]] as const }

    await expect(updateManifest({ root, fetchPages: shelf.fetch }, changes)).rejects.toThrow(
      RangeError
    )
  })
})
