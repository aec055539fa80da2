import { describe, expect, test } from '@jest/globals'
import { chunkId, chunkKey, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../src/chunks/chunk-list.ts'
import { buildManifest } from '../../src/chunks/manifest.ts'
import type { FetchPages } from '../../src/chunks/manifest-load.ts'
import type { ChunkId } from '../../src/chunks/types.ts'
import { CollectionMarks } from '../../src/metadata/collection-marks.ts'
import { MetadataMissingError } from '../../src/metadata/errors.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import type { Page } from '../../src/metadata/store-types.ts'

const CHUNK_BYTES = 65_536

/** Pages in memory, counting how often each is asked for. */
class Shelf {
  readonly fetches = new Map<string, number>()
  readonly #pages = new Map<string, Uint8Array>()

  put(pages: Iterable<Page>): void {
    for (const { id, bytes } of pages) this.#pages.set(chunkKey(id), bytes)
  }

  drop(id: ChunkId): void {
    this.#pages.delete(chunkKey(id))
  }

  readonly fetch: FetchPages = async (ids) =>
    ids.map((id) => {
      const key = chunkKey(id)
      this.fetches.set(key, (this.fetches.get(key) ?? 0) + 1)
      const page = this.#pages.get(key)
      if (page === undefined) throw new MetadataMissingError('page')
      return page
    })
}

function nameOfChunk(number: number): ChunkId {
  return chunkId(Buffer.from(`chunk ${number}`))
}

/** A manifest of chunks with these numbers; 0 is the zero chunk. */
function manifestOf(numbers: readonly number[]) {
  const ids = numbers.map((number) => (number === 0 ? ZERO_CHUNK_ID : nameOfChunk(number)))
  return buildManifest(ChunkList.from(ids), ids.length * CHUNK_BYTES, CHUNK_BYTES)
}

function upTo(count: number, first = 1): number[] {
  return Array.from({ length: count }, (_, at) => first + at)
}

describe('a manifest', () => {
  test('marks its pages and its chunks, the zero chunk and pages of zeros left out', async () => {
    const shelf = new Shelf()
    const manifest = manifestOf([...upTo(1000), ...upTo(3000).fill(0), ...upTo(100, 5000)])
    shelf.put(manifest.pages)
    const marks = new CollectionMarks(shelf.fetch)

    await marks.addManifest(manifest.root)

    expect(marks.chunkCount).toBe(1100)
    expect(marks.hasChunk(nameOfChunk(5099))).toBe(true)
    expect(marks.hasChunk(nameOfChunk(1001))).toBe(false)
    expect(manifest.pages.map(({ id }) => marks.hasPage(id))).toEqual([true, true, true, true])
    expect(marks.pageCount).toBe(4)
  })

  test('that shares pages with another has them fetched once', async () => {
    const shelf = new Shelf()
    const older = manifestOf(upTo(5000))
    const newer = manifestOf([...upTo(4999), 9999])
    shelf.put([...older.pages, ...newer.pages])
    const marks = new CollectionMarks(shelf.fetch)

    await Promise.all([older, newer, older].map(({ root }) => marks.addManifest(root)))

    expect(marks.chunkCount).toBe(5001)
    expect(Math.max(...shelf.fetches.values())).toBe(1)
    expect(shelf.fetches.size).toBe(marks.pageCount)
  })

  test('of three levels is marked to the bottom', async () => {
    const shelf = new Shelf()
    const ids = new ChunkList(1024 * 1025)
    ids.set(0, nameOfChunk(1))
    ids.set(1024 * 1024, nameOfChunk(2))
    const manifest = buildManifest(ids, ids.count * CHUNK_BYTES, CHUNK_BYTES)
    shelf.put(manifest.pages)
    const marks = new CollectionMarks(shelf.fetch)

    await marks.addManifest(manifest.root)

    expect(marks.chunkCount).toBe(2)
    expect(marks.pageCount).toBe(manifest.pages.length)
  })

  test('of which a page is missing is an error, never an empty one', async () => {
    const shelf = new Shelf()
    const manifest = manifestOf(upTo(5000))
    shelf.put(manifest.pages)
    shelf.drop(manifest.pages[3]?.id ?? ZERO_CHUNK_ID)
    const marks = new CollectionMarks(shelf.fetch)

    await expect(marks.addManifest(manifest.root)).rejects.toThrow(MetadataMissingError)
  })

  test('whose lowest page stands a level higher in another is walked in both places', async () => {
    const shelf = new Shelf()
    const chunks = manifestOf([...upTo(1024), ...upTo(1024, 2000)])
    const [first] = chunks.pages
    const pageIds = ChunkList.from(chunks.pages.slice(0, 2).map(({ id }) => id))
    const odd = buildManifest(pageIds, 2 * CHUNK_BYTES, CHUNK_BYTES)
    shelf.put([...chunks.pages, ...odd.pages])
    const marks = new CollectionMarks(shelf.fetch)

    await marks.addManifest(odd.root)
    await marks.addManifest(chunks.root)

    expect(marks.hasChunk(first?.id ?? ZERO_CHUNK_ID)).toBe(true)
    expect(marks.chunkCount).toBe(2 + 2048)
  })
})

describe('a leaf list', () => {
  const leaves = new LeafListBuilder()
  for (let index = 0; index < 3000; index++) {
    const chunk = index % 3 === 0 ? ZERO_CHUNK_ID : nameOfChunk(index)
    leaves.add(index, { at: 0, length: 1, chunk, chunkOffset: 0, replicas: [] })
  }
  const pages = Array.from(encodeLeafList(leaves.build()))
  const root = pages.at(-1)?.id ?? ZERO_CHUNK_ID

  test('marks its pages and the chunks that it names', async () => {
    const shelf = new Shelf()
    shelf.put(pages)
    const marks = new CollectionMarks(shelf.fetch)

    await marks.addLeafList(root)

    expect(marks.chunkCount).toBe(2000)
    expect(pages.map(({ id }) => marks.hasPage(id))).toEqual(pages.map(() => true))
  })

  test('of which a page is missing is an error', async () => {
    const shelf = new Shelf()
    shelf.put(pages)
    shelf.drop(pages[1]?.id ?? ZERO_CHUNK_ID)
    const marks = new CollectionMarks(shelf.fetch)

    await expect(marks.addLeafList(root)).rejects.toThrow(MetadataMissingError)
  })

  test('that is malformed keeps its pages and names no chunk', async () => {
    const shelf = new Shelf()
    const rootBytes = Uint8Array.from(pages.at(-1)?.bytes ?? [])
    rootBytes[13] = (rootBytes[13] ?? 0) + 1 // one leaf more than there are
    const wrong = { id: chunkId(rootBytes), bytes: rootBytes }
    const nonsense = { id: chunkId(Buffer.from('nonsense')), bytes: Buffer.from('nonsense') }
    shelf.put([...pages, wrong, nonsense])
    const marks = new CollectionMarks(shelf.fetch)

    await marks.addLeafList(wrong.id)
    await marks.addLeafList(nonsense.id)

    expect(marks.chunkCount).toBe(0)
    const lost = [wrong, nonsense, ...pages.slice(0, -1)].filter(({ id }) => !marks.hasPage(id))
    expect(lost).toEqual([])
  })
})
