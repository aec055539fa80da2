import { isZeroChunk, ZERO_CHUNK_ID } from '../../../src/chunks/chunk-id.ts'
import type { ProviderId } from '../../../src/chunks/types.ts'
import { noLogger } from '../../../src/lib/logger.ts'
import { BlobReader } from '../../../src/metadata/blob-reader.ts'
import type { SignedVersionRecord } from '../../../src/metadata/sealing-types.ts'
import type { MetadataStore, NodeStore } from '../../../src/metadata/store-types.ts'
import { readExtents, type SealedChunk, type SealedPlace } from '../../../src/metadata/tree-read.ts'
import type { Extent } from '../../../src/metadata/tree-types.ts'
import type { VersionRef } from '../../../src/metadata/types.ts'
import { gullible } from '../plain-signing.ts'
import { CELL_BYTES, CELLS_PER_CHUNK, type CellPool, cellsIn, cellsOfBytes } from './cells.ts'
import { HistoryFailure } from './failure.ts'
import { nameOf } from './model.ts'
import type { HistoryVersions } from './versions.ts'

/** A stretch of a version, in cells. */
export interface CellRange {
  readonly offset: number
  readonly length: number
}

export interface TreeReadOptions {
  /** Where the nodes are read. @default the history's store */
  readonly store?: NodeStore | undefined
  /** The record of a version that readers of trees may take chunks from. */
  readonly recordOf?: ((ref: VersionRef) => SignedVersionRecord | undefined) | undefined
}

/** Reads versions of a history, through their trees and through their manifests. */
export class HistoryReader {
  readonly #versions: HistoryVersions
  readonly #store: MetadataStore
  readonly #pool: CellPool
  readonly #blobs: BlobReader

  constructor(parts: { versions: HistoryVersions; store: MetadataStore; pool: CellPool }) {
    const { versions, store, pool } = parts
    this.#versions = versions
    this.#store = store
    this.#pool = pool
    const shared = { reader: pool, verifier: gullible, logger: noLogger }
    this.#blobs = new BlobReader({ metadata: store, ...shared })
  }

  /** Extents of a range of a version, by its tree. */
  async extents(
    ref: VersionRef,
    { offset, length }: CellRange,
    { store = this.#store, recordOf }: TreeReadOptions = {}
  ): Promise<Extent[]> {
    const range = { offset: offset * CELL_BYTES, length: length * CELL_BYTES }
    const sealed =
      recordOf &&
      (async (places: readonly SealedPlace[]) =>
        await Promise.all(places.map((place) => this.#sealedChunk(recordOf, place))))
    return await readExtents(store, this.#versions.snapshot(ref), range, { sealed })
  }

  /** Cells of a range of a version, by its tree. */
  async treeCells(
    ref: VersionRef,
    range: CellRange,
    options: TreeReadOptions = {}
  ): Promise<Uint8Array> {
    const parts: Uint8Array[] = []
    let at = range.offset
    for (const extent of await this.extents(ref, range, options)) {
      if (cellsIn(extent.offset, 'extent') !== at) throw new HistoryFailure('extents with a gap')
      const length = cellsIn(extent.length, 'extent')
      const from = cellsIn(extent.chunkOffset, 'extent')
      if (extent.chunk !== undefined && !isZeroChunk(extent.chunk)) checkReplicas(extent.replicas)
      const cells = extent.chunk && this.#pool.cells(extent.chunk, from + length)
      parts.push(cells?.subarray(from, from + length) ?? new Uint8Array(length))
      at += length
    }
    return Buffer.concat(parts)
  }

  /** All cells of a version, by the chunks that its manifest lists. */
  async manifestCells(signed: SignedVersionRecord): Promise<Uint8Array> {
    const { manifest, bytes } = await this.#blobs.open(signed)
    const cells = new Uint8Array(cellsIn(bytes, 'size'))
    let index = 0
    for (let page = 0; page < manifest.leafPageCount; page++) {
      const location = await manifest.location(page)
      for (const [place, id] of Array.from(await manifest.chunkIds(page)).entries()) {
        if (!isZeroChunk(id)) checkReplicas(location?.replicas[place])
        const length = cellsIn(manifest.chunkLength(index), 'chunk')
        const chunk = this.#pool.cells(id, length)
        if (chunk.byteLength !== length) {
          throw new HistoryFailure(`chunk ${index}: ${chunk.byteLength} cells, not ${length}`)
        }
        if (!isZeroChunk(id)) cells.set(chunk, index * CELLS_PER_CHUNK)
        index++
      }
    }
    return cells
  }

  /** Cells of a range of a version, as readers of bytes get them. */
  async blobCells(signed: SignedVersionRecord, { offset, length }: CellRange): Promise<Uint8Array> {
    const snapshot = await this.#blobs.open(signed)
    const range = { offset: offset * CELL_BYTES, length: length * CELL_BYTES }
    const parts = await Array.fromAsync(snapshot.read(range))
    return Buffer.concat(parts.map(cellsOfBytes))
  }

  async #sealedChunk(
    recordOf: (ref: VersionRef) => SignedVersionRecord | undefined,
    { ref, index }: SealedPlace
  ): Promise<SealedChunk | undefined> {
    const record = recordOf(ref)
    if (record === undefined) return undefined
    const { manifest } = await this.#blobs.open(record)
    const length = manifest.chunkLength(index)
    if (length === 0) return { chunk: ZERO_CHUNK_ID, length, replicas: [] }
    const chunk = await manifest.chunkId(index)
    return { chunk, length, replicas: await manifest.replicas(index) }
  }
}

/** @throws {HistoryFailure} if nobody knows where a chunk is. */
function checkReplicas(replicas: readonly ProviderId[] | undefined): void {
  if (replicas === undefined || replicas.length === 0) {
    throw new HistoryFailure('nobody knows where a chunk is')
  }
}

/** @throws {HistoryFailure} if a version reads otherwise than the model says. */
export function compareCells(
  actual: Uint8Array,
  expected: Uint8Array,
  { ref, by }: { readonly ref: VersionRef; readonly by: string }
): void {
  if (Buffer.compare(actual, expected) === 0) return
  const at = expected.findIndex((cell, place) => actual[place] !== cell)
  const what = `${actual.byteLength} cells in place of ${expected.byteLength}`
  throw new HistoryFailure(`${nameOf(ref)} by its ${by}: ${what}, other ones from ${at} on`)
}
