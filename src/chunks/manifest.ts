/**
 * The content-addressed list of a version's chunk ids: a tree of pages, each named by the BLAKE3 of
 * its bytes, so that versions share the pages in which they do not differ. Integers are big-endian.
 *
 * ```text
 * root page, 16 + 32 n bytes, n = 0 … 1,024
 *    0  4  magic "BSwM"
 *    4  1  format, 1
 *    5  1  levels: pages on the way from the root to a chunk id, 0 … 3
 *    6  1  log2 of chunkBytes, 16 … 24
 *    7  1  hash: multihash code of chunk and page ids (0x1e, BLAKE3-256)
 *    8  8  bytes of the image
 *   16  32 n  ids of the children: chunks if levels is 0, else pages of level `levels`
 *
 * page of level j, 32 n bytes, n = 1 … 1,024
 *    0  32 n  ids of the children: chunks if j is 1, else pages of level j - 1
 * ```
 *
 * Child i of a page of level j covers 1024^(j-1) chunks; only the last page of a level is shorter.
 * `levels` is the smallest that leaves the root at most 1,024 children, and a page of nothing but
 * the zero id is itself named by the zero id and stored nowhere. So equal content has an equal
 * root.
 */

import { ByteReader, ByteWriter, isAllZero } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import {
  CHUNK_ID_BYTES,
  chunkId,
  chunkKey,
  HASH_CODE,
  isZeroChunk,
  ZERO_CHUNK_ID
} from './chunk-id.ts'
import { ChunkList } from './chunk-list.ts'
import { chunkCountOf } from './chunk-size.ts'
import type { ChunkId } from './types.ts'

/** Children that the root or a page has at most. */
export const MAX_MANIFEST_CHILDREN = 1024

/** Chunks that a manifest lists at most. */
export const MAX_MANIFEST_CHUNKS = 2 ** 32

const ROOT_HEADER_BYTES = 16
const MAGIC = Uint8Array.from(Buffer.from('BSwM', 'latin1'))
const FORMAT = 1

/** Bytes of the largest page there is, a full root. */
export const MAX_MANIFEST_PAGE_BYTES = ROOT_HEADER_BYTES + MAX_MANIFEST_CHILDREN * CHUNK_ID_BYTES

/** What the size of an image and of its chunks says about its manifest. */
export interface ManifestShape {
  readonly bytes: number
  readonly chunkBytes: number
  readonly chunkCount: number
  /** Pages between the root and a chunk id. */
  readonly levels: number
}

/** A page under its id; `bytes` may be a view of the list it was built from. */
export interface ManifestPage {
  readonly id: ChunkId
  readonly bytes: Uint8Array
}

/** A manifest ready to be stored. */
export interface BuiltManifest {
  readonly root: ChunkId
  /** Pages to store, each once, children before parents; the root page is the last. */
  readonly pages: readonly ManifestPage[]
}

/** A root page, decoded. */
export interface ManifestRoot {
  readonly shape: ManifestShape
  readonly children: ChunkList
}

/**
 * Works out the shape of a manifest.
 *
 * @throws {RangeError} if the sizes are impossible or there would be more than 2^32 chunks.
 */
export function manifestShape(bytes: number, chunkBytes: number): ManifestShape {
  const chunkCount = chunkCountOf(bytes, chunkBytes)
  if (chunkCount > MAX_MANIFEST_CHUNKS) {
    throw new RangeError(`${chunkCount} chunks are more than a manifest can list`)
  }
  let levels = 0
  for (let top = chunkCount; top > MAX_MANIFEST_CHILDREN; levels++) {
    top = Math.ceil(top / MAX_MANIFEST_CHILDREN)
  }
  return { bytes, chunkBytes, chunkCount, levels }
}

/** Number of items of a level: chunks at level 0, pages of level j above. */
export function itemCount(shape: ManifestShape, level: number): number {
  return Math.ceil(shape.chunkCount / MAX_MANIFEST_CHILDREN ** level)
}

/** Number of items of `level` that page `page` of the level above lists. */
export function pageItemCount(shape: ManifestShape, level: number, page: number): number {
  const rest = itemCount(shape, level) - page * MAX_MANIFEST_CHILDREN
  return Math.max(0, Math.min(rest, MAX_MANIFEST_CHILDREN))
}

/** Names a page: the zero id for a page of zero ids, else its hash. */
export function manifestPageId(page: Uint8Array): ChunkId {
  return isAllZero(page) ? ZERO_CHUNK_ID : chunkId(page)
}

/** Writes a root page. `children` has as many ids as the shape asks for. */
export function encodeManifestRoot(shape: ManifestShape, children: ChunkList): Uint8Array {
  return new ByteWriter(ROOT_HEADER_BYTES + children.bytes.byteLength)
    .bytes(MAGIC)
    .u8(FORMAT)
    .u8(shape.levels)
    .u8(Math.log2(shape.chunkBytes))
    .u8(HASH_CODE)
    .u64(shape.bytes)
    .bytes(children.bytes)
    .finish()
}

/**
 * Reads a root page.
 *
 * @throws {MalformedError} if it is anything but what `encodeManifestRoot` writes.
 */
