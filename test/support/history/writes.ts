import { ZERO_CHUNK_ID } from '../../../src/chunks/chunk-id.ts'
import { isAllZero } from '../../../src/lib/bytes.ts'
import { joinRanges } from '../../../src/metadata/geometry.ts'
import { type LeafList, LeafListBuilder } from '../../../src/metadata/leaf-list.ts'
import type { StoredWrite } from '../../../src/metadata/publishing.ts'
import type { TicketRequest } from '../../../src/metadata/ticket-types.ts'
import type { Extent } from '../../../src/metadata/tree-types.ts'
import type { ChunkRange } from '../../../src/metadata/types.ts'
import { CELL_BYTES, CELLS_PER_CHUNK, type CellPool, CHUNK_BYTES, cellsIn } from './cells.ts'
import type { HistoryCounts } from './counts.ts'
import type { Dice } from './dice.ts'
import type { ModelWrite, Piece } from './model.ts'

/** A write whose chunks are stored. */
export interface PreparedWrite {
  readonly stored: StoredWrite
  /** The write at the place for which its ticket is asked. */
  readonly modelWrite: (request: TicketRequest) => ModelWrite
  /**
   * The request as it is sent: sometimes with neighbouring ranges joined, sometimes without one of
   * them, so that the leaf list says more than its ticket allows.
   */
  readonly changeRequest: (request: TicketRequest) => TicketRequest
}

/** What a write is made against. */
export interface WrittenBlob {
  readonly stored: Pick<StoredWrite, 'description'>
  /** Newest size that was assigned, in cells. */
  readonly cells: number
  readonly newest: number
}

/** A version to merge from. */
export interface MergeSource {
  readonly cells: Uint8Array
  readonly extents: (offset: number, length: number) => Promise<readonly Extent[]>
}

type Kind = 'patch' | 'append' | 'replace' | 'extend' | 'merge' | 'many'

const KINDS: readonly Kind[] = [
  'patch',
  'patch',
  'patch',
  'append',
  'append',
  'replace',
  'extend',
  'merge',
  'merge'
]

/** Draws writes and stores their chunks as an upload would. */
export class WriteMaker {
  readonly #dice: Dice
  readonly #pool: CellPool
  readonly #counts: HistoryCounts
  /** How many writes of very many extents may still come. */
  #manyLeft: number
  /**
   * Cells that some writes of this history reach; 9,000 are more chunks than one manifest page
   * lists.
   */
  readonly #farCells: number
  readonly #farChance: number

  constructor(parts: { dice: Dice; pool: CellPool; counts: HistoryCounts }) {
    this.#dice = parts.dice
    this.#pool = parts.pool
    this.#counts = parts.counts
    this.#manyLeft = this.#dice.chance(0.1) ? 1 : 0
    const isHuge = this.#dice.chance(0.03)
    this.#farCells = isHuge ? 9000 : this.#dice.pick([60, 60, 60, 400, 600])
    this.#farChance = isHuge ? 0.3 : 0.1
  }

  async make(blob: WrittenBlob, source: MergeSource | undefined): Promise<PreparedWrite> {
    const kind = this.#pickKind(source)
    this.#counts.writes++
    if (kind === 'append') this.#counts.appends++
    if (kind === 'replace') this.#counts.truncations++
    const base = kind === 'append' ? blob.cells : 0
    if (kind === 'merge' && source !== undefined) {
      this.#counts.merges++
      const offset = this.#dice.below(blob.cells + 12)
      const { leaves, piece } = await this.#merged(source, offset)
      return this.#prepared(blob, kind, { leaves, pieces: [piece], base })
    }
    const pieces = this.#makePieces(kind, blob.cells)
    const isZero = pieces.some(({ cells }) => isAllZero(cells))
    if (isZero) this.#counts.zeroRuns++
    const placed = pieces.map(({ offset, cells }) => ({ offset: base + offset, cells }))
    const leaves = this.#dice.chance(0.7) ? this.#cut(placed) : this.#layered(placed)
    return this.#prepared(blob, kind, { leaves, pieces, base })
  }

