import type { ChunkBuffers } from '../chunks/chunk-buffers.ts'
import { chunkId, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import { Chunker } from '../chunks/chunker.ts'
import type { ChunkReader, ChunkWriter, MakeWholeOptions } from '../chunks/replica-types.ts'
import type { WriteBlockOptions } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Budget } from '../lib/budget.ts'
import { concatBytes, isAllZero } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter } from '../lib/metrics.ts'
import { anySignal } from '../lib/signals.ts'
import type { WriteProgress } from './blob-writer-types.ts'
import { ChunkLeases } from './chunk-leases.ts'
import { ChunkPlacer } from './chunk-placer.ts'
import { type LeafList, LeafListBuilder } from './leaf-list.ts'
import { readLeaves } from './leaf-read.ts'
import type { ManifestView } from './manifest-view.ts'
import { StoredFragments } from './stored-fragments.ts'
import type { BlobDescription } from './types.ts'

/** What an extent writer uses. */
export interface ExtentWriterComponents {
  readonly writer: ChunkWriter
  readonly clock: Clock
  readonly logger: Logger
  /** Memory for chunks on their way to the providers, shared by all uploads. */
  readonly inFlight: Budget
  /**
   * Memory for chunks that are not whole yet, shared by all uploads; beyond it they go to a file.
   */
  readonly staging: Budget
  /** Buffers for chunks, shared by all uploads. @default some of its own */
  readonly buffers?: ChunkBuffers | undefined
  /** Counts what became of the bytes; label `kind`: stored, reused or zero. */
  readonly uploadedBytes?: Counter | undefined
}

/** What is written, and how it is cut. */
export interface ExtentWriterOptions {
  readonly description: BlobDescription
  /** Folder for the file that takes what the staging memory cannot; it must exist. */
  readonly stagingFolder: string
  /** Manifest of the version that is written over; chunks that are there need not be moved. */
  readonly parent?: ManifestView | undefined
  /** Added to every offset; need not lie on the grid. @default 0 */
  readonly baseOffset?: number | undefined
  /**
   * How long providers keep what nothing refers to yet, in milliseconds; the same everywhere.
   *
   * @default 900_000
   */
  readonly leaseMs?: number | undefined
  /** What an upload that broke has stored, and providers have: it need not be written again. */
  readonly continuing?: LeafList | undefined
  /** Chunks that may be on their way to providers. @default as many as there is memory for */
  readonly maxUnderWay?: number | undefined
  /** `storedSince` will be called. @default false */
  readonly isNoted?: boolean | undefined
}

type ExtentState =
  | { readonly name: 'open' | 'finishing' | 'finished' }
  | { readonly name: 'failed'; readonly error: Error }

/** A run of bytes of a chunk. */
interface Piece {
  readonly at: number
  readonly bytes: Uint8Array
}

/**
 * Blocks in any order become chunks at providers, and a list of leaves that says which. There is no
 * version yet: an upload makes one of it (blob-writer.ts).
 *
 * ```text
 * write ──► chunker ──► id ──► zeros? ──► same in parent? ──► already at providers? ──► ChunkWriter
 *                        └───────────────► leaf list
 * ```
 *
 * The leases of what is stored are renewed until `stop`. The first failure ends it for good.
 */
export class ExtentWriter {
  readonly #components: ExtentWriterComponents
  readonly #options: ExtentWriterOptions
  readonly #baseOffset: number
  readonly #chunker: Chunker
  readonly #placer: ChunkPlacer
  readonly #leaves = new LeafListBuilder()
  readonly #leases: ChunkLeases
  readonly #stored: StoredFragments | undefined
  readonly #failed = new AbortController()
  readonly #progress = { receivedBytes: 0, storedBytes: 0, reusedBytes: 0, zeroBytes: 0 }
  #state: ExtentState = { name: 'open' }
  #endBytes: number

