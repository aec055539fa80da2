/**
 * Buffers that are used again and again: the first touch of fresh memory costs more than the copy
 * that it is wanted for, and what is left to the garbage collector stays resident until it comes.
 */
export class ChunkBuffers {
  readonly #maxIdleBytes: number
  /** By length; the one that was given back last is taken first, for it may still be in a cache. */
  readonly #idle = new Map<number, Uint8Array[]>()
  #idleBytes = 0

  /** @param maxIdleBytes bytes that are kept for later at most; what is more is let go. */
  constructor(maxIdleBytes: number) {
    if (!(maxIdleBytes >= 0)) throw new RangeError(`${maxIdleBytes} bytes of idle buffers`)
    this.#maxIdleBytes = maxIdleBytes
  }

  /** Bytes of the buffers that wait to be used again. */
  get idleBytes(): number {
    return this.#idleBytes
  }

  /** Gives a buffer of exactly this length; what is in it is left over from earlier. */
  take(length: number): Uint8Array {
    const idle = this.#idle.get(length)?.pop()
    if (idle !== undefined) {
      this.#idleBytes -= length
      return idle
    }
    // Chunks of another size are in fashion now: memory moves over to them.
    this.#letGo(length)
    return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
  }

  /** Takes a buffer back, which nobody may read or write any more. */
  give(buffer: Uint8Array): void {
    const length = buffer.byteLength
    if (this.#idleBytes + length > this.#maxIdleBytes) return
    const idle = this.#idle.get(length)
    if (idle === undefined) this.#idle.set(length, [buffer])
    else idle.push(buffer)
    this.#idleBytes += length
  }

  /** Lets idle buffers of `bytes` in all go, if there are as many. */
  #letGo(bytes: number): void {
    let left = bytes
    for (const [length, buffers] of this.#idle) {
      while (left > 0 && buffers.length > 0) {
        buffers.pop()
        this.#idleBytes -= length
        left -= length
      }
      if (buffers.length === 0) this.#idle.delete(length)
    }
  }
}
