import { MIB } from '../lib/bytes.ts'

/** Others write to the disk too: it is looked at again after this share of what was free, or so much. */
const SURE_SHARE = 1 / 8
const MAX_SURE_BYTES = 64 * MIB

/**
 * Tells whether a disk has room for another chunk and keeps a reserve free for what must go on when
 * chunks have filled it, such as the metadata beside them. Looks at the disk now and then only.
 */
export class DiskRoom {
  readonly #freeBytes: () => Promise<number>
  readonly #reserveBytes: number
  readonly #onLook: (leftBytes: number) => void
  /** Room that needs no look at the disk. */
  #sureBytes = 0
  /** Taken, and perhaps not on the disk yet. */
  #pendingBytes = 0

  /** `onLook` is told how much room there is whenever the disk is looked at. */
  constructor(
    freeBytes: () => Promise<number>,
    reserveBytes: number,
    onLook: (leftBytes: number) => void = () => {}
  ) {
    if (!(reserveBytes >= 0)) throw new RangeError(`a reserve of ${reserveBytes} bytes`)
    this.#freeBytes = freeBytes
    this.#reserveBytes = reserveBytes
    this.#onLook = onLook
  }

  /** Looks at the disk. @returns how many bytes may still come, below 0 if it is too full. */
  async look(): Promise<number> {
    return this.#leftOf(await this.#freeBytes())
  }

  /**
   * Takes room; `done` follows when the bytes are on the disk or given up.
   *
   * @returns false if there is none.
   */
  async take(bytes: number): Promise<boolean> {
    if (this.#sureBytes >= bytes) this.#sureBytes -= bytes
    else {
      // Nothing may come between the look and the taking.
      const left = this.#leftOf(await this.#freeBytes()) - bytes
      if (left < 0) return false
      this.#sureBytes = Math.min(left * SURE_SHARE, MAX_SURE_BYTES)
    }
    this.#pendingBytes += bytes
    return true
  }

  done(bytes: number): void {
    this.#pendingBytes -= bytes
  }

  #leftOf(freeBytes: number): number {
    const left = freeBytes - this.#reserveBytes - this.#pendingBytes
    this.#onLook(left)
    return left
  }
}
