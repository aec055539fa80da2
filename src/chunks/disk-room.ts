import { MIB } from '../lib/bytes.ts'

/** The disk is looked at again after as many bytes, because others write to it too. */
const MAX_SURE_BYTES = 64 * MIB

/**
 * Tells whether a disk has room for another chunk and keeps a reserve free for what must go on when
 * chunks have filled it, such as the metadata beside them. Looks at the disk now and then only.
 */
export class DiskRoom {
  readonly #freeBytes: () => Promise<number>
  readonly #reserveBytes: number
  /** Room that there is for sure. */
  #sureBytes = 0
  /** Taken, and perhaps not on the disk yet. */
  #pendingBytes = 0
  #measuring: Promise<void> | undefined

  constructor(freeBytes: () => Promise<number>, reserveBytes: number) {
    if (!(reserveBytes >= 0)) throw new RangeError(`a reserve of ${reserveBytes} bytes`)
    this.#freeBytes = freeBytes
    this.#reserveBytes = reserveBytes
  }

  /** Takes room; `done` follows when the bytes are on the disk or given up. @returns false if there is none. */
  async take(bytes: number): Promise<boolean> {
    if (this.#sureBytes < bytes) {
      this.#measuring ??= this.#measure()
      await this.#measuring
    }
    if (this.#sureBytes < bytes) return false
    this.#sureBytes -= bytes
    this.#pendingBytes += bytes
    return true
  }

  done(bytes: number): void {
    this.#pendingBytes -= bytes
  }

  async #measure(): Promise<void> {
    try {
      const free = (await this.#freeBytes()) - this.#reserveBytes - this.#pendingBytes
      this.#sureBytes = Math.max(0, Math.min(free, MAX_SURE_BYTES))
    } finally {
      this.#measuring = undefined
    }
  }
}
