/**
 * Leaf lists as content-addressed pages: a page lists 1,024 fragments, only the last one fewer, and
 * a flat root lists the pages. The id of the root stands in the ticket, so that anybody can finish
 * the version of a writer that died. Integers are big-endian.
 *
 * ```text
 * root, 14 + 32 n bytes, n = ceil(fragments / 1,024) = 0 … 16,384
 *    0  4     magic "BSwL"
 *    4  1     format, 1
 *    5  1     hash: multihash code of page and chunk ids (0x1e, BLAKE3-256)
 *    6  4     fragments
 *   10  4     leaves: different chunk indexes
 *   14  32 n  ids of the pages
 *
 * page
 *    replica table (replica-sets.ts)
 *    u16 fragments m = 1 … 1,024
 *    m × 50 bytes, sorted by chunk index, then `at`, without overlap:
 *       0  4  chunk index
 *       4  4  at: where in the leaf
 *       8  4  length, above 0
 *      12  4  chunk offset, 0 for the zero chunk
 *      16  2  number of the replica set in the table, the empty one for the zero chunk
 *      18 32  chunk id
 * ```
 *
 * Fragments that continue each other (same leaf, chunk and replicas) are one, and a table lists its
 * sets in order of first use. So equal lists have an equal root.
 */

import { chunkId, HASH_CODE, isZeroChunk, verifyChunk } from '../chunks/chunk-id.ts'
import { ChunkList } from '../chunks/chunk-list.ts'
import { type FetchPages, fetchVerified } from '../chunks/manifest-load.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { ByteReader, ByteWriter, equalBytes } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import { MetadataLimitError } from './errors.ts'
import { MAX_LEAF_FRAGMENTS } from './geometry.ts'
import { type FragmentRow, LeafColumns } from './leaf-columns.ts'
import { LeafList, LeafListBuilder, mayFollow } from './leaf-list.ts'
import { decodeReplicaTable, ReplicaSets, ReplicaTable } from './replica-sets.ts'
import type { Page } from './store-types.ts'

/** Fragments that a page lists. */
export const FRAGMENTS_PER_PAGE = 1024

/** Pages of a list: 16.7 million fragments, 4 TiB in chunks of 256 KiB. */
export const MAX_LEAF_PAGES = 16_384

const MAGIC = Uint8Array.from(Buffer.from('BSwL', 'latin1'))
const FORMAT = 1
const ROW_BYTES = 50
const PAGES_PER_FETCH = 32

interface LeafListRoot {
  readonly fragmentCount: number
  readonly leafCount: number
  readonly pages: ChunkList
}

/**
 * Encodes a list page by page; one page at a time is in memory.
 *
 * @yields the pages, the root last.
 * @throws {MetadataLimitError} if there would be more than MAX_LEAF_PAGES.
 */
export function* encodeLeafList(list: LeafList): Generator<Page, void> {
  const pageCount = Math.ceil(list.fragmentCount / FRAGMENTS_PER_PAGE)
  if (pageCount > MAX_LEAF_PAGES) {
    const limit = MAX_LEAF_PAGES * FRAGMENTS_PER_PAGE
    throw new MetadataLimitError('fragments of a version', list.fragmentCount, limit)
  }
  const ids = new ChunkList(pageCount)
  for (let page = 0; page < pageCount; page++) {
    const bytes = encodePage(list, page * FRAGMENTS_PER_PAGE)
    const id = chunkId(bytes)
    ids.set(page, id)
    yield { id, bytes }
  }
  const bytes = new ByteWriter(14 + ids.bytes.byteLength)
    .bytes(MAGIC)
    .u8(FORMAT)
    .u8(HASH_CODE)
    .u32(list.fragmentCount)
    .u32(list.leafCount)
    .bytes(ids.bytes)
    .finish()
  yield { id: chunkId(bytes), bytes }
}

/**
 * Encodes a list as pages alone, each of which can be decoded without the others.
 *
 * @yields the pages in order, with the rows of the list that are in them.
 */
