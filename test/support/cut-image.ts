import { expect } from '@jest/globals'
import type { PartialChunk, WholeChunk } from '../../src/chunks/chunker.ts'

/** Puts an image together again from what a chunker hands out; `.` where nothing came. */
export class CutImage {
  readonly bytes: number[] = []
  readonly whole: number[] = []
  readonly partial: number[] = []
  readonly taken: Uint8Array[] = []
  mostAtOnce = 0
  onTake: (index: number) => Promise<void> = async () => {}
  readonly #taking = new Set<number>()

  readonly onChunk = async ({ index, start, bytes }: WholeChunk): Promise<void> => {
    this.whole.push(index)
    this.taken.push(bytes)
    await this.#take(index, () => this.#put(start, bytes))
  }

  readonly onPartial = async ({ index, start, fragments }: PartialChunk): Promise<void> => {
    this.partial.push(index)
    await this.#take(index, () => {
      for (const { at, bytes } of fragments) this.#put(start + at, bytes)
    })
  }

  async #take(index: number, put: () => void): Promise<void> {
    expect(this.#taking.has(index)).toBe(false)
    this.#taking.add(index)
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#taking.size)
    await this.onTake(index)
    put()
    this.#taking.delete(index)
  }

  #put(offset: number, bytes: Uint8Array): void {
    for (const [at, byte] of bytes.entries()) this.bytes[offset + at] = byte
  }
}

/** Bytes that tell where they belong, and to which of several writings. */
export const pattern = (offset: number, length: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => ((offset + at) * 31 + seed * 17 + 1) & 0xff)
