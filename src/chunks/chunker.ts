import assert from 'node:assert/strict'
import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import { type FileLayer, systemFiles } from '../lib/file-layer.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { ChunkBuffers } from './chunk-buffers.ts'
import { ChunkHandOut } from './chunk-hand-out.ts'
import { piecesOf } from './chunk-pieces.ts'
import { type Fragment, PartialChunks, type TakenChunk } from './partial-chunks.ts'
import { StagingFile } from './staging-file.ts'
import type { WriteBlockOptions } from './types.ts'

/** A chunk of which every byte is there. */
export interface WholeChunk {
  readonly index: number
  /** Offset of its first byte, `index * chunkBytes`. */
  readonly start: number
  /**
   * The taker's until what it returned resolves, and used again after that; may be a view of a block
   * that was written.
   */
  readonly bytes: Uint8Array
}

/** A chunk of which some bytes never came, such as the last one of an image. */
export interface PartialChunk {
  readonly index: number
  readonly start: number
  /**
   * What is there, in order, without overlaps; the arrays are the taker's until what it returned
   * resolves, and used again after that.
   */
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
  /** Buffers for chunks, which are used again; may be shared. @default some of its own */
  readonly buffers?: ChunkBuffers | undefined
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
  /** Chunks that may be handed out at the same time. @default as many as there is memory for */
  readonly maxHandedOut?: number | undefined
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
 * tryWrite ──────────────────┤
 *                            └─► staging file ─► whole ─► onChunk     finish ─► onPartial
 * ```
 */
export class Chunker {
  readonly #onChunk: ChunkerComponents['onChunk']
  readonly #onPartial: ChunkerComponents['onPartial']
  readonly #buffers: ChunkBuffers
  readonly #chunkBytes: number
  readonly #baseOffset: number
  readonly #staging: StagingFile
  readonly #parts: PartialChunks
  /** One caller at a time: calls take effect in their order. */
  readonly #turn = new Budget(1)
  readonly #handOut: ChunkHandOut
  /** Indexes of whole chunks that wait for room in flight. */
  readonly #filled = new Set<number>()
  readonly #failed = new AbortController()
  #state: State = { name: 'open' }

  constructor(components: ChunkerComponents, options: ChunkerOptions) {
    const { chunkBytes, stagingFolder, baseOffset = 0, maxRanges = 2 ** 20 } = options
    const { inFlight = new Budget(32 * MIB), staging: memory = new Budget(64 * MIB) } = components
    const { maxHandedOut = Number.MAX_SAFE_INTEGER } = options
    const { buffers = new ChunkBuffers(inFlight.total), files = systemFiles } = components
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
    this.#buffers = buffers
    this.#chunkBytes = chunkBytes
    this.#baseOffset = baseOffset
    const failed = this.#failed.signal
    const onFailure = (error: Error): void => this.#fail(error)
    const slots = new Budget(maxHandedOut, 'maxHandedOut')
    this.#handOut = new ChunkHandOut({ inFlight, slots, buffers, onFailure, failed }, chunkBytes)
    this.#staging = new StagingFile(files, stagingFolder, chunkBytes)
    const parts = { memory, buffers, staging: this.#staging }
    this.#parts = new PartialChunks(parts, chunkBytes, maxRanges)
  }

  /**
   * Takes a block, which belongs to the chunker from then on unless it is only lent; blocks of any
   * size may come at any offset and several calls may be under way. Where they overlap the later
   * call wins. Resolves when the block is taken, which waits for room in flight: that is the
   * back-pressure. An aborted call may have been taken in part. An empty block only waits for room.
   *
   * @throws {unknown} what `onChunk` threw for any chunk, from then on.
   * @throws {StoreFullError | StoreFailedError | LimitExceededError} if part-filled chunks find no
   * place.
   */
  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    const start = this.#baseOffset + offset
    if (!Number.isSafeInteger(start + bytes.byteLength) || offset < 0) {
      throw new RangeError(`no block of ${bytes.byteLength} bytes can be at ${offset}`)
    }
    this.#check('open')
    await this.#inTurn(options, async () => {
      this.#check('open')
      await this.#cut(start, bytes, options)
    })
  }

  /**
   * Takes a block at once by copying it: the array stays the caller's. Blocks that this and `write`
   * take take effect in the order of the calls.
   *
   * @returns false if it took nothing, because there is no room at present, earlier calls of `write`
   * are under way, or the chunker takes nothing any more: `write` waits, or says why.
   */
  tryWrite(offset: number, bytes: Uint8Array): boolean {
    const start = this.#baseOffset + offset
    const end = start + bytes.byteLength
    if (this.#state.name !== 'open' || this.#turn.used > 0) return false
    if (!Number.isSafeInteger(end) || offset < 0) return false
    if (bytes.byteLength === 0) return true
    // Whole chunks may wait for room in flight, but not in the way of those that are to become whole.
    if (this.#filled.size > 0) this.#tryHandOutWaiting()
    if (this.#filled.size > 0 && this.#parts.isHalfFull) return false
    const size = this.#chunkBytes
    if (!this.#parts.tryBegin(Math.floor(start / size), Math.floor((end - 1) / size))) return false
    for (const { index, at, piece } of piecesOf(start, bytes, size)) {
      if (this.#parts.putNow(index, at, piece)) this.#filled.add(index)
    }
    this.#tryHandOutWaiting()
    return true
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
    await this.#handOut.drain()
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
    await this.#handOut.drain()
    this.#filled.clear()
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

  async #cut(start: number, bytes: Uint8Array, options: WriteBlockOptions): Promise<void> {
    const { signal } = options
    for (const index of this.#filled) await this.#handOutFilled(index, signal)
    for (const { index, at, piece } of piecesOf(start, bytes, this.#chunkBytes)) {
      const isWhole = piece.byteLength === this.#chunkBytes
      if (isWhole) await this.#handOutBlock(index, piece, options)
      else if (await this.#parts.put(index, at, piece)) await this.#handOutFilled(index, signal)
    }
  }

  /** Hands out a chunk that is a view of a block, or a copy of that. */
  async #handOutBlock(
    index: number,
    piece: Uint8Array,
    { signal, isLent = false }: WriteBlockOptions
  ): Promise<void> {
    await this.#handOut.reserve(signal)
    this.#parts.drop(index)
    const buffer = isLent ? this.#buffers.take(this.#chunkBytes) : undefined
    buffer?.set(piece)
    const chunk = { index, start: index * this.#chunkBytes, bytes: buffer ?? piece }
    this.#handOut.start(index, () => this.#onChunk(chunk), buffer)
  }

  async #handOutFilled(index: number, signal: AbortSignal | undefined): Promise<void> {
    this.#handOutTaken(index, await this.#takeReserving(index, signal))
  }

  async #handOutPartial(index: number, signal: AbortSignal | undefined): Promise<void> {
    const { buffer, fragments } = await this.#takeReserving(index, signal)
    const chunk = { index, start: index * this.#chunkBytes, fragments }
    this.#handOut.start(index, () => this.#onPartial(chunk), buffer)
  }

  /** Hands out the whole chunks that wait, as far as there is room in flight. */
  #tryHandOutWaiting(): void {
    for (const index of this.#filled) {
      if (!this.#handOut.tryReserve()) break
      const taken = this.#parts.takeNow(index)
      assert.ok(taken, 'what fills up without waiting is in memory')
      this.#handOutTaken(index, taken)
    }
  }

  #handOutTaken(index: number, { buffer }: TakenChunk): void {
    this.#filled.delete(index)
    const chunk = { index, start: index * this.#chunkBytes, bytes: buffer }
    this.#handOut.start(index, () => this.#onChunk(chunk), buffer)
  }

  /** Takes a chunk out of the part-filled ones; gives the reservation back if that fails. */
  async #takeReserving(index: number, signal: AbortSignal | undefined): Promise<TakenChunk> {
    await this.#handOut.reserve(signal)
    try {
      const taken = await this.#parts.take(index)
      assert.ok(taken, 'nobody else takes it')
      return taken
    } catch (error) {
      this.#handOut.release()
      throw error
    }
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