export function* encodeLeafPages(
  list: LeafList
): Generator<Page & { readonly from: number; readonly count: number }, void> {
  for (let from = 0; from < list.fragmentCount; from += FRAGMENTS_PER_PAGE) {
    const count = Math.min(FRAGMENTS_PER_PAGE, list.fragmentCount - from)
    const bytes = encodePage(list, from)
    yield { id: chunkId(bytes), bytes, from, count }
  }
}

/** Decodes one page. @throws {MalformedError} if it is not what `encodeLeafPages` yields. */
export function decodeLeafPage(bytes: Uint8Array): LeafList {
  const reader = new ByteReader(bytes, 'leaf list page')
  decodeReplicaTable(reader)
  const loader = new LeafListLoader({ fragmentCount: reader.u16() })
  loader.takePage(bytes)
  return loader.list
}

/**
 * Loads the list of a version that has its ticket. One that is what its id names and yet malformed, which
 * only a dishonest writer can bring about, counts as empty: the version must not hold up those above it.
 *
 * @throws {ChunkMismatchError} if a page is not what its id names.
 */
export async function loadTicketLeafList(
  root: ChunkId,
  fetchPages: FetchPages,
  onMalformed: (error: MalformedError) => void,
  options: AbortOptions = {}
): Promise<LeafList> {
  try {
    return await loadLeafList(root, fetchPages, options)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    onMalformed(error)
    return new LeafListBuilder().build()
  }
}

/**
 * Makes sure that every page of a list is stored, so that others than its writer can finish the version.
 * What stands in them does not matter for that: a malformed list counts as empty.
 *
 * @throws {Error} what `fetchPages` throws for a page that is nowhere.
 */
export async function checkLeafListStored(
  root: ChunkId,
  fetchPages: FetchPages,
  options: AbortOptions = {}
): Promise<void> {
  const { signal } = options
  let ids: ChunkId[] = []
  try {
    await fetchVerified([root], fetchPages, signal, (_, bytes) => {
      ids = Array.from(decodeRoot(bytes).pages)
    })
  } catch (error) {
    if (error instanceof MalformedError) return
    throw error
  }
  for (let from = 0; from < ids.length; from += PAGES_PER_FETCH) {
    await fetchVerified(ids.slice(from, from + PAGES_PER_FETCH), fetchPages, signal, () => {})
  }
}

/**
 * Loads a list and verifies every page.
 *
 * @throws {ChunkMismatchError} if a page is not what its id names.
 * @throws {MalformedError} if it is, but not what `encodeLeafList` writes.
 */
export async function loadLeafList(
  root: ChunkId,
  fetchPages: FetchPages,
  options: AbortOptions = {}
): Promise<LeafList> {
  const { signal } = options
  const loader = new LeafListLoader()
  await fetchVerified([root], fetchPages, signal, (id, bytes) => {
    verifyChunk(id, bytes)
    loader.takeRoot(bytes)
  })
  const ids = Array.from(loader.pages)
  for (let from = 0; from < ids.length; from += PAGES_PER_FETCH) {
    const batch = ids.slice(from, from + PAGES_PER_FETCH)
    await fetchVerified(batch, fetchPages, signal, (id, bytes) => {
      verifyChunk(id, bytes)
      loader.takePage(bytes)
    })
  }
  return loader.finish()
}

/**
 * Reads the ids of a list's pages from its root, whose hash has been verified.
 *
 * @throws {MalformedError} if it is not the root of a list.
 */
export function leafListPageIds(root: Uint8Array): ChunkList {
  return decodeRoot(root).pages
}

function encodePage(list: LeafList, from: number): Uint8Array {
  const count = Math.min(FRAGMENTS_PER_PAGE, list.fragmentCount - from)
  const table = new ReplicaTable()
  const rows = new ByteWriter(count * ROW_BYTES)
  for (let row = from; row < from + count; row++) {
    const { at, length, chunk, chunkOffset, replicas } = list.fragment(row)
    rows.u32(list.index(row)).u32(at).u32(length).u32(chunkOffset)
    rows.u16(table.number(replicas)).bytes(chunk)
  }
  const writer = new ByteWriter(rows.length + 1024)
  table.encodeTo(writer)
  return writer.u16(count).bytes(rows.finish()).finish()
}

