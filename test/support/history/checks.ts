import { MAX_MANIFEST_CHILDREN } from '../../../src/chunks/manifest.ts'
import type { VersionRef } from '../../../src/metadata/types.ts'
import { CELLS_PER_CHUNK } from './cells.ts'
import { collectedStore } from './collected-store.ts'
import { HistoryFailure } from './failure.ts'
import { nameOf } from './model.ts'
import type { HistoryParts } from './parts.ts'
import { type CellRange, compareCells, type TreeReadOptions } from './reading.ts'
import { HistorySealer } from './sealing.ts'

/** Cells of as many chunks as one manifest page lists. */
const LARGE_CELLS = MAX_MANIFEST_CHILDREN * CELLS_PER_CHUNK

/** Compares versions of a history with the model. */
export class HistoryChecks {
  readonly #parts: HistoryParts
  readonly #sealer: HistorySealer

  constructor(parts: HistoryParts) {
    this.#parts = parts
    this.#sealer = new HistorySealer(parts, { metadata: parts.store })
  }

  /** Reads a part of a published version by its tree. */
  async some(ref: VersionRef): Promise<void> {
    const size = this.#parts.model.cells(ref).byteLength
    const recordOf = this.#parts.dice.chance(0.5) ? this.#recordOf : undefined
    await this.#checkTree(ref, this.#rangeIn(size), { recordOf })
  }

  /** Compares every version of every blob by its tree, its manifest and the model. */
  async all(): Promise<void> {
    const refs = this.#parts.model.blobs.flatMap((blob) =>
      Array.from({ length: this.#parts.model.newest(blob) }, (_, at) => ({ blob, version: at + 1 }))
    )
    for (const ref of refs) {
      if (!this.#parts.versions.isPublished(ref))
        throw new HistoryFailure(`${nameOf(ref)} is frozen`)
    }
    for (const ref of this.#sealOrder(refs)) await this.#sealer.record(ref)
    for (const ref of refs) {
      await this.#checkVersion(ref)
      if (this.#parts.dice.chance(0.1)) await this.#sealer.sealAgain(ref)
    }
    for (const blob of this.#parts.model.blobs) {
      const ref = { blob, version: 0 }
      await this.#checkTree(ref, { offset: 0, length: this.#parts.model.cells(ref).byteLength })
    }
    if (this.#parts.dice.chance(0.3)) await this.#checkCollected()
  }

  #sealOrder(refs: readonly VersionRef[]): VersionRef[] {
    if (this.#parts.dice.chance(0.5)) return refs.toReversed()
    const keyed = refs.map((ref) => ({ ref, at: this.#parts.dice.below(1000) }))
    return keyed.toSorted((a, b) => a.at - b.at).map(({ ref }) => ref)
  }

  async #checkVersion(ref: VersionRef): Promise<void> {
    this.#parts.counts.comparedVersions++
    const expected = this.#parts.model.cells(ref)
    if (expected.byteLength > LARGE_CELLS) this.#parts.counts.largeVersions++
    const record = this.#parts.versions.seal(ref)
    if (record === undefined) throw new HistoryFailure(`${nameOf(ref)} is not sealed`)
    const recordOf = this.#parts.dice.chance(0.5) ? this.#recordOf : undefined
    await this.#checkTree(ref, { offset: 0, length: expected.byteLength + 3 }, { recordOf })
    const cells = await this.#parts.reader.manifestCells(record)
    compareCells(cells, expected, { ref, by: 'manifest' })
    if (this.#parts.dice.chance(0.7)) return
    const range = this.#rangeIn(expected.byteLength)
    const part = expected.subarray(range.offset, range.offset + range.length)
    compareCells(await this.#parts.reader.blobCells(record, range), part, { ref, by: 'bytes' })
    await this.#checkTree(ref, range, { recordOf })
  }

  /** Reads the versions that a collection has kept, when it has taken all that it may. */
  async #checkCollected(): Promise<void> {
    const sources = this.#parts.model.blobs.map((blob) => this.#parts.versions.sourceOf(blob))
    const trees = new Map(
      this.#parts.model.blobs.map((blob) => {
        const all = Array.from({ length: this.#parts.model.newest(blob) }, (_, at) => at + 1)
        const isSource = (version: number): boolean =>
          sources.some((ref) => ref?.blob === blob && ref.version === version)
        const kept = all.filter(
          (version) => version === all.length || isSource(version) || this.#parts.dice.chance(0.3)
        )
        return [blob, kept]
      })
    )
    const store = collectedStore(this.#parts.store, this.#parts.versions, trees)
    const recordOf = (ref: VersionRef) =>
      trees.get(ref.blob)?.includes(ref.version) === true
        ? this.#parts.versions.seal(ref)
        : undefined
    for (const [blob, kept] of trees) {
      for (const version of kept) {
        this.#parts.counts.collectedReads++
        const ref = { blob, version }
        const length = this.#parts.model.cells(ref).byteLength
        await this.#checkTree(ref, { offset: 0, length }, { store, recordOf })
      }
    }
  }

  async #checkTree(
    ref: VersionRef,
    range: CellRange,
    options: TreeReadOptions = {}
  ): Promise<void> {
    this.#parts.counts.reads++
    const expected = this.#parts.model
      .cells(ref)
      .subarray(range.offset, range.offset + range.length)
    const actual = await this.#parts.reader.treeCells(ref, range, options)
    compareCells(actual, expected, { ref, by: 'tree' })
  }

  #rangeIn(size: number): CellRange {
    return {
      offset: this.#parts.dice.below(size + 1),
      length: this.#parts.dice.below(Math.min(size, 150) + 2)
    }
  }

  readonly #recordOf = (ref: VersionRef) =>
    this.#parts.versions.isPublished(ref) ? this.#parts.versions.seal(ref) : undefined
}
