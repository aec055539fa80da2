import { chunkId, chunkKey, isZeroChunk } from '../../../src/chunks/chunk-id.ts'
import type { ChunkReader } from '../../../src/chunks/replica-types.ts'
import type { ChunkId, ProviderId } from '../../../src/chunks/types.ts'
import { HistoryFailure } from './failure.ts'

/**
 * A history counts in cells: one byte of its model stands for a cell of 8 KiB, all of that byte. So
 * versions of many chunks of the smallest size that a blob may have are cheap to compare, and bytes
 * that come out of place by anything but whole cells are noticed nevertheless.
 */
export const CELL_BYTES = 8192
export const CELLS_PER_CHUNK = 8
export const CHUNK_BYTES = CELL_BYTES * CELLS_PER_CHUNK

const REPLICAS: readonly ProviderId[] = ['provider-1']
const FILLS = Array.from({ length: 256 }, (_, value) => Buffer.alloc(CELL_BYTES, value))

/** Where the bytes of a chunk are written to be hashed. */
const SCRATCH = new Uint8Array(CHUNK_BYTES)

/** Writes the bytes that cells stand for. */
function expand(cells: Uint8Array, bytes: Uint8Array): void {
  for (let at = 0; at < cells.byteLength; at++) {
    bytes.set(FILLS[cells[at] ?? 0] ?? new Uint8Array(), at * CELL_BYTES)
  }
}

/** What bytes stand for. @throws {HistoryFailure} if a cell is cut or not of one value. */
export function cellsOfBytes(bytes: Uint8Array): Uint8Array {
  const cells = new Uint8Array(cellsIn(bytes.byteLength, 'bytes'))
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (const at of cells.keys()) {
    const value = bytes[at * CELL_BYTES] ?? 0
    const start = at * CELL_BYTES
    if (buffer.compare(FILLS[value] ?? buffer, 0, CELL_BYTES, start, start + CELL_BYTES) !== 0) {
      throw new HistoryFailure(`cell ${at} of a chunk has bytes of several cells`)
    }
    cells[at] = value
  }
  return cells
}

/** Converts bytes into cells. @throws {HistoryFailure} unless they are whole. */
export function cellsIn(bytes: number, what: string): number {
  if (bytes % CELL_BYTES !== 0) throw new HistoryFailure(`${what}: ${bytes} are no whole cells`)
  return bytes / CELL_BYTES
}

/** A chunk in one of its forms, the other is made when somebody wants it. */
interface PooledChunk {
  bytes?: Uint8Array
  cells?: Uint8Array
}

/** Keeps the chunks of a history; each is one array, which nobody may change. */
export class CellPool implements ChunkReader {
  readonly #chunks = new Map<string, PooledChunk>()
  readonly #ids = new Map<string, ChunkId>()

  /** Stores a chunk of these cells, at most CELLS_PER_CHUNK, which must not change any more. */
  store(cells: Uint8Array): { readonly chunk: ChunkId; readonly replicas: readonly ProviderId[] } {
    const text = Buffer.from(cells).toString('latin1')
    let chunk = this.#ids.get(text)
    if (chunk === undefined) {
      expand(cells, SCRATCH)
      chunk = chunkId(SCRATCH.subarray(0, cells.byteLength * CELL_BYTES))
      this.#ids.set(text, chunk)
      this.#chunks.set(chunkKey(chunk), { cells })
    }
    return { chunk, replicas: REPLICAS }
  }

  async write(id: ChunkId, bytes: Uint8Array): Promise<readonly ProviderId[]> {
    const key = chunkKey(id)
    if (!this.#chunks.has(key)) this.#chunks.set(key, { bytes })
    return REPLICAS
  }

  async read(id: ChunkId): Promise<Uint8Array> {
    const chunk = this.#get(id)
    if (chunk.bytes === undefined) {
      const cells = chunk.cells ?? new Uint8Array()
      chunk.bytes = new Uint8Array(cells.byteLength * CELL_BYTES)
      expand(cells, chunk.bytes)
    }
    return chunk.bytes
  }

  /** Cells of a chunk; `count` is only for the zero chunk. */
  cells(id: ChunkId, count: number): Uint8Array {
    if (isZeroChunk(id)) return new Uint8Array(count)
    const chunk = this.#get(id)
    chunk.cells ??= cellsOfBytes(chunk.bytes ?? new Uint8Array())
    return chunk.cells
  }

  #get(id: ChunkId): PooledChunk {
    const chunk = this.#chunks.get(chunkKey(id))
    if (chunk === undefined) throw new HistoryFailure('a chunk that nobody stored')
    return chunk
  }
}
