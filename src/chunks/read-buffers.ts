import { KIB } from '../lib/bytes.ts'
import { ChunkBuffers } from './chunk-buffers.ts'

/** Shorter arrays cost little, and are better left to the garbage collector. */
const MIN_BYTES = 64 * KIB

/**
 * Buffers that chunks are read into, and that come back from those readers who know when nobody looks
 * at the bytes any more. What does not come back is left to the garbage collector.
 */
export class ReadBuffers {
  readonly #buffers: ChunkBuffers
  /** By their memory, so that views of them are known and no foreign array is taken for one. */
  readonly #lent = new WeakMap<ArrayBufferLike, Uint8Array>()

  /** @param maxIdleBytes bytes that are kept for later at most. */
  constructor(maxIdleBytes: number) {
    this.#buffers = new ChunkBuffers(maxIdleBytes)
  }

  /** Bytes of the buffers that wait to be used again. */
  get idleBytes(): number {
    return this.#buffers.idleBytes
  }

  /** Gives a buffer of exactly this length; what is in it is left over from earlier. */
  take(length: number): Uint8Array {
    const buffer = this.#buffers.take(length)
    if (length >= MIN_BYTES) this.#lent.set(buffer.buffer, buffer)
    return buffer
  }

  /** Takes back the buffer that an array lies in, if it came from here; nobody may read it any more. */
  giveBack(bytes: Uint8Array): void {
    const buffer = this.#lent.get(bytes.buffer)
    if (buffer === undefined) return
    this.#lent.delete(bytes.buffer)
    this.#buffers.give(buffer)
  }
}
