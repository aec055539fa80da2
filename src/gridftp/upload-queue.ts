import { KIB, MIB } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import type { WriteHandle } from './dsi.ts'

/**
 * What a piece in the queue costs beside its bytes, so that a flood of tiny ones is bounded
 * too.
 */
const PIECE_OVERHEAD_BYTES = KIB

/** Takes the pieces of an upload as they come from the network. */
export interface BlockSink {
  /**
   * Takes a piece at its offset in the file; the array belongs to the sink from then on.
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
  /** Bytes that may wait or be on their way into the storage. @default 16777216 */
  readonly queueBytes?: number
  /** Writes under way in the storage at the same time. @default 16 */
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
}

/**
 * The queue between the network and the storage: pieces come in as fast as they arrive and are
 * drained into the storage independently, so that neither waits for the other until the queue is
 * full.
 *
 * @see INRIA RR-7434, section 3.2
 */
export class UploadQueue implements BlockSink {
  readonly #handle: Pick<WriteHandle, 'write'>
  readonly #options: UploadQueueOptions
  readonly #queueBytes: number
  readonly #queueDepth: number
  readonly #idle: PromiseWithResolvers<void>[] = []
  #pieces: Piece[] = []
  #head = 0
  #heldBytes = 0
  #writing = 0
  #room: PromiseWithResolvers<void> | undefined
  #error: Error | undefined

  constructor(handle: Pick<WriteHandle, 'write'>, options: UploadQueueOptions = {}) {
    const { queueBytes = 16 * MIB, queueDepth = 16 } = options
    if (!(queueBytes > 0)) throw new RangeError(`queueBytes must be above 0, not ${queueBytes}`)
    if (!(queueDepth >= 1)) throw new RangeError(`queueDepth must be 1 or more, not ${queueDepth}`)
    this.#handle = handle
    this.#options = options
    this.#queueBytes = queueBytes
    this.#queueDepth = queueDepth
  }

  /** Bytes held now, with the overhead of each piece. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  push(offset: number, bytes: Uint8Array): boolean {
    if (this.#error !== undefined) return false
    if (bytes.byteLength > 0) {
      this.#pieces.push({ offset, bytes })
      this.#heldBytes += bytes.byteLength + PIECE_OVERHEAD_BYTES
      this.#drain()
    }
    return this.#heldBytes < this.#queueBytes
  }

  async whenRoom(): Promise<void> {
    if (this.#error !== undefined || this.#heldBytes < this.#queueBytes) return
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

  async #write({ offset, bytes }: Piece): Promise<void> {
    const length = bytes.byteLength
    try {
      await this.#handle.write(offset, bytes, { signal: this.#options.signal })
      this.#options.onWritten?.(length)
    } catch (error) {
      this.#fail(toError(error))
    }
    this.#writing -= 1
    this.#heldBytes -= length + PIECE_OVERHEAD_BYTES
    this.#drain()
    if (this.#heldBytes <= this.#queueBytes / 2) this.#makeRoom()
    if (this.#writing === 0) for (const idle of this.#idle.splice(0)) idle.resolve()
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
