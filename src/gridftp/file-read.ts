import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { KIB } from '../lib/bytes.ts'
import type { ByteRange, ReadHandle } from './dsi.ts'
import { IsDirectoryError, PathNotFoundError } from './errors.ts'
import { translateFileErrors } from './file-errors.ts'

/** Bytes asked of the disk at once. */
const READ_BYTES = 256 * KIB

/** Opens a file for reading; one that is replaced meanwhile goes on showing what it was. */
export async function openFileRead(path: string, real: string): Promise<ReadHandle> {
  // NONBLOCK: a FIFO would wait for a writer for ever.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const file = await open(real, flags)
  try {
    const stats = await file.stat()
    if (stats.isDirectory()) throw new IsDirectoryError(path)
    if (!stats.isFile()) throw new PathNotFoundError(path)
    return new FileRead(path, file, stats.size)
  } catch (error) {
    await file.close()
    throw error
  }
}

class FileRead implements ReadHandle {
  readonly bytes: number
  readonly #path: string
  readonly #file: FileHandle

  constructor(path: string, file: FileHandle, bytes: number) {
    this.#path = path
    this.#file = file
    this.bytes = bytes
  }

  /**
   * Reads one array ahead of its taker.
   *
   * @yields the bytes of the range in order.
   */
  async *read(
    range: ByteRange,
    options: { signal?: AbortSignal | undefined } = {}
  ): AsyncGenerator<Uint8Array> {
    const end = Math.min(range.offset + range.length, this.bytes)
    let coming = this.#readAt(range.offset, end)
    try {
      for (let at = range.offset; at < end; ) {
        const piece = await coming
        options.signal?.throwIfAborted()
        if (piece.byteLength === 0) return // shortened under us
        at += piece.byteLength
        coming = this.#readAt(at, end)
        yield piece
      }
    } finally {
      await coming.catch(() => {}) // the file may be closed as soon as we are done
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #readAt(offset: number, end: number): Promise<Uint8Array> {
    const length = Math.min(READ_BYTES, end - offset)
    if (length <= 0) return new Uint8Array(0)
    const buffer = Buffer.allocUnsafeSlow(length)
    return await translateFileErrors(this.#path, async () => {
      const { bytesRead } = await this.#file.read(buffer, 0, length, offset)
      return buffer.subarray(0, bytesRead)
    })
  }
}