function decodeRoot(bytes: Uint8Array): LeafListRoot {
  const reader = new ByteReader(bytes, 'leaf list root')
  if (!equalBytes(MAGIC, reader.bytes(MAGIC.byteLength))) reader.fail('wrong magic')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const hash = reader.u8()
  if (hash !== HASH_CODE) reader.fail(`hash ${hash} is not known`)
  const fragmentCount = reader.u32()
  const leafCount = reader.u32()
  const pageCount = Math.ceil(fragmentCount / FRAGMENTS_PER_PAGE)
  if (pageCount > MAX_LEAF_PAGES) reader.fail(`${pageCount} pages, at most ${MAX_LEAF_PAGES}`)
  const pages = new ChunkList(reader.bytes(pageCount * 32))
  reader.end()
  return { fragmentCount, leafCount, pages }
}

/** Takes the root, then each page in order, and checks that they are canonical together. */
class LeafListLoader {
  readonly #sets = new ReplicaSets()
  #root: LeafListRoot
  #columns = new LeafColumns(0)
  #fragmentsOfLeaf = 0

  constructor({ fragmentCount }: { readonly fragmentCount: number } = { fragmentCount: 0 }) {
    this.#root = { fragmentCount, leafCount: 0, pages: new ChunkList(0) }
  }

  get pages(): Iterable<ChunkId> {
    return this.#root.pages
  }

  takeRoot(bytes: Uint8Array): void {
    this.#root = decodeRoot(bytes)
    // Not all at once on the word of a root: a page must have come for what is allocated.
    this.#columns = new LeafColumns(Math.min(this.#root.fragmentCount, 64 * FRAGMENTS_PER_PAGE))
  }

  takePage(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes, 'leaf list page')
    const sets = decodeReplicaTable(reader)
    const numbers = sets.map((set) => this.#sets.intern(set))
    const count = reader.u16()
    const left = this.#root.fragmentCount - this.#columns.count
    const expected = Math.min(FRAGMENTS_PER_PAGE, left)
    if (count !== expected) reader.fail(`${count} fragments where ${expected} belong`)
    let used = 0
    for (let row = 0; row < count; row++) {
      const set = this.#takeRow(reader, numbers)
      if (set > used) reader.fail(`replica set ${set} before set ${used}`)
      if (set === used) used++
    }
    if (used !== sets.length) reader.fail('replica sets that no fragment names')
    reader.end()
  }

  /** What has been taken so far. */
  get list(): LeafList {
    return new LeafList(this.#columns, this.#sets)
  }

  finish(): LeafList {
    const { list } = this
    const { fragmentCount, leafCount } = this.#root
    if (list.fragmentCount !== fragmentCount || list.leafCount !== leafCount) {
      throw new MalformedError('leaf list', `${list.leafCount} leaves, ${leafCount} announced`)
    }
    return list
  }

  /** @returns the number of the row's replica set in its page. */
  #takeRow(reader: ByteReader, numbers: readonly number[]): number {
    const [index, at, length, chunkOffset] = [
      reader.u32(),
      reader.u32(),
      reader.u32(),
      reader.u32()
    ]
    const number = reader.u16()
    const set = numbers[number]
    if (set === undefined) reader.fail(`replica set ${number}`)
    const row: FragmentRow = { index, at, length, chunkOffset, set, id: reader.bytes(32) }
    if (length === 0) reader.fail('an empty fragment')
    if (isZeroChunk(row.id) && (chunkOffset !== 0 || set !== 0)) reader.fail('zeros with a place')
    const before = this.#columns.count - 1
    const previous = before < 0 ? undefined : this.#columns.row(before)
    if (previous !== undefined && !mayFollow(previous, row)) reader.fail('fragments out of order')
    this.#fragmentsOfLeaf = previous?.index === index ? this.#fragmentsOfLeaf + 1 : 1
    if (this.#fragmentsOfLeaf > MAX_LEAF_FRAGMENTS) reader.fail('too many fragments in a leaf')
    this.#columns.push(row)
    return number
  }
}
