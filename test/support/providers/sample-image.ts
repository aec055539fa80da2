import { Readable } from 'node:stream'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import type { ChunkId } from '../../../src/chunks/types.ts'
import { MIB } from '../../../src/lib/bytes.ts'
import { sampleBytes } from '../sample-bytes.ts'

/** An image of bytes that look random and follow from its seed, so that it need not be kept anywhere. */
export class SampleImage {
  readonly path: string
  readonly bytes: number
  readonly chunkBytes: number
  readonly #seed: number

  /** @param mib its size, at most 4,096; `chunkBytes` must divide a MiB. */
  constructor(path: string, mib: number, shape: { readonly chunkBytes: number; seed: number }) {
    this.path = path
    this.bytes = mib * MIB
    this.chunkBytes = shape.chunkBytes
    this.#seed = shape.seed
  }

  /** The bytes of one MiB. */
  block(index: number): Uint8Array {
    return sampleBytes(MIB, this.#seed * 4096 + index)
  }

  /** The bytes of one chunk. */
  chunk(index: number): Uint8Array {
    const at = index * this.chunkBytes
    return this.block(Math.floor(at / MIB)).subarray(at % MIB, (at % MIB) + this.chunkBytes)
  }

  /** All its bytes; `onSent` is told how many have been taken, before the next MiB goes. */
  stream(onSent: (bytes: number) => void | Promise<void> = () => {}): Readable {
    return Readable.from(this.#blocks(onSent), { objectMode: false })
  }

  /** Names of its chunks, in order. */
  ids(): ChunkId[] {
    const ids: ChunkId[] = []
    for (let index = 0; index * MIB < this.bytes; index++) {
      const block = this.block(index)
      for (let from = 0; from < MIB; from += this.chunkBytes) {
        ids.push(chunkId(block.subarray(from, from + this.chunkBytes)))
      }
    }
    return ids
  }

  async *#blocks(onSent: (bytes: number) => void | Promise<void>): AsyncGenerator<Uint8Array> {
    for (let index = 0; index * MIB < this.bytes; index++) {
      await onSent(index * MIB)
      yield this.block(index)
    }
  }
}