  constructor(components: ExtentWriterComponents, options: ExtentWriterOptions) {
    const { description, stagingFolder, parent, baseOffset = 0, leaseMs } = options
    const { continuing, isNoted = false, maxUnderWay: maxHandedOut } = options
    const { writer, inFlight, staging, buffers, clock, logger } = components
    this.#components = components
    this.#options = options
    this.#baseOffset = baseOffset
    this.#endBytes = baseOffset
    const { blob: stripe, replicas, chunkBytes } = description
    const placing = { writer, parent, stripe, signal: this.#failed.signal, logger }
    this.#placer = new ChunkPlacer(placing, replicas)
    const chunks = this.#leaves
    const onLost = (error: Error): void => this.fail(error)
    this.#leases = new ChunkLeases({ chunks, writer, clock, logger, onLost }, { leaseMs })
    this.#leases.start()
    this.#stored = isNoted ? new StoredFragments(this.#leaves) : undefined
    if (continuing !== undefined) this.#goOnFrom(continuing)
    this.#chunker = new Chunker(
      {
        onChunk: async ({ index, bytes }) => await this.#takeChunk(index, bytes),
        onPartial: async ({ index, fragments }) => await this.#takePieces(index, fragments),
        inFlight,
        staging,
        buffers
      },
      { chunkBytes, stagingFolder, baseOffset, maxHandedOut }
    )
  }

