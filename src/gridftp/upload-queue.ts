import { ChunkBuffers } from '../chunks/chunk-buffers.ts'
import { KIB, MIB } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import type { WriteHandle } from './dsi.ts'

/**
 * What a piece in the queue costs beside its bytes, so that a flood of tiny ones is bounded
 * too.
 */
const PIECE_OVERHEAD_BYTES = KIB

/** Pieces of at least an eighth as many bytes are copied into buffers that are used again. */
const BUFFER_BYTES = 256 * KIB
const MAX_IDLE_BYTES = 4 * MIB

const NOTHING = new Uint8Array(0)

/** Takes the pieces of an upload as they come from the network. */
export interface BlockSink {
  /**
   * Takes a piece at its offset in the file; the array is only lent, until the call returns.
   *
   * @returns false when the sink is full: the caller stops reading until `whenRoom`.
   */
  push(offset: number, bytes: Uint8Array): boolean
  /**
   * Resolves when there is room again, or when the sink has given up and takes nothing any
   * more.
   */
  whenRoom(): Promise<void>
}

/** Limits of a queue, and who is told. */
export interface UploadQueueOptions {
  /**
   * Bytes that may wait or be on their way into a storage that takes nothing without waiting. Of one
   * that does only what it has no room for is held, and nothing more is read then.
   *
   * @default 16777216
   */
  readonly queueBytes?: number
  /** Writes under way in the storage at the same time. @default 64 */
  readonly queueDepth?: number
  /** Called at the first failed write; the queue takes nothing any more then. */
  readonly onError?: (error: Error) => void
  /** Called after every write with its bytes. */
  readonly onWritten?: (bytes: number) => void
  readonly signal?: AbortSignal
}

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
  /** What the bytes are in, if it may be used again. */
  readonly buffer: Uint8Array | undefined
}

type Storage = Pick<WriteHandle, 'write' | 'tryWrite'>

/**
 * The queue between the network and the storage: pieces come in as fast as they arrive and are
 * drained into the storage independently, so that neither waits for the other until the queue is
 * full. A storage that can take a piece at once gets it before it has to be copied for the queue.
 *
 * @see INRIA RR-7434, section 3.2
 */
export class UploadQueue implements BlockSink {
  readonly #handle: Storage
  readonly #options: UploadQueueOptions
  readonly #queueBytes: number
  readonly #queueDepth: number
  readonly #buffers = new ChunkBuffers(MAX_IDLE_BYTES)
  readonly #idle: PromiseWithResolvers<void>[] = []
  #pieces: Piece[] = []
  #head = 0
  #heldBytes = 0
  #writing = 0
  #room: PromiseWithResolvers<void> | undefined
  #error: Error | undefined

  constructor(handle: Storage, options: UploadQueueOptions = {}) {
    const { queueBytes = 16 * MIB, queueDepth = 64 } = options
    if (!(queueBytes > 0)) throw new RangeError(`queueBytes must be above 0, not ${queueBytes}`)
    if (!(queueDepth >= 1)) throw new RangeError(`queueDepth must be 1 or more, not ${queueDepth}`)
    this.#handle = handle
    this.#options = options
    this.#queueBytes = queueBytes
    // Where a piece is tried again after a wait, the next one must not come before it.
    this.#queueDepth = handle.tryWrite === undefined ? queueDepth : 1
  }

  /** Bytes held now, with the overhead of each piece. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  push(offset: number, bytes: Uint8Array): boolean {
    if (this.#error !== undefined) return false
    if (bytes.byteLength > 0 && !this.#tryWrite(offset, bytes)) {
      this.#pieces.push(this.#copied(offset, bytes))
      this.#heldBytes += bytes.byteLength + PIECE_OVERHEAD_BYTES
      this.#drain()
    }
    return this.#error === undefined && this.#hasRoom
  }

  async whenRoom(): Promise<void> {
    if (this.#error !== undefined || this.#hasRoom) return
    this.#room ??= Promise.withResolvers<void>()
    await this.#room.promise
  }

  /**
   * Resolves when the storage has taken everything.
   *
   * @throws {Error} the first failure of a write.
   */
  async finish(): Promise<void> {
    await this.#settled()
    if (this.#error !== undefined) throw this.#error
  }

  /** Drops what waits and resolves when no write is under way. */
  async abort(reason: Error): Promise<void> {
    this.#fail(reason)
    await this.#settled()
  }

  /** What a storage had no room for shall not pile up here in memory of its own. */
  get #hasRoom(): boolean {
    return this.#handle.tryWrite === undefined
      ? this.#heldBytes < this.#queueBytes
      : this.#heldBytes === 0
  }

