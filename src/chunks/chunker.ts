import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import { type FileLayer, systemFiles } from '../lib/file-layer.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { type Fragment, PartialChunks } from './partial-chunks.ts'
import { StagingFile } from './staging-file.ts'
import type { AbortOptions } from './types.ts'

/** A chunk of which every byte is there. */
export interface WholeChunk {
  readonly index: number
  /** Offset of its first byte, `index * chunkBytes`. */
  readonly start: number
  /** Belongs to the taker; may be a view of a block that was written. */
  readonly bytes: Uint8Array
}

/** A chunk of which some bytes never came, such as the last one of an image. */
export interface PartialChunk {
  readonly index: number
  readonly start: number
  /** What is there, in order, without overlaps; the arrays belong to the taker. */
  readonly fragments: readonly Fragment[]
}

export interface ChunkerComponents {
  /**
   * Takes a whole chunk. Calls for different chunks run at the same time as far as `inFlight`
   * allows; when a chunk is filled twice, the second call begins after the first has ended. The
   * first failure ends the chunker.
   */
  readonly onChunk: (chunk: WholeChunk) => Promise<void>
  /** Takes a part-filled chunk when the chunker is finished; otherwise like `onChunk`. */
  readonly onPartial: (chunk: PartialChunk) => Promise<void>
  /** Memory for chunks that have been handed out; may be shared. @default 32 MiB of its own */
  readonly inFlight?: Budget | undefined
  /**
   * Memory for part-filled chunks, beyond which they go to a file; may be shared.
   *
   * @default 64 MiB of its own
   */
  readonly staging?: Budget | undefined
  /** @default the machine's file system */
  readonly files?: FileLayer | undefined
}

export interface ChunkerOptions {
  readonly chunkBytes: number
  /** Folder for the staging file; must exist when it is needed. */
  readonly stagingFolder: string
  /** Added to every offset; need not lie on the grid. @default 0 */
  readonly baseOffset?: number | undefined
  /** Separate runs of bytes in part-filled chunks, of all chunks together. @default 1,048,576 */
  readonly maxRanges?: number | undefined
}

type State =
  | { readonly name: 'open' | 'finishing' | 'finished' }
  | { readonly name: 'failed'; readonly error: Error }

/**
 * Cuts blocks that arrive in any order onto the grid of chunks. A block that covers a chunk is
 * handed on without copying; the others are collected, each byte copied once.
 *
 * ```text
 * write ─┬─ covers a chunk ─────────────────────────────► onChunk
 *        └─ part of one ─► memory ─► whole ─────────────► onChunk
 *                            └─► staging file ─► whole ─► onChunk     finish ─► onPartial
 * ```
 */
export class Chunker {
  readonly #onChunk: ChunkerComponents['onChunk']
  readonly #onPartial: ChunkerComponents['onPartial']
  readonly #inFlight: Budget
  readonly #chunkBytes: number
  readonly #baseOffset: number
  readonly #staging: StagingFile
  readonly #parts: PartialChunks
  /** One caller at a time: calls take effect in their order. */
  readonly #turn = new Budget(1)
  /** The last hand-out of each chunk that has not ended. */
  readonly #handingOut = new Map<number, Promise<void>>()
  readonly #failed = new AbortController()
  #state: State = { name: 'open' }

