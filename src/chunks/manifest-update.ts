import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes } from '../lib/bytes.ts'
import { nextTurn } from '../lib/turn.ts'
import { chunkKey, isZeroChunk, verifyChunk, ZERO_CHUNK_ID } from './chunk-id.ts'
import { ChunkList } from './chunk-list.ts'
import {
  type BuiltManifest,
  decodeManifestPage,
  decodeManifestRoot,
  encodeManifestRoot,
  itemCount,
  MAX_MANIFEST_CHILDREN,
  type ManifestShape,
  manifestPageId,
  manifestShape,
  PageCollector,
  pageItemCount
} from './manifest.ts'
import { type FetchPages, fetchVerified } from './manifest-load.ts'
import type { ChunkId } from './types.ts'

const PAGES_PER_FETCH = 128
const PAGES_PER_TURN = 256

/** A stored manifest that another one is made from. */
export interface OldManifest {
  readonly root: ChunkId
  readonly fetchPages: FetchPages
}

/** How a version differs from the one before. */
export interface ManifestChanges {
  /** Size of the image now. Chunks that it gains are zeros unless they are in `chunks`. */
  readonly bytes: number
  /**
   * New ids by chunk index, in any order; the last one for an index counts. A chunk whose length
   * changes with the size (the last one, before or now) must be among them unless it is zeros.
   */
  readonly chunks: Iterable<readonly [index: number, id: ChunkId]>
}

/** Changed items of one level: page number → place in the page → id. */
type LevelChanges = Map<number, Map<number, ChunkId>>

/**
 * Makes the manifest of the next version from the one before. Fetches only the pages on the way to
 * what changes (and not those that are replaced whole), and returns only pages that the old
 * manifest does not have at the same place, plus the root.
 *
 * @throws {RangeError} if a changed chunk lies beyond the size or the size is impossible.
 * @throws {ChunkMismatchError | MalformedError} if a fetched page is not what it should be.
 */
export async function updateManifest(
  old: OldManifest,
  changes: ManifestChanges,
  options: AbortOptions = {}
): Promise<BuiltManifest> {
  const oldPages = await OldPages.open(old, options.signal)
  const shape = manifestShape(changes.bytes, oldPages.shape.chunkBytes)
  const collector = new PageCollector()
  let changed = changesByPage(changes.chunks, shape.chunkCount)
  for (let level = 0; level < shape.levels; level++) {
    changed = await updateLevel({ level, shape, oldPages, collector }, changed)
  }
  await oldPages.load(shape.levels, [0])
  const children = editedPage(
    { level: shape.levels, shape, oldPages, collector },
    0,
    changed.get(0)
  )
  return collector.finish(encodeManifestRoot(shape, children))
}

interface LevelUpdate {
  readonly level: number
  readonly shape: ManifestShape
  readonly oldPages: OldPages
  readonly collector: PageCollector
}

/** Rewrites the touched pages over one level. @returns the changed items of the level above. */
async function updateLevel(update: LevelUpdate, changed: LevelChanges): Promise<LevelChanges> {
  const { level, shape, oldPages } = update
  const touched = touchedPages(update, changed)
  const isWhole = (page: number): boolean =>
    changed.get(page)?.size === pageItemCount(shape, level, page)
  const above: LevelChanges = new Map()
  for (let from = 0; from < touched.length; from += PAGES_PER_TURN) {
    const group = touched.slice(from, from + PAGES_PER_TURN)
    await oldPages.load(level, group, isWhole)
    for (const page of group) {
      const id = collectIfNew(update, page, changed.get(page))
      if (id !== undefined) put(above, page, id)
    }
    oldPages.forget(level, group)
    await nextTurn()
  }
  return above
}

function collectIfNew(
  update: LevelUpdate,
  page: number,
  changes: ReadonlyMap<number, ChunkId> | undefined
): ChunkId | undefined {
  const { bytes } = editedPage(update, page, changes)
  const id = manifestPageId(bytes)
  if (equalBytes(id, update.oldPages.pageId(update.level, page))) return undefined
  return update.collector.add(bytes)
}

/** Numbers of the pages over this level that may come out different, in order. */
function touchedPages(update: LevelUpdate, changed: LevelChanges): number[] {
  const { level, shape, oldPages } = update
  const touched = new Set(changed.keys())
  const newCount = itemCount(shape, level)
  const oldCount = level > oldPages.shape.levels ? 0 : itemCount(oldPages.shape, level)
  if (newCount !== oldCount) {
    const shorter = Math.min(newCount, oldCount)
    if (shorter > 0) touched.add(Math.floor((shorter - 1) / MAX_MANIFEST_CHILDREN))
  }
  // What the old root listed becomes a page when the tree grows.
  if (level === oldPages.shape.levels) touched.add(0)
  return Array.from(touched).toSorted((left, right) => left - right)
}

