import { ProtocolViolationError } from '../errors.ts'
import type { ChunkMessage } from '../protocols/swarm.ts'

const NOTHING = new Uint8Array()

/** Puts the parts of one chunk together. A chunk that comes in one part is not copied. */
export class Assembly {
  readonly #peer: string
  readonly #totalBytes: number
  #bytes: Uint8Array | undefined
  #filled = 0
  #isDiscarded = false

  /** `totalBytes` is the length that the manifest gives the chunk. */
  constructor(peer: string, totalBytes: number) {
    this.#peer = peer
    this.#totalBytes = totalBytes
  }

  /** Lets go of what has come, and of what comes: the chunk is there already. */
  discard(): void {
    this.#isDiscarded = true
    this.#bytes = undefined
  }

  /**
   * Takes the next part.
   *
   * @returns the chunk when it is whole; no bytes if it was discarded.
   * @throws {ProtocolViolationError} if the part is not the next one or the length is not the chunk's.
   */
  add(message: ChunkMessage): Uint8Array | undefined {
    const { part, offset, totalBytes } = message
    if (totalBytes !== this.#totalBytes) {
      const reason = `chunk ${message.index} has ${this.#totalBytes} bytes, not ${totalBytes}`
      throw new ProtocolViolationError(this.#peer, reason)
    }
    if (offset !== this.#filled) {
      const reason = `part at ${offset} of chunk ${message.index}, ${this.#filled} was next`
      throw new ProtocolViolationError(this.#peer, reason)
    }
    this.#filled += part.byteLength
    if (this.#isDiscarded) return this.#filled === totalBytes ? NOTHING : undefined
    if (part.byteLength === totalBytes) return part
    this.#bytes ??= new Uint8Array(totalBytes)
    this.#bytes.set(part, offset)
    return this.#filled === totalBytes ? this.#bytes : undefined
  }
}