  #pickKind(source: MergeSource | undefined): Kind {
    if (this.#manyLeft > 0 && this.#dice.chance(0.2)) {
      this.#manyLeft--
      this.#counts.manyExtents++
      return 'many'
    }
    const kind = this.#dice.pick(KINDS)
    return kind === 'merge' && source === undefined ? 'patch' : kind
  }

  #prepared(
    { stored: { description }, cells, newest }: WrittenBlob,
    kind: Kind,
    write: { leaves: LeafList; pieces: readonly Piece[]; base: number }
  ): PreparedWrite {
    const { leaves, pieces, base } = write
    const truncates = kind === 'replace'
    const ends = pieces.map((piece) => piece.offset + piece.cells.byteLength)
    const extra =
      kind === 'extend' ? this.#dice.below(this.#dice.chance(0.1) ? 600 : cells + 60) : 0
    const beyond = truncates && this.#dice.chance(0.5) ? this.#dice.below(60) : 0
    const end = Math.max(extra, beyond, ...ends)
    const limit = this.#dice.chance(0.3) ? 1 + this.#dice.below(3) : undefined
    const isLie = !truncates && this.#dice.chance(0.04)
    const omitted = this.#dice.below(8)
    const isConditional = kind !== 'append' && this.#dice.chance(0.08)
    return {
      stored: {
        description,
        leaves,
        endBytes: (base + end) * CELL_BYTES,
        truncates,
        appendedAt: kind === 'append' ? base * CELL_BYTES : undefined,
        ifNewest: isConditional ? newest : undefined
      },
      modelWrite: ({ ifBytes = 0, endBytes, ranges }) => {
        const at = cellsIn(ifBytes, 'append')
        const moved = pieces.map((piece) => ({ cells: piece.cells, offset: at + piece.offset }))
        const allowed = truncates ? moved : moved.flatMap((piece) => partsWithin(piece, ranges))
        return { pieces: allowed, endCells: cellsIn(endBytes, 'end'), truncates }
      },
      changeRequest: (request) => {
        const { ranges } = request
        if (isLie && ranges.length > 0) {
          this.#counts.lies++
          return { ...request, ranges: ranges.filter((_, at) => at !== omitted % ranges.length) }
        }
        if (limit === undefined || ranges.length <= limit) return request
        this.#counts.joinedRanges++
        return { ...request, ranges: joinRanges(ranges, limit) }
      }
    }
  }

  #makePieces(kind: Kind, size: number): Piece[] {
    if (kind === 'extend') return []
    if (kind === 'many') return this.#manyPieces()
    const count = kind === 'append' ? 1 : this.#dice.pick([1, 1, 1, 2, 3, 6])
    return Array.from({ length: count }, () => {
      const cells = this.#makeCells(1 + this.#dice.below(this.#dice.chance(0.2) ? 40 : 10))
      const within = (kind === 'replace' ? 30 : size) + 12
      const reach = this.#dice.chance(this.#farChance) ? this.#farCells : within
      return { offset: kind === 'append' ? 0 : this.#dice.below(reach), cells }
    })
  }

  /** Extents of a cell or two, with gaps of a few cells between. */
  #manyPieces(): Piece[] {
    let offset = this.#dice.below(20)
    return Array.from({ length: 100 + this.#dice.below(80) }, () => {
      const piece = { offset, cells: this.#makeCells(1 + this.#dice.below(2)) }
      offset += piece.cells.byteLength + 1 + this.#dice.below(this.#dice.chance(0.05) ? 30 : 2)
      return piece
    })
  }

  #makeCells(length: number): Uint8Array {
    if (this.#dice.chance(0.1)) return new Uint8Array(length)
    const cells = Uint8Array.from({ length }, () => 1 + this.#dice.below(255))
    if (this.#dice.chance(0.1)) cells.fill(0, 0, this.#dice.below(length))
    return cells
  }

  /** Cuts as an upload does: what is written in one chunk becomes one chunk, without its zeros. */
  #cut(pieces: readonly Piece[]): LeafList {
    const written = new Map<number, number>()
    for (const { offset, cells } of pieces) {
      for (const [at, value] of cells.entries()) written.set(offset + at, value)
    }
    const builder = new LeafListBuilder()
    const byIndex = Map.groupBy(written.keys(), (at) => Math.floor(at / CELLS_PER_CHUNK))
    for (const [index, places] of byIndex) {
      const sorted = places.toSorted((a, b) => a - b)
      const filled = sorted.filter((place) => written.get(place) !== 0)
      const kept = Uint8Array.from(filled, (place) => written.get(place) ?? 0)
      const { chunk, replicas } = kept.byteLength === 0 ? ZEROS : this.#pool.store(kept)
      for (const place of sorted) {
        const isZero = written.get(place) === 0
        builder.add(index, {
          at: (place % CELLS_PER_CHUNK) * CELL_BYTES,
          length: CELL_BYTES,
          chunk: isZero ? ZERO_CHUNK_ID : chunk,
          chunkOffset: isZero ? 0 : filled.indexOf(place) * CELL_BYTES,
          replicas: isZero ? [] : replicas
        })
      }
    }
    return builder.build()
  }

  /** Cuts each piece for itself and leaves it to the leaf list which one is seen. */
  #layered(pieces: readonly Piece[]): LeafList {
    const builder = new LeafListBuilder()
    for (const { offset, cells } of pieces) {
      for (let done = 0; done < cells.byteLength; ) {
        const at = (offset + done) % CELLS_PER_CHUNK
        const part = cells.subarray(done, done + CELLS_PER_CHUNK - at)
        const isZero = isAllZero(part)
        const { chunk, replicas } = isZero ? ZEROS : this.#pool.store(part)
        const index = Math.floor((offset + done) / CELLS_PER_CHUNK)
        const length = part.byteLength * CELL_BYTES
        builder.add(index, { at: at * CELL_BYTES, length, chunk, chunkOffset: 0, replicas })
        done += part.byteLength
      }
    }
    return builder.build()
  }

  /** Takes a range of another version by reference, at any offset. */
  async #merged(source: MergeSource, to: number): Promise<{ leaves: LeafList; piece: Piece }> {
    const offset = this.#dice.below(source.cells.byteLength)
    const left = Math.min(source.cells.byteLength - offset, 40)
    const length = 1 + this.#dice.below(left)
    const cells = source.cells.slice(offset, offset + length)
    const builder = new LeafListBuilder()
    for (const extent of await source.extents(offset, length)) {
      let at = to + cellsIn(extent.offset, 'extent') - offset
      for (let done = 0; done < extent.length; ) {
        const place = at % CELLS_PER_CHUNK
        const part = Math.min(extent.length - done, CHUNK_BYTES - place * CELL_BYTES)
        const index = Math.floor(at / CELLS_PER_CHUNK)
        builder.add(index, this.#reference(extent, { place, done, length: part }))
        done += part
        at += cellsIn(part, 'extent')
      }
    }
    return { leaves: builder.build(), piece: { offset: to, cells } }
  }

  #reference(
    { chunk, chunkOffset, replicas }: Extent,
    { place, done, length }: { place: number; done: number; length: number }
  ) {
    const at = place * CELL_BYTES
    if (chunk === undefined) return { at, length, chunk: ZERO_CHUNK_ID, chunkOffset: 0, replicas }
    const from = chunkOffset + done
    const cells = this.#pool.cells(chunk, cellsIn(length, 'extent'))
    if (place > 0 || from > 0 || cells.byteLength * CELL_BYTES === length) {
      return { at, length, chunk, chunkOffset: from, replicas }
    }
    // The beginning of a chunk at the beginning of a chunk would be taken for all of it.
    const stored = this.#pool.store(cells.slice(0, cellsIn(length, 'extent')))
    return { at, length, chunkOffset: 0, ...stored }
  }
}

/** The parts of a piece that fall into ranges of chunks. */
function partsWithin({ offset, cells }: Piece, ranges: readonly ChunkRange[]): Piece[] {
  return ranges.flatMap((range) => {
    const start = Math.max(offset, range.start * CELLS_PER_CHUNK)
    const end = Math.min(offset + cells.byteLength, range.end * CELLS_PER_CHUNK)
    if (start >= end) return []
    return [{ offset: start, cells: cells.subarray(start - offset, end - offset) }]
  })
}

const ZEROS = { chunk: ZERO_CHUNK_ID, replicas: [] }
