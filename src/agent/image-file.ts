import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '../lib/atomic-file.ts'
import { errorCode } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import { FileExistsError, LocalFileError } from './errors.ts'
import type { PartialFiles } from './partial-files.ts'

/**
 * An image that is being written to a file: sparse, under a temporary name beside its target, made
 * durable and renamed when whole. What is never written stays a hole.
 */
export class ImageFile {
  /** Where it is to be. */
  readonly path: string
  readonly #temporary: string
  readonly #file: FileHandle
  readonly #partials: PartialFiles | undefined
  #isOpen = true

  private constructor(
    path: string,
    temporary: string,
    file: FileHandle,
    partials: PartialFiles | undefined
  ) {
    this.path = path
    this.#temporary = temporary
    this.#file = file
    this.#partials = partials
  }

  /**
   * Makes the temporary file, `bytes` long and empty.
   *
   * @param force replace a file that is there.
   * @param partials notes the temporary file, so that it is removed also after a crash.
   * @throws {FileExistsError} if the target exists and `force` is false.
   * @throws {LocalFileError} if the folder cannot be written, or the target is no regular file.
   */
  static async create(
    path: string,
    bytes: number,
    force: boolean,
    partials?: PartialFiles
  ): Promise<ImageFile> {
    const existing = await typeOf(path)
    if (existing === 'other') throw new LocalFileError(path, 'is not a regular file')
    if (existing === 'file' && !force) throw new FileExistsError(path)
    // No part of the target's name, which may be as long as names can be.
    const temporary = join(dirname(path), `.blobswarm-${randomUUID().slice(0, 8)}.partial`)
    return guard(path, async () => {
      await partials?.note(temporary)
      const file = await open(temporary, 'wx', 0o644).catch(async (error: unknown) => {
        await partials?.forget(temporary)
        throw error
      })
      const image = new ImageFile(path, temporary, file, partials)
      try {
        await file.truncate(bytes)
        return image
      } catch (error) {
        await image.discard()
        throw error
      }
    })
  }

  /** Writes bytes at their place, from any number of callers at once. @throws {LocalFileError} */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await guard(this.path, async () => {
      for (let done = 0; done < bytes.byteLength; ) {
        const { bytesWritten } = await this.#file.write(
          bytes,
          done,
          bytes.byteLength - done,
          offset + done
        )
        done += bytesWritten
      }
    })
  }

  /** Brings what is written to the disk; only makes `finish` quicker. @throws {LocalFileError} */
  async flush(): Promise<void> {
    await guard(this.path, async () => this.#file.datasync())
  }

  /** Flushes, and puts the file under its name. @throws {LocalFileError} if it cannot; `discard` is still needed then. */
  async finish(): Promise<void> {
    await guard(this.path, async () => {
      await this.#file.sync()
      await this.#close()
      await rename(this.#temporary, this.path)
      await syncFolder(dirname(this.path))
      await this.#partials?.forget(this.#temporary)
    })
  }

  /** Removes what was written; harmless after `finish`. */
  async discard(): Promise<void> {
    await this.#close()
    await rm(this.#temporary, { force: true })
    await this.#partials?.forget(this.#temporary)
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#file.close()
  }
}

async function typeOf(path: string): Promise<'file' | 'other' | undefined> {
  try {
    return (await stat(path)).isFile() ? 'file' : 'other'
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw localFailure(path, error)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'a part of its path is no folder',
  ENAMETOOLONG: 'its name is too long',
  EACCES: 'permission denied',
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'disk quota exceeded',
  EROFS: 'the file system is read-only'
}

async function guard<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw localFailure(path, error)
  }
}

function localFailure(path: string, error: unknown): LocalFileError {
  const reason = REASONS[errorCode(error) ?? ''] ?? toError(error).message
  return new LocalFileError(path, reason, { cause: error })
}