/**
 * The items of a page as they are now: the old ones, cut or grown to size, with changes applied.
 */
function editedPage(
  update: LevelUpdate,
  page: number,
  changes: ReadonlyMap<number, ChunkId> | undefined
): ChunkList {
  const list = new ChunkList(pageItemCount(update.shape, update.level, page))
  const old = update.oldPages.page(update.level, page)
  if (old !== undefined) list.bytes.set(old.bytes.subarray(0, list.bytes.byteLength))
  if (changes !== undefined) for (const [place, id] of changes) list.set(place, id)
  return list
}

function changesByPage(chunks: ManifestChanges['chunks'], chunkCount: number): LevelChanges {
  const changed: LevelChanges = new Map()
  for (const [index, id] of chunks) {
    if (!Number.isInteger(index) || index < 0 || index >= chunkCount) {
      throw new RangeError(`chunk ${index} of ${chunkCount}`)
    }
    put(changed, index, id)
  }
  return changed
}

function put(changes: LevelChanges, index: number, id: ChunkId): void {
  const page = Math.floor(index / MAX_MANIFEST_CHILDREN)
  const ofPage = changes.get(page) ?? new Map<number, ChunkId>()
  ofPage.set(index % MAX_MANIFEST_CHILDREN, id)
  changes.set(page, ofPage)
}

/** The pages of the old manifest as far as they are needed, fetched in batches and verified. */
class OldPages {
  readonly shape: ManifestShape
  readonly #fetchPages: FetchPages
  readonly #signal: AbortSignal | undefined
  readonly #children: ChunkList
  /** By level of the items that a page lists, then by page number. */
  readonly #loaded = new Map<number, Map<number, ChunkList>>()

  constructor(rootPage: Uint8Array, fetchPages: FetchPages, signal: AbortSignal | undefined) {
    const { shape, children } = decodeManifestRoot(rootPage)
    this.shape = shape
    this.#fetchPages = fetchPages
    this.#signal = signal
    this.#children = children
  }

  static async open(old: OldManifest, signal: AbortSignal | undefined): Promise<OldPages> {
    let rootPage = new Uint8Array(0)
    await fetchVerified([old.root], old.fetchPages, signal, (id, bytes) => {
      verifyChunk(id, bytes)
      rootPage = new Uint8Array(bytes)
    })
    return new OldPages(rootPage, old.fetchPages, signal)
  }

  /** The items that a page lists; undefined if there was no such page, or zeros, or not loaded. */
  page(level: number, page: number): ChunkList | undefined {
    if (level === this.shape.levels) return page === 0 ? this.#children : undefined
    return this.#loaded.get(level)?.get(page)
  }

  /** The id of a page, zeros if there was none; the page above must have been loaded. */
  pageId(level: number, page: number): ChunkId {
    const above = this.page(level + 1, Math.floor(page / MAX_MANIFEST_CHILDREN))
    const place = page % MAX_MANIFEST_CHILDREN
    return above === undefined || place >= above.count ? ZERO_CHUNK_ID : above.get(place)
  }

  /** Loads pages and everything above them; pages that `isUnneeded` only what is above. */
  async load(
    level: number,
    pages: readonly number[],
    isUnneeded: (page: number) => boolean = () => false
  ): Promise<void> {
    if (level >= this.shape.levels) return
    const above = new Set(pages.map((page) => Math.floor(page / MAX_MANIFEST_CHILDREN)))
    await this.load(level + 1, Array.from(above))
    const byKey = new Map<string, { readonly id: ChunkId; readonly pages: number[] }>()
    for (const page of pages) {
      const id = this.pageId(level, page)
      if (isZeroChunk(id) || isUnneeded(page) || this.page(level, page) !== undefined) continue
      const key = chunkKey(id)
      const wanted = byKey.get(key) ?? { id, pages: [] }
      wanted.pages.push(page)
      byKey.set(key, wanted)
    }
    const ids = Array.from(byKey.values(), ({ id }) => id)
    for (let from = 0; from < ids.length; from += PAGES_PER_FETCH) {
      const batch = ids.slice(from, from + PAGES_PER_FETCH)
      await fetchVerified(batch, this.#fetchPages, this.#signal, (id, bytes) => {
        verifyChunk(id, bytes)
        for (const page of byKey.get(chunkKey(id))?.pages ?? []) this.#keep(level, page, bytes)
      })
    }
  }

  /** Drops pages that have been used. */
  forget(level: number, pages: readonly number[]): void {
    for (const page of pages) this.#loaded.get(level)?.delete(page)
  }

  #keep(level: number, page: number, bytes: Uint8Array): void {
    const list = decodeManifestPage(this.shape, level, page, bytes)
    const ofLevel = this.#loaded.get(level) ?? new Map<number, ChunkList>()
    ofLevel.set(page, list)
    this.#loaded.set(level, ofLevel)
  }
}
