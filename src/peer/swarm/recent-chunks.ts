import { chunkKey } from '../../chunks/chunk-id.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { MIB } from '../../lib/bytes.ts'

export interface RecentChunksOptions {
  /** Bytes that are remembered at most, not counting what was forgotten and is still borrowed. @default 16 MiB */
  readonly maxBytes?: number
}

/** A chunk in memory that stays as it is until it is released. */
export interface BorrowedChunk {
  readonly bytes: Uint8Array
  /** Called once. */
  readonly release: () => void
}

interface Remembered {
  readonly bytes: Uint8Array
  readonly onFree: (bytes: Uint8Array) => void
  users: number
}

/**
 * Chunks that came last, in the memory that they came in. In a swarm others ask for most chunks within
 * seconds of their arrival, so that most need not be read from the disk to be sent.
 */
export class RecentChunks {
  readonly #maxBytes: number
  readonly #chunks = new Map<string, Remembered>()
  #bytes = 0

  constructor(options: RecentChunksOptions = {}) {
    const { maxBytes = 16 * MIB } = options
    this.#maxBytes = maxBytes
  }

  /** Bytes that are remembered. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Remembers a right chunk until newer ones take its place.
   *
   * @param onFree is given the array when nobody needs it any more; it may be now.
   */
  add(id: ChunkId, bytes: Uint8Array, onFree: (bytes: Uint8Array) => void): void {
    const key = chunkKey(id)
    if (bytes.byteLength > this.#maxBytes || this.#chunks.has(key)) {
      onFree(bytes)
      return
    }
    this.#chunks.set(key, { bytes, onFree, users: 1 })
    this.#bytes += bytes.byteLength
    for (const [oldest, remembered] of this.#chunks) {
      if (this.#bytes <= this.#maxBytes) return
      this.#chunks.delete(oldest)
      this.#bytes -= remembered.bytes.byteLength
      leave(remembered)
    }
  }

  /** @returns undefined if the chunk is not remembered. */
  borrow(id: ChunkId): BorrowedChunk | undefined {
    if (this.#chunks.size === 0) return undefined
    const remembered = this.#chunks.get(chunkKey(id))
    if (remembered === undefined) return undefined
    remembered.users++
    return { bytes: remembered.bytes, release: () => leave(remembered) }
  }

  /** Forgets everything. */
  clear(): void {
    for (const remembered of this.#chunks.values()) leave(remembered)
    this.#chunks.clear()
    this.#bytes = 0
  }
}

/** Memory counts as one user, each borrower as another. */
function leave(remembered: Remembered): void {
  if (--remembered.users === 0) remembered.onFree(remembered.bytes)
}