export function decodeManifestRoot(bytes: Uint8Array): ManifestRoot {
  const reader = new ByteReader(bytes, 'manifest root')
  if (!Buffer.from(MAGIC).equals(reader.bytes(MAGIC.byteLength))) reader.fail('wrong magic')
  const format = reader.u8()
  if (format !== FORMAT) reader.fail(`format ${format} is not known`)
  const levels = reader.u8()
  const chunkBytes = 2 ** reader.u8()
  const hash = reader.u8()
  if (hash !== HASH_CODE) reader.fail(`hash ${hash} is not known`)
  const shape = shapeFromOutside(reader.u64(), chunkBytes)
  const children = itemCount(shape, shape.levels)
  if (levels !== shape.levels) reader.fail(`${levels} levels for ${shape.chunkCount} chunks`)
  const packed = reader.bytes(children * CHUNK_ID_BYTES)
  reader.end()
  return { shape, children: new ChunkList(packed) }
}

/**
 * Reads page `page` of the level above `level`, whose hash has been verified. The list is a view.
 *
 * @throws {MalformedError} if it does not have the length that the shape asks for, or is all zero.
 */
export function decodeManifestPage(
  shape: ManifestShape,
  level: number,
  page: number,
  bytes: Uint8Array
): ChunkList {
  const count = pageItemCount(shape, level, page)
  if (bytes.byteLength !== count * CHUNK_ID_BYTES) {
    throw new MalformedError('manifest page', `${bytes.byteLength} bytes for ${count} ids`)
  }
  if (isAllZero(bytes)) throw new MalformedError('manifest page', 'zeros that are not named so')
  return new ChunkList(bytes)
}

/**
 * Builds the manifest of an image from its chunk ids in one go, about 40 ms for a million of them.
 * Pages are views of the list, which must not change until they are stored.
 *
 * @throws {RangeError} if the list has not exactly ceil(bytes / chunkBytes) ids.
 */
export function buildManifest(list: ChunkList, bytes: number, chunkBytes: number): BuiltManifest {
  const shape = manifestShape(bytes, chunkBytes)
  if (list.count !== shape.chunkCount) {
    throw new RangeError(`${list.count} chunk ids for ${shape.chunkCount} chunks`)
  }
  const pages = new PageCollector()
  let items = list
  for (let level = 0; level < shape.levels; level++) {
    const parents = new ChunkList(itemCount(shape, level + 1))
    for (let page = 0; page < parents.count; page++) {
      const start = page * MAX_MANIFEST_CHILDREN
      const end = Math.min(start + MAX_MANIFEST_CHILDREN, items.count)
      parents.set(page, pages.add(items.subarray(start, end).bytes))
    }
    items = parents
  }
  return pages.finish(encodeManifestRoot(shape, items))
}

/** Collects the new pages of a manifest, each once, without those of zeros. */
export class PageCollector {
  readonly #pages = new Map<string, ManifestPage>()

  /** Takes a page. @returns its id. */
  add(bytes: Uint8Array): ChunkId {
    const id = manifestPageId(bytes)
    if (!isZeroChunk(id)) this.#pages.set(chunkKey(id), { id, bytes })
    return id
  }

  /** Takes the root page and ends the collection. */
  finish(rootPage: Uint8Array): BuiltManifest {
    const root = this.add(rootPage)
    return { root, pages: Array.from(this.#pages.values()) }
  }
}

/** What a whole manifest consists of. */
export interface ManifestParts {
  readonly root: ChunkId
  readonly shape: ManifestShape
  /** Ids of all chunks. */
  readonly ids: ChunkList
  /** Ids of the pages that list chunks, in order; empty if the root does. */
  readonly leafPages: ChunkList
  /** Ids of all pages, each once, the root first. */
  readonly pageIds: readonly ChunkId[]
}

/** A manifest in memory, 32 bytes a chunk: which chunks an image consists of. */
export class Manifest {
  readonly root: ChunkId
  readonly bytes: number
  readonly chunkBytes: number
  readonly chunkCount: number
  /** Ids of all chunks in order. */
  readonly ids: ChunkList
  /** Ids of all stored pages, each once, the root first; without the zero id. */
  readonly pageIds: readonly ChunkId[]
  readonly #leafPages: ChunkList

  constructor(parts: ManifestParts) {
    this.root = parts.root
    this.bytes = parts.shape.bytes
    this.chunkBytes = parts.shape.chunkBytes
    this.chunkCount = parts.shape.chunkCount
    this.ids = parts.ids
    this.pageIds = parts.pageIds
    this.#leafPages = parts.leafPages
  }

  /** Id of chunk `index`, a view. @throws {RangeError} if there is no such chunk. */
  chunkId(index: number): ChunkId {
    return this.ids.get(index)
  }

  /**
   * Bytes of chunk `index`; only the last may be shorter.
   *
   * @throws {RangeError} if there is none.
   */
  chunkLength(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.chunkCount) {
      throw new RangeError(`chunk ${index} of ${this.chunkCount}`)
    }
    return Math.min(this.chunkBytes, this.bytes - index * this.chunkBytes)
  }

  /** Number of pages that list chunks; page k lists chunks from 1,024 k on. */
  get leafPageCount(): number {
    return Math.max(1, this.#leafPages.count)
  }

  /**
   * Id of the page that lists chunks from 1,024 `page` on: the root in a small manifest, or zeros.
   */
  leafPageId(page: number): ChunkId {
    return this.#leafPages.count === 0 && page === 0 ? this.root : this.#leafPages.get(page)
  }
}

function shapeFromOutside(bytes: number, chunkBytes: number): ManifestShape {
  try {
    return manifestShape(bytes, chunkBytes)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new MalformedError('manifest root', error.message, { cause: error })
  }
}
