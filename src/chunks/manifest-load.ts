import type { AbortOptions } from '../lib/abort-options.ts'
import { LimitExceededError, MalformedError } from '../lib/errors.ts'
import { chunkKey, isZeroChunk, verifyChunk } from './chunk-id.ts'
import { ChunkList } from './chunk-list.ts'
import {
  decodeManifestPage,
  decodeManifestRoot,
  itemCount,
  MAX_MANIFEST_CHILDREN,
  Manifest,
  type ManifestShape
} from './manifest.ts'
import type { ChunkId } from './types.ts'

/**
 * Fetches manifest pages from wherever they are; entry i of the result is page i. Rejects if one
 * cannot be had. Whoever calls it verifies the bytes.
 */
export type FetchPages = (
  ids: readonly ChunkId[],
  options?: AbortOptions
) => Promise<readonly Uint8Array[]>

export interface LoadManifestOptions extends AbortOptions {
  /**
   * Chunks that the manifest may list, at 32 bytes of memory each.
   *
   * @default 16,777,216 (512 MiB)
   */
  readonly maxChunks?: number
  /** Pages asked for at a time, of up to 32 KiB each. @default 128 */
  readonly pagesPerFetch?: number
}

interface Place {
  readonly id: ChunkId
  /** Numbers of the pages of this level that have the id. */
  readonly pages: number[]
}

/**
 * Walks a manifest from its root to its chunk ids, level by level: says which pages it wants and
 * takes them in any order. Does no I/O; a page is verified before anything of it is used.
 */
export class ManifestWalker {
  readonly #root: ChunkId
  readonly #maxChunks: number
  readonly #pageIds = new Map<string, ChunkId>()
  /** Pages of the current level that are not there yet, by key of their id. */
  readonly #wanted = new Map<string, Place>()
  #shape: ManifestShape | undefined
  #level = 0
  #items = new ChunkList(0)
  #leafPages = new ChunkList(0)

  constructor(root: ChunkId, options: Pick<LoadManifestOptions, 'maxChunks'> = {}) {
    const { maxChunks = 2 ** 24 } = options
    this.#root = root
    this.#maxChunks = maxChunks
    this.#wanted.set(chunkKey(root), { id: root, pages: [0] })
  }

  /** Ids of up to `limit` pages that are needed next; empty when the manifest is whole. */
  wanted(limit: number): ChunkId[] {
    return Array.from(this.#wanted.values().take(limit), ({ id }) => id)
  }

  /**
   * Takes a page that was wanted; others are ignored.
   *
   * @throws {ChunkMismatchError} if the bytes are not the page.
   * @throws {MalformedError} if they are, but no manifest has such a page there.
   * @throws {LimitExceededError} if the manifest lists more than `maxChunks`.
   */
  add(id: ChunkId, bytes: Uint8Array): void {
    const key = chunkKey(id)
    const place = this.#wanted.get(key)
    if (place === undefined) return
    verifyChunk(id, bytes)
    if (this.#shape === undefined) this.#takeRoot(bytes)
    else this.#takePage(this.#shape, place, bytes)
    this.#wanted.delete(key)
    this.#pageIds.set(key, id)
    while (this.#shape !== undefined && this.#wanted.size === 0 && this.#level > 0) {
      this.#descend(this.#shape)
    }
  }

  /** The manifest, or undefined while pages are wanted. */
  finish(): Manifest | undefined {
    if (this.#shape === undefined || this.#wanted.size > 0) return undefined
    return new Manifest({
      root: this.#root,
      shape: this.#shape,
      ids: this.#items,
      leafPages: this.#leafPages,
      pageIds: Array.from(this.#pageIds.values())
    })
  }

  #takeRoot(bytes: Uint8Array): void {
    const { shape, children } = decodeManifestRoot(bytes)
    if (shape.chunkCount > this.#maxChunks) {
      throw new LimitExceededError(`manifest of ${shape.chunkCount} chunks`, this.#maxChunks)
    }
    this.#shape = shape
    this.#level = shape.levels + 1
    this.#items = children
  }

  /** Copies a page's ids to every place of the level where it occurs. */
  #takePage(shape: ManifestShape, place: Place, bytes: Uint8Array): void {
    for (const page of place.pages) {
      const list = decodeManifestPage(shape, this.#level - 1, page, bytes)
      this.#items.bytes.set(list.bytes, page * MAX_MANIFEST_CHILDREN * list.get(0).byteLength)
    }
  }

  /** All ids of the level are known: goes one level down and wants its pages. */
  #descend(shape: ManifestShape): void {
    this.#level--
    if (this.#level === 0) return
    const ids = this.#items
    if (this.#level === 1) this.#leafPages = ids
    this.#items = new ChunkList(itemCount(shape, this.#level - 1))
    for (const [page, id] of Array.from(ids).entries()) {
      if (isZeroChunk(id)) continue
      const key = chunkKey(id)
      const place = this.#wanted.get(key)
      if (place === undefined) this.#wanted.set(key, { id, pages: [page] })
      else place.pages.push(page)
    }
  }
}

/**
 * Loads a whole manifest and verifies every page.
 *
 * @throws {ChunkMismatchError | MalformedError} if a page is not what its id names or fits no
 * manifest.
 * @throws {LimitExceededError} if it lists more than `maxChunks`.
 */
export async function loadManifest(
  root: ChunkId,
  fetchPages: FetchPages,
  options: LoadManifestOptions = {}
): Promise<Manifest> {
  const { signal, pagesPerFetch = 128 } = options
  const walker = new ManifestWalker(root, options)
  for (;;) {
    const manifest = walker.finish()
    if (manifest !== undefined) return manifest
    await fetchVerified(walker.wanted(pagesPerFetch), fetchPages, signal, (id, bytes) =>
      walker.add(id, bytes)
    )
  }
}

/** Fetches pages and hands each on with its id. @throws {MalformedError} if not all came. */
export async function fetchVerified(
  ids: readonly ChunkId[],
  fetchPages: FetchPages,
  signal: AbortSignal | undefined,
  take: (id: ChunkId, bytes: Uint8Array) => void
): Promise<void> {
  signal?.throwIfAborted()
  const pages = await fetchPages(ids, { signal })
  for (const [index, id] of ids.entries()) {
    const bytes = pages[index]
    if (bytes === undefined) {
      throw new MalformedError('pages', `${pages.length} came, ${ids.length} were asked for`)
    }
    take(id, bytes)
  }
}
