import { constants, type Stats } from 'node:fs'
import {
  copyFile,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  statfs
} from 'node:fs/promises'
import { join } from 'node:path'
import { KIB, toHex } from '../lib/bytes.ts'
import { errorCode } from '../lib/errors.ts'
import { secureBytes } from '../lib/random.ts'
import type { OpenWriteOptions, Published, PublishOptions, WriteHandle } from './dsi.ts'
import {
  IsDirectoryError,
  NoSpaceError,
  NotDirectoryError,
  StorageConflictError,
  UploadAbandonedError,
  UploadLostError
} from './errors.ts'
import { translateFileErrors } from './file-errors.ts'
import { type FileJail, RESERVED_PREFIX } from './file-jail.ts'
import { parentPath } from './path.ts'

/** Where uploads are collected, at the top of the folder. */
export const UPLOADS_FOLDER = `${RESERVED_PREFIX}uploads`

/** Bytes asked of the disk at once when an upload is read back. */
const READ_BACK_BYTES = 256 * KIB

/**
 * Uploads of this process, which a second opening of the same folder must not take for
 * leftovers.
 */
const running = new Set<string>()

/**
 * One upload into a file of its own, which takes the place of the target when it is whole. It has no
 * checkpoints: what breaks is gone, and no restart markers are sent for it.
 */
export class FileUpload implements WriteHandle {
  readonly #jail: FileJail
  readonly #path: string
  readonly #temporary: string
  readonly #file: FileHandle
  readonly #base: number
  /** What a patch goes over; undefined when nothing was there. Must be the same at the end. */
  readonly #under: Stats | undefined
  readonly #isPatch: boolean
  #isClosed = false

  private constructor(
    jail: FileJail,
    path: string,
    opened: { temporary: string; file: FileHandle; base: number; under: Stats | undefined },
    isPatch: boolean
  ) {
    this.#jail = jail
    this.#path = path
    this.#temporary = opened.temporary
    this.#file = opened.file
    this.#base = opened.base
    this.#under = opened.under
    this.#isPatch = isPatch
  }

  /**
   * Begins an upload; a patch begins with a copy, which costs nothing where the disk can share
   * blocks.
   */
  static async open(jail: FileJail, path: string, options: OpenWriteOptions): Promise<FileUpload> {
    if ((options.continuing ?? []).length > 0) {
      throw new UploadLostError(path, 'plain files keep nothing of broken uploads')
    }
    jail.verifyAllowed(path)
    if (path === '/') throw new IsDirectoryError(path)
    await verifyFolders(jail, path)
    const current = await jail.find(path)
    const under = current === undefined ? undefined : await stat(current)
    if (under?.isDirectory() === true) throw new IsDirectoryError(path)
    await verifyRoom(jail, path, options.expectedBytes ?? 0)
    const isPatch = options.mode !== 'replace'
    const temporary = join(jail.folder, UPLOADS_FOLDER, `${process.pid}-${toHex(secureBytes(12))}`)
    running.add(temporary)
    try {
      if (isPatch && current !== undefined) {
        await copyFile(current, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
      }
      const file = await open(temporary, constants.O_RDWR | constants.O_CREAT, 0o644)
      const base = options.mode === 'append' ? (await file.stat()).size : 0
      return new FileUpload(jail, path, { temporary, file, base, under }, isPatch)
    } catch (error) {
      running.delete(temporary)
      await rm(temporary, { force: true })
      throw error
    }
  }

  async write(
    offset: number,
    bytes: Uint8Array,
    options: { signal?: AbortSignal | undefined } = {}
  ): Promise<void> {
    options.signal?.throwIfAborted()
    await translateFileErrors(this.#path, async () => {
      for (let at = 0; at < bytes.byteLength; ) {
        const length = bytes.byteLength - at
        const { bytesWritten } = await this.#file.write(bytes, at, length, this.#base + offset + at)
        at += bytesWritten
      }
    })
  }

  /** @yields what is in the file so far. */
  async *readBack(
    offset: number,
    options: { signal?: AbortSignal | undefined } = {}
  ): AsyncGenerator<Uint8Array> {
    for (let at = offset; ; ) {
      options.signal?.throwIfAborted()
      const buffer = Buffer.allocUnsafeSlow(READ_BACK_BYTES)
      const { bytesRead } = await translateFileErrors(
        this.#path,
        async () => await this.#file.read(buffer, 0, READ_BACK_BYTES, at)
      )
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async publish(options: PublishOptions = {}): Promise<Published> {
    try {
      return await translateFileErrors(this.#path, async () => await this.#publish(options))
    } catch (error) {
      await this.abort()
      throw error
    }
  }

  async abort(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    running.delete(this.#temporary)
    await this.#file.close()
    await rm(this.#temporary, { force: true })
  }

  async #publish({ isStillWanted, signal }: PublishOptions): Promise<Published> {
    await this.#file.sync()
    const { size } = await this.#file.stat()
    if (isStillWanted?.() === false) throw new UploadAbandonedError(this.#path)
    const folder = parentPath(this.#path)
    await mkdir(join(this.#jail.folder, folder), { recursive: true })
    const target = await this.#jail.entry(this.#path)
    if (this.#isPatch) await this.#verifyUnchanged()
    signal?.throwIfAborted()
    if (isStillWanted?.() === false) throw new UploadAbandonedError(this.#path)
    await rename(this.#temporary, target)
    this.#isClosed = true
    running.delete(this.#temporary)
    await this.#file.close()
    await syncFolder(join(target, '..'))
    return { bytes: size }
  }

  /** Somebody who published in between would be undone by our older copy. */
  async #verifyUnchanged(): Promise<void> {
    const current = await this.#jail.find(this.#path)
    const now = current === undefined ? undefined : await stat(current)
    const isSame =
      now?.ino === this.#under?.ino &&
      now?.mtimeMs === this.#under?.mtimeMs &&
      now?.size === this.#under?.size
    if (!isSame) throw new StorageConflictError(this.#path, 'was changed during the upload')
  }
}

/** Removes uploads whose process is gone. */
export async function removeStaleUploads(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    if (running.has(path) || isOtherProcess(Number.parseInt(name, 10))) continue
    await rm(path, { force: true })
  }
}

function isOtherProcess(pid: number): boolean {
  if (!(pid > 0) || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errorCode(error) === 'EPERM'
  }
}

/** Missing folders are made at the end; what is there must be folders, inside. */
async function verifyFolders(jail: FileJail, path: string): Promise<void> {
  let folder = parentPath(path)
  while (folder !== '/' && (await lstatOrUndefined(join(jail.folder, folder))) === undefined) {
    folder = parentPath(folder)
  }
  const real = await jail.existing(folder)
  if (!(await stat(real)).isDirectory()) throw new NotDirectoryError(folder)
}

async function lstatOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

async function verifyRoom(jail: FileJail, path: string, bytes: number): Promise<void> {
  if (bytes === 0) return
  const { bavail, bsize } = await statfs(jail.folder)
  if (bavail * bsize < bytes) throw new NoSpaceError(path)
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