  /**
   * Nothing overtakes what waits.
   *
   * @returns true if the piece need not be queued: it was taken, or has ended the upload.
   */
  #tryWrite(offset: number, bytes: Uint8Array): boolean {
    if (this.#heldBytes > 0) return false
    try {
      if (this.#handle.tryWrite?.(offset, bytes) !== true) return false
      this.#options.onWritten?.(bytes.byteLength)
    } catch (thrown) {
      this.#fail(toError(thrown)) // here it would end the agent, not only this upload
    }
    return true
  }

  #copied(offset: number, bytes: Uint8Array): Piece {
    const length = bytes.byteLength
    const isLarge = length >= BUFFER_BYTES / 8 && length <= BUFFER_BYTES
    if (!isLarge || this.#handle.tryWrite === undefined) {
      return { offset, bytes: new Uint8Array(bytes), buffer: undefined }
    }
    const buffer = this.#buffers.take(BUFFER_BYTES)
    buffer.set(bytes)
    return { offset, bytes: buffer.subarray(0, length), buffer }
  }

  #drain(): void {
    while (this.#writing < this.#queueDepth) {
      const piece = this.#pieces[this.#head]
      if (piece === undefined) break
      this.#head += 1
      if (this.#head >= 1024 && this.#head * 2 > this.#pieces.length) this.#compact()
      this.#writing += 1
      void this.#write(piece)
    }
  }

  async #write(piece: Piece): Promise<void> {
    const length = piece.bytes.byteLength
    try {
      await this.#give(piece)
      this.#options.onWritten?.(length)
    } catch (error) {
      this.#fail(toError(error))
    }
    this.#writing -= 1
    this.#heldBytes -= length + PIECE_OVERHEAD_BYTES
    this.#drain()
    const isRelieved =
      this.#handle.tryWrite !== undefined || this.#heldBytes <= this.#queueBytes / 2
    if (isRelieved && this.#hasRoom) this.#makeRoom()
    if (this.#writing === 0) for (const idle of this.#idle.splice(0)) idle.resolve()
  }

  async #give({ offset, bytes, buffer }: Piece): Promise<void> {
    const options = { signal: this.#options.signal }
    if (this.#handle.tryWrite !== undefined) {
      await this.#handle.write(offset, NOTHING, options) // only waits for room
      if (this.#handle.tryWrite(offset, bytes)) {
        this.#takeBack(buffer)
        return
      }
    }
    await this.#handle.write(offset, bytes, { ...options, isLent: buffer !== undefined })
    this.#takeBack(buffer)
  }

  #takeBack(buffer: Uint8Array | undefined): void {
    if (buffer !== undefined) this.#buffers.give(buffer)
  }

  #fail(error: Error): void {
    if (this.#error !== undefined) return
    this.#error = error
    for (const { bytes } of this.#pieces.slice(this.#head)) {
      this.#heldBytes -= bytes.byteLength + PIECE_OVERHEAD_BYTES
    }
    this.#pieces = []
    this.#head = 0
    this.#makeRoom()
    this.#options.onError?.(error)
  }

  #makeRoom(): void {
    this.#room?.resolve()
    this.#room = undefined
  }

  async #settled(): Promise<void> {
    if (this.#writing === 0) return
    const idle = Promise.withResolvers<void>()
    this.#idle.push(idle)
    await idle.promise
  }

  #compact(): void {
    this.#pieces = this.#pieces.slice(this.#head)
    this.#head = 0
  }
}
