import { chunkKey, isZeroChunk, verifyChunk } from '../chunks/chunk-id.ts'
import { ChunkList } from '../chunks/chunk-list.ts'
import {
  decodeManifestPage,
  decodeManifestRoot,
  itemCount,
  MAX_MANIFEST_CHILDREN,
  type ManifestRoot,
  pageItemCount
} from '../chunks/manifest.ts'
import { type FetchPages, fetchVerified } from '../chunks/manifest-load.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import { SharedCache } from '../lib/shared-cache.ts'
import { locationRecordName, verifyLocation } from './location.ts'
import type { LocationRecord } from './sealing-types.ts'
import type { Verifier } from './signature-types.ts'
import type { RecordStore } from './store-types.ts'

export interface ManifestViewComponents {
  readonly fetchPages: FetchPages
  readonly records: Pick<RecordStore, 'getRecords'>
  readonly verifier: Verifier
  readonly logger: Logger
}

export interface ManifestViewOptions {
  /** Pages kept in memory, of 32 KiB each, and as many location records. @default 32 */
  readonly maxPages?: number
}

const NOWHERE: readonly ProviderId[] = []

/**
 * A stored manifest of which only the pages are loaded that somebody looks at, and beside each page
 * where its chunks are. What is loaded has been verified. Several may look at the same time.
 */
export class ManifestView {
  readonly root: ChunkId
  readonly #components: ManifestViewComponents
  readonly #shape: ManifestRoot['shape']
  readonly #children: ChunkList
  readonly #pages: SharedCache<ChunkList>
  readonly #locations: SharedCache<{ readonly record: LocationRecord | undefined }>

  constructor(
    components: ManifestViewComponents,
    root: ChunkId,
    rootPage: ManifestRoot,
    options: ManifestViewOptions = {}
  ) {
    const { maxPages = 32 } = options
    this.root = root
    this.#components = components
    this.#shape = rootPage.shape
    this.#children = rootPage.children
    this.#pages = new SharedCache(maxPages)
    this.#locations = new SharedCache(maxPages)
  }

  /**
   * Loads the root page.
   *
   * @throws {ChunkMismatchError | MalformedError} if it is not what the id names, or no manifest.
   * @throws {MetadataMissingError} if it is nowhere.
   */
  static async open(
    components: ManifestViewComponents,
    root: ChunkId,
    options: ManifestViewOptions & AbortOptions = {}
  ): Promise<ManifestView> {
    const rootPage = await fetchOne(components.fetchPages, root, options.signal)
    return new ManifestView(components, root, decodeManifestRoot(rootPage), options)
  }

  get bytes(): number {
    return this.#shape.bytes
  }

  get chunkBytes(): number {
    return this.#shape.chunkBytes
  }

  get chunkCount(): number {
    return this.#shape.chunkCount
  }

  /** Pages between the root and a chunk id. */
  get levels(): number {
    return this.#shape.levels
  }

  /** Number of pages that list chunks; page k lists chunks from 1,024 k on. */
  get leafPageCount(): number {
    return Math.ceil(this.chunkCount / MAX_MANIFEST_CHILDREN)
  }

  /** Bytes of a chunk; only the last may be shorter. */
  chunkLength(index: number): number {
    return Math.max(0, Math.min(this.chunkBytes, this.bytes - index * this.chunkBytes))
  }

  /**
   * Id of the page that lists chunks from 1,024 `page` on: the root in a small manifest, or zeros.
   */
  async leafPageId(page: number, options: AbortOptions = {}): Promise<ChunkId> {
    return this.#shape.levels === 0 ? this.root : await this.#pageId(0, page, options)
  }

  /** Ids of the chunks from 1,024 `page` on; the list must not be changed. */
  async chunkIds(page: number, options: AbortOptions = {}): Promise<ChunkList> {
    return await this.items(0, page, options)
  }

  /** Id of a chunk, a view. @throws {RangeError} if there is no such chunk. */
  async chunkId(index: number, options: AbortOptions = {}): Promise<ChunkId> {
    const ids = await this.chunkIds(Math.floor(index / MAX_MANIFEST_CHILDREN), options)
    return ids.get(index % MAX_MANIFEST_CHILDREN)
  }

  /** Where the chunks of a page are; undefined if nobody knows, which is not an error. */
  async location(page: number, options: AbortOptions = {}): Promise<LocationRecord | undefined> {
    const id = await this.leafPageId(page, options)
    if (isZeroChunk(id)) return undefined
    const load = async (signal: AbortSignal) => ({ record: await this.#findLocation(id, signal) })
    const { record } = await this.#locations.get(chunkKey(id), load, options)
    return record
  }

  /** Where a chunk was when somebody last looked; empty if nobody knows. */
  async replicas(index: number, options: AbortOptions = {}): Promise<readonly ProviderId[]> {
    const record = await this.location(Math.floor(index / MAX_MANIFEST_CHILDREN), options)
    return record?.replicas[index % MAX_MANIFEST_CHILDREN] ?? NOWHERE
  }

  /**
   * Ids of the items of `level`, chunks at level 0 and pages of that level above, from 1,024 `page`
   * on: what one page of the level above lists, the root at level `levels`. The list must not be
   * changed.
   *
   * @throws {RangeError} if there is no such page.
   */
  async items(level: number, page: number, options: AbortOptions = {}): Promise<ChunkList> {
    const { levels } = this.#shape
    if (!Number.isInteger(page) || page < 0 || page >= itemCount(this.#shape, level + 1)) {
      throw new RangeError(`manifest page ${page}`)
    }
    if (level === levels) return this.#children
    const id = await this.#pageId(level, page, options)
    if (isZeroChunk(id)) return new ChunkList(pageItemCount(this.#shape, level, page))
    const load = async (signal: AbortSignal): Promise<ChunkList> => {
      const bytes = await fetchOne(this.#components.fetchPages, id, signal)
      return decodeManifestPage(this.#shape, level, page, bytes)
    }
    return await this.#pages.get(`${level}/${page}`, load, options)
  }

  async #pageId(level: number, page: number, options: AbortOptions): Promise<ChunkId> {
    const above = await this.items(level + 1, Math.floor(page / MAX_MANIFEST_CHILDREN), options)
    return above.get(page % MAX_MANIFEST_CHILDREN)
  }

  async #findLocation(page: ChunkId, signal: AbortSignal): Promise<LocationRecord | undefined> {
    const { records, verifier, logger } = this.#components
    const [found] = await records.getRecords([locationRecordName(page)], { signal })
    if (found === undefined) return undefined
    try {
      return verifyLocation(verifier, found.envelope, page)
    } catch (error) {
      // A location is a hint; a wrong one is worth no more than none.
      logger.info('%s is not to be trusted: %e', found.name, error)
      return undefined
    }
  }
}

async function fetchOne(
  fetchPages: FetchPages,
  id: ChunkId,
  signal: AbortSignal | undefined
): Promise<Uint8Array> {
  const pages: Uint8Array[] = []
  await fetchVerified([id], fetchPages, signal, (_, bytes) => void pages.push(bytes))
  const [bytes = new Uint8Array(0)] = pages
  verifyChunk(id, bytes)
  return bytes
}
