import { isZeroChunk, verifyChunk } from '../chunks/chunk-id.ts'
import type { ChunkList } from '../chunks/chunk-list.ts'
import { KeySet } from '../chunks/key-set.ts'
import {
  decodeManifestPage,
  decodeManifestRoot,
  MAX_MANIFEST_CHILDREN,
  type ManifestShape
} from '../chunks/manifest.ts'
import { type FetchPages, fetchVerified } from '../chunks/manifest-load.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { MalformedError } from '../lib/errors.ts'
import { nextTurn } from '../lib/turn.ts'
import type { LeafList } from './leaf-list.ts'
import { leafListPageIds, loadTicketLeafList } from './leaf-list-codec.ts'

/** Pages that are fetched together, 1 MiB of them. */
const PAGES_PER_FETCH = 32

/** Fetches of one manifest's pages under way at a time. */
const FETCHES = 2

/** Fragments of a leaf list that are marked before other work comes in between. */
const FRAGMENTS_PER_TURN = 16_384

/** Stand in place of a level for what is no manifest page below a root. */
const MANIFESTS = 0
const LEAF_LISTS = -1

/**
 * What must stay: the pages and chunks of the manifests and leaf lists that were added, 20 to 30
 * bytes of memory each. A page that several manifests share is fetched once. Several may be added
 * at the same time; when one of them fails the marks are worth nothing.
 */
export class CollectionMarks {
  readonly #fetchPages: FetchPages
  readonly #chunks = new KeySet()
  readonly #pages = new KeySet()
  /**
   * Pages that were walked, by their level: only where a page stands tells what it
   * lists, and somebody might make the same bytes stand at two levels.
   */
  readonly #walked = new Map<number, KeySet>()

  constructor(fetchPages: FetchPages) {
    this.#fetchPages = fetchPages
  }

  /** Chunks that were marked, each counted once. */
  get chunkCount(): number {
    return this.#chunks.size
  }

  /** Pages that were marked. */
  get pageCount(): number {
    return this.#pages.size
  }

  hasChunk(id: ChunkId): boolean {
    return this.#chunks.has(id)
  }

  hasPage(id: ChunkId): boolean {
    return this.#pages.has(id)
  }

  /**
   * Marks a manifest: all its pages and chunks.
   *
   * @throws {MetadataMissingError | ChunkMismatchError | MalformedError} if it cannot be read whole.
   */
  async addManifest(root: ChunkId, options: AbortOptions = {}): Promise<void> {
    if (isZeroChunk(root) || !this.#walk(MANIFESTS, root)) return
    let top: { shape: ManifestShape; children: ChunkList } | undefined
    await fetchVerified([root], this.#fetchPages, options.signal, (id, bytes) => {
      verifyChunk(id, bytes)
      top = decodeManifestRoot(bytes)
    })
    if (top === undefined) return
    await this.#addChildren(top.shape, { level: top.shape.levels, first: 0 }, top.children, options)
  }

  /**
   * Marks a leaf list: its pages and the chunks that it names. One that is malformed names none,
   * but what there is of it stays, because it is read again and again.
   *
   * @throws {MetadataMissingError | ChunkMismatchError} if it cannot be read whole.
   */
  async addLeafList(root: ChunkId, options: AbortOptions = {}): Promise<void> {
    if (!this.#walk(LEAF_LISTS, root)) return
    await fetchVerified([root], this.#fetchPages, options.signal, (id, bytes) => {
      verifyChunk(id, bytes)
      for (const page of pageIdsOf(bytes)) this.#pages.add(page)
    })
    const list = await loadTicketLeafList(root, this.#fetchPages, () => {}, options)
    await this.#addFragments(list)
  }

  async #addFragments(list: LeafList): Promise<void> {
    for (let row = 0; row < list.fragmentCount; row++) {
      const { chunk } = list.fragment(row)
      if (!isZeroChunk(chunk)) this.#chunks.add(chunk)
      if (row % FRAGMENTS_PER_TURN === FRAGMENTS_PER_TURN - 1) await nextTurn()
    }
  }

  /**
   * Marks items of a level and what is below them.
   *
   * @param place level of the items (0 for chunks), and the number of the first in its level.
   */
  async #addChildren(
    shape: ManifestShape,
    { level, first }: { readonly level: number; readonly first: number },
    items: ChunkList,
    options: AbortOptions
  ): Promise<void> {
    if (level === 0) {
      for (const id of items) if (!isZeroChunk(id)) this.#chunks.add(id)
      return
    }
    const unseen: { readonly id: ChunkId; readonly page: number }[] = []
    for (const [at, id] of Array.from(items).entries()) {
      if (!isZeroChunk(id) && this.#walk(level, id)) unseen.push({ id, page: first + at })
    }
    const batches = Array.from({ length: Math.ceil(unseen.length / PAGES_PER_FETCH) }, (_, at) =>
      unseen.slice(at * PAGES_PER_FETCH, (at + 1) * PAGES_PER_FETCH)
    )
    // One fetch at a time above the lowest pages, or each level would multiply them.
    const limit = level === 1 ? FETCHES : 1
    await forEachConcurrently(
      batches,
      limit,
      async (batch, signal) => {
        const fetched: { readonly page: number; readonly list: ChunkList }[] = []
        await this.#fetchBatch(batch, signal, (page, bytes) => {
          fetched.push({ page, list: decodeManifestPage(shape, level - 1, page, bytes) })
        })
        for (const { page, list } of fetched) {
          const below = { level: level - 1, first: page * MAX_MANIFEST_CHILDREN }
          await this.#addChildren(shape, below, list, { signal })
        }
        await nextTurn()
      },
      options
    )
  }

  async #fetchBatch(
    batch: readonly { readonly id: ChunkId; readonly page: number }[],
    signal: AbortSignal,
    take: (page: number, bytes: Uint8Array) => void
  ): Promise<void> {
    const pages = batch.values()
    const ids = batch.map(({ id }) => id)
    await fetchVerified(ids, this.#fetchPages, signal, (id, bytes) => {
      verifyChunk(id, bytes)
      take(pages.next().value?.page ?? 0, bytes)
    })
  }

  /** Marks a page. @returns true if it has not been walked at this level before. */
  #walk(level: number, id: ChunkId): boolean {
    this.#pages.add(id)
    const walked = this.#walked.get(level) ?? new KeySet()
    this.#walked.set(level, walked)
    return walked.add(id)
  }
}

function pageIdsOf(leafListRoot: Uint8Array): Iterable<ChunkId> {
  try {
    return leafListPageIds(leafListRoot)
  } catch (error) {
    if (error instanceof MalformedError) return []
    throw error
  }
}
