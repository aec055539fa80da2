import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { MIB, toHex } from '../lib/bytes.ts'
import { secureBytes } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'

/** What may wait for the disk, in bytes. */
const MAX_HELD_BYTES = 4 * MIB
/** Arrays in one write; Linux takes 1,024. */
const MAX_PARTS = 256

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/**
 * Takes a download into a temporary file beside its target. Pieces are written behind the caller's
 * back, neighbours in one go, because a socket yields at most 64 KiB at a time.
 */
export class FileSink {
  readonly #path: string
  readonly #temporary: string
  readonly #handle: FileHandle
  #isOpen = true
  #queue: Piece[] = []
  #heldBytes = 0
  #error: Error | undefined
  #writing: Promise<void> | undefined
  #room = Promise.withResolvers<void>()

  private constructor(path: string, temporary: string, handle: FileHandle) {
    this.#path = path
    this.#temporary = temporary
    this.#handle = handle
  }

  /** Creates the temporary file. */
  static async open(path: string): Promise<FileSink> {
    const temporary = `${path}.part-${toHex(secureBytes(4))}`
    return new FileSink(path, temporary, await open(temporary, 'wx'))
  }

  /** Takes a piece; resolves when there is room for more. @throws what a write before failed with. */
  async take(offset: number, bytes: Uint8Array): Promise<void> {
    this.#queue.push({ offset, bytes })
    this.#heldBytes += bytes.byteLength
    this.#writing ??= this.#drain()
    while (this.#heldBytes > MAX_HELD_BYTES && this.#error === undefined) await this.#room.promise
    if (this.#error !== undefined) throw this.#error
  }

  /** Writes what is left and gives the file its name. @throws what a write failed with. */
  async finish(): Promise<void> {
    await this.#close()
    if (this.#error !== undefined) throw this.#error
    await rename(this.#temporary, this.#path)
  }

  /** Removes the temporary file. Harmless after `finish`. */
  async discard(): Promise<void> {
    this.#queue = []
    await this.#close()
    await rm(this.#temporary, { force: true })
  }

  async #close(): Promise<void> {
    await this.#writing
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#handle.close()
  }

  async #drain(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const pieces = this.#queue.toSorted((left, right) => left.offset - right.offset)
        this.#queue = []
        for (const run of runsOf(pieces)) await this.#write(run)
      }
    } catch (error) {
      this.#error = toError(error)
      this.#queue = []
    }
    this.#writing = undefined
    this.#makeRoom(0)
  }

  async #write(run: readonly Piece[]): Promise<void> {
    const [first] = run
    if (first === undefined) return
    const parts = run.map(({ bytes }) => bytes)
    const length = parts.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const { bytesWritten } = await this.#handle.writev(parts, first.offset)
    if (bytesWritten < length) {
      let written = bytesWritten
      const rest = Buffer.concat(parts)
      while (written < length) {
        const position = first.offset + written
        const result = await this.#handle.write(rest, written, length - written, position)
        written += result.bytesWritten
      }
    }
    this.#makeRoom(length)
  }

  #makeRoom(bytes: number): void {
    this.#heldBytes -= bytes
    this.#room.resolve()
    this.#room = Promise.withResolvers()
  }
}

/** Groups pieces in order of their offsets into runs without a gap. */
function runsOf(pieces: readonly Piece[]): Piece[][] {
  const runs: Piece[][] = []
  let end = -1
  for (const piece of pieces) {
    const run = runs.at(-1)
    if (run !== undefined && piece.offset === end && run.length < MAX_PARTS) run.push(piece)
    else runs.push([piece])
    end = piece.offset + piece.bytes.byteLength
  }
  return runs
}