  /** What has been done so far; a copy. */
  get progress(): WriteProgress {
    return { ...this.#progress }
  }

  /** Where what was written ends, in bytes from the start of the blob. */
  get endBytes(): number {
    return this.#endBytes
  }

  /** Aborted, with the reason, when the writing has failed. */
  get signal(): AbortSignal {
    return this.#failed.signal
  }

  /**
   * Takes a block at an offset. Blocks may come in any order and several calls may be open; where
   * blocks overlap the later call wins. Resolves when there is room for more, which is the
   * back-pressure. The array belongs to the writer from then on, unless it
   * is only lent.
   *
   * @throws {Error} what ended the writing, in every call from then on.
   * @throws {RangeError} for an offset that cannot be.
   */
  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    this.checkOpen()
    await this.#chunker.write(offset, bytes, options)
    this.#progress.receivedBytes += bytes.byteLength
    if (bytes.byteLength > 0) this.extendTo(this.#baseOffset + offset + bytes.byteLength)
  }

  /**
   * Takes a block at once by copying it; the array stays the caller's. Where blocks overlap the later
   * call wins, of this or of `write`.
   *
   * @returns false if it took nothing: `write` waits for room, or says why.
   */
  tryWrite(offset: number, bytes: Uint8Array): boolean {
    if (this.#state.name !== 'open' || !this.#chunker.tryWrite(offset, bytes)) return false
    this.#progress.receivedBytes += bytes.byteLength
    if (bytes.byteLength > 0) this.extendTo(this.#baseOffset + offset + bytes.byteLength)
    return true
  }

  /**
   * Waits for the chunks that are on their way to the providers, and tells what has been stored
   * since the last call. Only of a writer that is noted, and before `finish`.
   *
   * @throws {Error} what ended the writing.
   */
  async storedSince(): Promise<LeafList> {
    if (this.#stored === undefined) throw new TypeError('this writing is not noted')
    await this.#stored.settled()
    this.checkOpen()
    return this.#stored.take()
  }

  /** Lets what is written end here at least, with zeros where nothing is written. */
  extendTo(bytes: number): void {
    this.checkOpen()
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`size ${bytes}`)
    this.#endBytes = Math.max(this.#endBytes, bytes)
  }

  /**
   * Stores what is still held. No write may be under way or come later. Harmless when called again.
   *
   * @throws {Error} what ended the writing.
   */
  async finish(options: AbortOptions = {}): Promise<void> {
    if (this.#state.name === 'finished') return
    this.checkOpen()
    this.#state = { name: 'finishing' }
    await this.#chunker.finish({ signal: anySignal([options.signal, this.signal]) })
    this.#state = { name: 'finished' }
  }

  /**
   * Reads what was written, from an offset of the blob to its end, gaps as zeros; not what it goes
   * over. Finishes the writing.
   *
   * @yields bytes that belong to the taker.
   * @throws {Error} what ended the writing; a ChunkUnavailableError.
   */
  async *readBack(
    reader: ChunkReader,
    offset: number,
    options: AbortOptions = {}
  ): AsyncGenerator<Uint8Array, void> {
    await this.finish(options)
    const { chunkBytes } = this.#options.description
    const leaves = this.#leaves.build()
    const endBytes = Math.max(this.#endBytes, leaves.endBytes(chunkBytes))
    yield* readLeaves(reader, leaves, { ...options, offset, endBytes, chunkBytes })
  }

  /**
   * Makes sure that every chunk is safe for half of a lease and has its copies at live providers,
   * then gives the leaves, whose places do not change any more. Called once, after `finish`.
   *
   * @throws {ChunkLeaseLostError | NotEnoughReplicasError}
   */
  async build(options: Pick<MakeWholeOptions, 'signal'> = {}): Promise<LeafList> {
    const { chunkBytes, blob: stripe } = this.#options.description
    await this.#leases.ensure(options)
    await this.#leases.makeWhole({ chunkBytes, stripe, signal: options.signal })
    const leaves = this.#leaves.build()
    this.#leases.freeze()
    return leaves
  }

  /** Leases of what is stored; renewed until the end. */
  get leases(): ChunkLeases {
    return this.#leases
  }

  /** Ends the writing with an error; what was finished stays so. */
  fail(error: Error): void {
    if (this.#state.name === 'failed') return
    this.#state = { name: 'failed', error }
    this.#failed.abort(error)
  }

  /**
   * Drops what is held and renews no leases any more; chunks that are stored are left to
   * collection. Harmless when called twice.
   */
  async stop(error: Error): Promise<void> {
    this.fail(error)
    await this.#leases.stop()
    await this.#chunker.abort(error)
    await this.#placer.settled()
  }

  /** @throws {Error} what ended the writing; a TypeError if it is finished. */
  checkOpen(): void {
    if (this.#state.name === 'failed') throw this.#state.error
    if (this.#state.name !== 'open') throw new TypeError(`the writing is ${this.#state.name}`)
  }

  /** What is written from now on goes over it. */
  #goOnFrom(stored: LeafList): void {
    for (const { index, fragments } of stored) {
      for (const fragment of fragments) this.#leaves.add(index, fragment)
    }
    this.#endBytes = Math.max(this.#endBytes, stored.endBytes(this.#options.description.chunkBytes))
  }

  async #takeChunk(index: number, bytes: Uint8Array): Promise<void> {
    const taking = this.#takePieces(index, [{ at: 0, bytes }])
    await (this.#stored === undefined ? taking : this.#stored.track(taking))
  }

  /**
   * Notes pieces of one chunk in the leaf list, then stores those that are not zeros as one chunk.
   */
  async #takePieces(index: number, pieces: readonly Piece[]): Promise<void> {
    const filled: Piece[] = []
    for (const piece of pieces) {
      if (isAllZero(piece.bytes)) this.#addZeros(index, piece)
      else filled.push(piece)
    }
    if (filled.length === 0) return
    const bytes = joined(filled)
    const id = chunkId(bytes)
    let chunkOffset = 0
    const added = filled.map(({ at, bytes: { byteLength: length } }) => {
      const number = this.#leaves.add(index, { at, length, chunk: id, chunkOffset, replicas: [] })
      chunkOffset += length
      return number
    })
    try {
      const signal = this.#failed.signal
      const { replicas, isNew } = await this.#placer.place(index, { id, bytes }, { signal })
      for (const number of added) this.#leaves.setReplicas(number, replicas)
      this.#stored?.add(added)
      this.#count(isNew ? 'stored' : 'reused', bytes.byteLength)
    } catch (error) {
      this.#failed.abort(error) // the other chunks need not be stored any more
      throw error
    }
  }

  #addZeros(index: number, { at, bytes: { byteLength: length } }: Piece): void {
    const zeros = { at, length, chunk: ZERO_CHUNK_ID, chunkOffset: 0, replicas: [] }
    const number = this.#leaves.add(index, zeros)
    this.#stored?.add([number])
    this.#count('zero', length)
  }

  #count(kind: 'stored' | 'reused' | 'zero', bytes: number): void {
    this.#progress[`${kind}Bytes`] += bytes
    this.#components.uploadedBytes?.add(bytes, { kind })
  }
}

function joined(pieces: readonly Piece[]): Uint8Array {
  const [only] = pieces
  return only !== undefined && pieces.length === 1
    ? only.bytes
    : concatBytes(pieces.map(({ bytes }) => bytes))
}