  constructor(components: ChunkerComponents, options: ChunkerOptions) {
    const { chunkBytes, stagingFolder, baseOffset = 0, maxRanges = 2 ** 20 } = options
    const { inFlight = new Budget(32 * MIB), staging = new Budget(64 * MIB) } = components
    const { files = systemFiles } = components
    if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1) {
      throw new RangeError(`chunkBytes cannot be ${chunkBytes}`)
    }
    if (!Number.isSafeInteger(baseOffset) || baseOffset < 0) {
      throw new RangeError(`baseOffset cannot be ${baseOffset}`)
    }
    if (inFlight.total < chunkBytes) {
      throw new RangeError(`${inFlight.total} bytes in flight are less than a chunk`)
    }
    this.#onChunk = components.onChunk
    this.#onPartial = components.onPartial
    this.#inFlight = inFlight
    this.#chunkBytes = chunkBytes
    this.#baseOffset = baseOffset
    this.#staging = new StagingFile(files, stagingFolder, chunkBytes)
    this.#parts = new PartialChunks(chunkBytes, staging, this.#staging, maxRanges)
  }

  /**
   * Takes a block, which belongs to the chunker from then on; blocks of any size may come at any
   * offset and several calls may be under way. Where they overlap the later call wins. Resolves
   * when the block is taken, which waits for room in flight: that is the back-pressure. An aborted
   * call may have been taken in part.
   *
   * @throws {unknown} what `onChunk` threw for any chunk, from then on.
   * @throws {StoreFullError | StoreFailedError | LimitExceededError} if part-filled chunks find no
   * place.
   */
  async write(offset: number, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    const start = this.#baseOffset + offset
    if (!Number.isSafeInteger(start + bytes.byteLength) || offset < 0) {
      throw new RangeError(`no block of ${bytes.byteLength} bytes can be at ${offset}`)
    }
    this.#check('open')
    await this.#inTurn(options, async (signal) => {
      this.#check('open')
      await this.#cut(start, bytes, signal)
    })
  }

  /**
   * Hands out the part-filled chunks in order of index and resolves when every chunk has been
   * taken. No write may be under way or come later. If it fails, `abort` frees what is held.
   *
   * @throws {unknown} what `onChunk` or `onPartial` threw.
   */
  async finish(options: AbortOptions = {}): Promise<void> {
    this.#check('open')
    this.#state = { name: 'finishing' }
    await this.#inTurn(options, async (signal) => {
      for (const index of this.#parts.indexes()) {
        const isWhole = this.#parts.filledBytes(index) === this.#chunkBytes
        await (isWhole ? this.#handOutFilled(index, signal) : this.#handOutPartial(index, signal))
      }
    })
    await this.#drain()
    this.#check('finishing')
    this.#state = { name: 'finished' }
    await this.#staging.close()
  }

  /**
   * Drops what has not been handed out and frees memory and file. Calls under way reject with
   * `reason`. Resolves when the last `onChunk` has ended. Harmless after `finish` and when called
   * twice.
   */
  async abort(reason: Error = new Error('the upload was given up')): Promise<void> {
    if (this.#state.name !== 'finished') this.#fail(reason)
    await this.#turn.acquire(1)
    await this.#drain()
    this.#parts.clear()
    await this.#staging.close()
    this.#turn.release(1)
  }

  async #inTurn(
    options: AbortOptions,
    work: (signal: AbortSignal | undefined) => Promise<void>
  ): Promise<void> {
    if (!this.#turn.tryAcquire(1)) {
      await this.#turn.acquire(1, { signal: anySignal([options.signal, this.#failed.signal]) })
    }
    try {
      options.signal?.throwIfAborted()
      await work(options.signal)
    } catch (thrown) {
      // A caller that gives up harms nobody; any other failure leaves the upload with a hole.
      if (options.signal?.aborted !== true) this.#fail(toError(thrown))
      throw thrown
    } finally {
      this.#turn.release(1)
    }
  }

  async #cut(start: number, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const size = this.#chunkBytes
    for (let taken = 0; taken < bytes.byteLength; ) {
      const index = Math.floor((start + taken) / size)
      const at = start + taken - index * size
      const length = Math.min(size - at, bytes.byteLength - taken)
      const piece = bytes.subarray(taken, taken + length)
      if (length === size) {
        await this.#handOutWhole(index, piece, signal)
      } else if (await this.#parts.put(index, at, piece)) {
        await this.#handOutFilled(index, signal)
      }
      taken += length
    }
  }

  async #handOutWhole(
    index: number,
    bytes: Uint8Array,
    signal: AbortSignal | undefined
  ): Promise<void> {
    const start = index * this.#chunkBytes
    await this.#reserve(bytes.byteLength, signal)
    this.#parts.drop(index)
    this.#handOut(index, bytes.byteLength, () => this.#onChunk({ index, start, bytes }))
  }

  async #handOutFilled(index: number, signal: AbortSignal | undefined): Promise<void> {
    const size = this.#chunkBytes
    await this.#reserve(size, signal)
    const [whole] = await this.#fragmentsOf(index, size)
    if (whole === undefined) throw new RangeError(`chunk ${index} has no bytes`)
    const chunk = { index, start: index * size, bytes: whole.bytes }
    this.#handOut(index, size, () => this.#onChunk(chunk))
  }

  async #handOutPartial(index: number, signal: AbortSignal | undefined): Promise<void> {
    // Its fragments are views of a buffer for the whole chunk, as a rule.
    const size = this.#chunkBytes
    await this.#reserve(size, signal)
    const fragments = await this.#fragmentsOf(index, size)
    const chunk = { index, start: index * size, fragments }
    this.#handOut(index, size, () => this.#onPartial(chunk))
  }

  /** Takes a chunk out of the part-filled ones; gives the reservation back if that fails. */
  async #fragmentsOf(index: number, reserved: number): Promise<Fragment[]> {
    try {
      const fragments = await this.#parts.fragments(index)
      this.#parts.drop(index)
      return fragments
    } catch (error) {
      this.#inFlight.release(reserved)
      throw error
    }
  }

  async #reserve(amount: number, signal: AbortSignal | undefined): Promise<void> {
    this.#failed.signal.throwIfAborted()
    if (this.#inFlight.tryAcquire(amount)) return
    await this.#inFlight.acquire(amount, { signal: anySignal([signal, this.#failed.signal]) })
  }

  /** Starts handing out a chunk, after an earlier filling of the same one; owned by `#drain`. */
  #handOut(index: number, reserved: number, give: () => Promise<void>): void {
    const earlier = this.#handingOut.get(index)
    const handing = this.#run(earlier, give).finally(() => {
      this.#inFlight.release(reserved)
      if (this.#handingOut.get(index) === handing) this.#handingOut.delete(index)
    })
    this.#handingOut.set(index, handing)
  }

  async #run(earlier: Promise<void> | undefined, give: () => Promise<void>): Promise<void> {
    try {
      if (earlier !== undefined) await earlier
      if (this.#state.name !== 'failed') await give()
    } catch (thrown) {
      this.#fail(toError(thrown))
    }
  }

  /** Waits until nothing is handed out; at most as many as `inFlight` has room for. */
  async #drain(): Promise<void> {
    while (this.#handingOut.size > 0) await Promise.all(this.#handingOut.values())
  }

  #fail(error: Error): void {
    if (this.#state.name === 'failed') return
    this.#state = { name: 'failed', error }
    this.#failed.abort(error)
  }

  #check(expected: 'open' | 'finishing'): void {
    if (this.#state.name === 'failed') throw this.#state.error
    if (this.#state.name !== expected) throw new TypeError(`the chunker is ${this.#state.name}`)
  }
}
