import { chunkIdOfKey, chunkKey } from './chunk-id.ts'
import type { ChunkId } from './types.ts'

/** What a store knows of a chunk without reading it. */
export interface IndexEntry {
  readonly bytes: number
  /** Whether the bytes were hashed since this process has them. */
  readonly isVerified: boolean
}

/** Which chunks a store holds, in memory: about 120 bytes a chunk, up to 16 million chunks. */
export class ChunkIndex {
  /** Length × 2, plus 1 if verified: a small integer, so that an entry needs no object. */
  readonly #entries = new Map<string, number>()
  #bytes = 0

  get count(): number {
    return this.#entries.size
  }

  /** Sum of the lengths. */
  get bytes(): number {
    return this.#bytes
  }

  has(id: ChunkId): boolean {
    return this.#entries.has(chunkKey(id))
  }

  get(id: ChunkId): IndexEntry | undefined {
    const packed = this.#entries.get(chunkKey(id))
    if (packed === undefined) return undefined
    return { bytes: Math.floor(packed / 2), isVerified: packed % 2 === 1 }
  }

  /** Adds a chunk or replaces what is known of it. */
  set(id: ChunkId, entry: IndexEntry): void {
    const key = chunkKey(id)
    const before = this.#entries.get(key) ?? 0
    this.#entries.set(key, entry.bytes * 2 + (entry.isVerified ? 1 : 0))
    this.#bytes += entry.bytes - Math.floor(before / 2)
  }

  /** @returns what was known of the chunk, undefined if it was not there. */
  delete(id: ChunkId): IndexEntry | undefined {
    const entry = this.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(chunkKey(id))
    this.#bytes -= entry.bytes
    return entry
  }

  /** @yields every id, those added meanwhile included. */
  *ids(): Generator<ChunkId, void> {
    for (const key of this.#entries.keys()) yield chunkIdOfKey(key)
  }
}
