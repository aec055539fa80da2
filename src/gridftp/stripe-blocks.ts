import { MIB } from '../lib/bytes.ts'
import type { Range } from '../lib/range-set.ts'
import { type BlockSource, exactly, type OutgoingBlock } from './block-sender.ts'
import type { ReadHandle } from './dsi.ts'

/** Payload of one block, unless a chunk is larger. */
const BLOCK_BYTES = MIB

/** A block is read in one piece and held in memory until it is sent. */
const MAX_BLOCK_BYTES = 4 * MIB

/** What is read, and how it is numbered. */
export interface StripeBlocksOptions {
  /** Where blocks may begin and end without reading a chunk twice. */
  readonly chunkBytes: number
  /** Subtracted from the offsets on the wire. */
  readonly base: number
  readonly signal: AbortSignal
}

/** Cuts ranges of a file into blocks; the storage is asked for several at the same time. */
export class StripeBlocks implements BlockSource {
  readonly #handle: Pick<ReadHandle, 'read'>
  readonly #options: StripeBlocksOptions
  readonly #ranges: Iterator<Range>
  readonly #blockBytes: number
  #left: Range = { start: 0, end: 0 }

  constructor(
    handle: Pick<ReadHandle, 'read'>,
    ranges: Iterable<Range>,
    options: StripeBlocksOptions
  ) {
    this.#handle = handle
    this.#ranges = ranges[Symbol.iterator]()
    this.#options = options
    this.#blockBytes = Math.min(Math.max(BLOCK_BYTES, options.chunkBytes), MAX_BLOCK_BYTES)
  }

  async next(): Promise<OutgoingBlock | undefined> {
    const { base, signal } = this.#options
    const range = this.#take()
    if (range === undefined) return undefined
    const { start: offset, end } = range
    const length = end - offset
    const parts: Uint8Array[] = []
    const pieces = this.#handle.read({ offset, length }, { signal })
    for await (const part of exactly(pieces, length)) parts.push(part)
    return { offset: offset - base, parts }
  }

  #take(): Range | undefined {
    while (this.#left.start >= this.#left.end) {
      const { done, value } = this.#ranges.next()
      if (done === true) return undefined
      this.#left = value
    }
    const { start, end } = this.#left
    const border = start - (start % this.#blockBytes) + this.#blockBytes
    const cut = { start, end: Math.min(end, border) }
    this.#left = { start: cut.end, end }
    return cut
  }
}
