import type { BlobId, Version, VersionRef } from '../../../src/metadata/types.ts'
import { HistoryFailure } from './failure.ts'

/** Names a version for people. */
export function nameOf({ blob, version }: VersionRef): string {
  return `version ${version} of ${blob.slice(0, 8)}`
}

/** Cells that a write puts somewhere. */
export interface Piece {
  readonly offset: number
  readonly cells: Uint8Array
}

/** A write as the model sees it; later pieces lie over earlier ones. */
export interface ModelWrite {
  readonly pieces: readonly Piece[]
  readonly endCells: number
  readonly truncates: boolean
}

/** What every version of every blob must read as: a plain array of cells each. */
export class HistoryModel {
  /** From version 0 on. */
  readonly #contents = new Map<BlobId, Uint8Array[]>()

  get blobs(): BlobId[] {
    return Array.from(this.#contents.keys())
  }

  addBlob(blob: BlobId, cells: Uint8Array): void {
    this.#contents.set(blob, [cells])
  }

  /** Number of the newest version that was assigned. */
  newest(blob: BlobId): Version {
    return this.#versions(blob).length - 1
  }

  /** Applies a write; versions are applied in the order of their numbers. */
  assign({ blob, version }: VersionRef, { pieces, endCells, truncates }: ModelWrite): void {
    const versions = this.#versions(blob)
    if (version !== versions.length) {
      throw new HistoryFailure(`version ${version} was assigned after ${versions.length - 1}`)
    }
    const before = truncates ? new Uint8Array() : (versions.at(-1) ?? new Uint8Array())
    const cells = new Uint8Array(Math.max(before.byteLength, endCells))
    cells.set(before)
    for (const piece of pieces) cells.set(piece.cells, piece.offset)
    versions.push(cells)
  }

  cells(ref: VersionRef): Uint8Array {
    const cells = this.#versions(ref.blob)[ref.version]
    if (cells === undefined) throw new HistoryFailure(`there is no ${nameOf(ref)}`)
    return cells
  }

  #versions(blob: BlobId): Uint8Array[] {
    const versions = this.#contents.get(blob)
    if (versions === undefined) throw new HistoryFailure(`no blob ${blob}`)
    return versions
  }
}
