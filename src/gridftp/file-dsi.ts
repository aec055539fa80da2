import type { Dirent, Stats } from 'node:fs'
import {
  lstat,
  mkdir,
  readdir,
  realpath,
  rename,
  rmdir,
  stat,
  unlink,
  utimes
} from 'node:fs/promises'
import { join } from 'node:path'
import type { DataStorageInterface, FileStatus, OpenWriteOptions, ReadHandle } from './dsi.ts'
import { DirectoryNotEmptyError, PathExistsError, PathNotFoundError } from './errors.ts'
import { isNotThere, translateFileErrors } from './file-errors.ts'
import { FileJail } from './file-jail.ts'
import { openFileRead } from './file-read.ts'
import { FileUpload, removeStaleUploads, UPLOADS_FOLDER } from './file-upload.ts'
import { baseName, parentPath } from './path.ts'

/**
 * Plain files under one folder: the simplest storage, and the paper's baseline. Uploads are
 * collected in a hidden folder on the same disk and renamed into place when they are whole and
 * flushed.
 *
 * Symbolic links are followed as long as they stay inside the folder; others are not there. Only
 * programs on this machine can make links, never FTP.
 */
export class FileDsi implements DataStorageInterface {
  readonly #jail: FileJail

  private constructor(jail: FileJail) {
    this.#jail = jail
  }

  /** Opens a folder, makes it if need be, and removes what killed uploads left. */
  static async open(folder: string): Promise<FileDsi> {
    await mkdir(join(folder, UPLOADS_FOLDER), { recursive: true })
    const real = await realpath(folder)
    await removeStaleUploads(join(real, UPLOADS_FOLDER))
    return new FileDsi(new FileJail(real))
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    return await translateFileErrors(path, async () => {
      const real = await this.#jail.find(path)
      if (real === undefined) return undefined
      return statusOf(baseName(path), await stat(real))
    })
  }

  async *list(path: string): AsyncGenerator<FileStatus> {
    const entries = await translateFileErrors(path, async () => {
      const found: Dirent[] = await readdir(await this.#jail.existing(path), {
        withFileTypes: true
      })
      return new Map(found.map((entry) => [entry.name, entry.isSymbolicLink()]))
    })
    for (const name of [...entries.keys()].toSorted()) {
      const entry = path === '/' ? `/${name}` : `${path}/${name}`
      const status = this.#jail.isReserved(entry) ? undefined : await this.stat(entry)
      // Undefined: gone since, or a link that leads out.
      if (status !== undefined)
        yield entries.get(name) === true ? { ...status, isLink: true } : status
    }
  }

  async openRead(path: string): Promise<ReadHandle> {
    return await translateFileErrors(path, async () => {
      return await openFileRead(path, await this.#jail.existing(path))
    })
  }

  async openWrite(path: string, options: OpenWriteOptions): Promise<FileUpload> {
    return await translateFileErrors(
      path,
      async () => await FileUpload.open(this.#jail, path, options)
    )
  }

  async makeDirectory(path: string): Promise<void> {
    await translateFileErrors(path, async () => {
      if (path === '/') throw new PathExistsError(path)
      await mkdir(await this.#jail.entry(path))
    })
  }

  async removeDirectory(path: string): Promise<void> {
    await translateFileErrors(path, async () => {
      // The root holds the uploads and stays.
      if (path === '/') throw new DirectoryNotEmptyError(path)
      await rmdir(await this.#jail.entry(path))
    })
  }

  async removeFile(path: string): Promise<void> {
    await translateFileErrors(path, async () => await unlink(await this.#jail.entry(path)))
  }

  async rename(from: string, to: string): Promise<void> {
    await translateFileErrors(from, async () => {
      const source = await this.#jail.entry(from)
      if (await isNotThere(lstat(source))) throw new PathNotFoundError(from)
      const target = await this.#jail.entry(to)
      if (await isNotThere(lstat(join(target, '..')))) throw new PathNotFoundError(parentPath(to))
      await rename(source, target)
    })
  }

  async setModified(path: string, modifiedMs: number): Promise<void> {
    await translateFileErrors(path, async () => {
      const modified = new Date(modifiedMs)
      await utimes(await this.#jail.existing(path), modified, modified)
    })
  }
}

function statusOf(name: string, stats: Stats): FileStatus {
  const isDirectory = stats.isDirectory()
  return {
    name,
    type: isDirectory ? 'directory' : 'file',
    bytes: isDirectory ? 0 : stats.size,
    modifiedMs: stats.mtimeMs,
    readOnly: false,
    unique: `${stats.dev.toString(16)}-${stats.ino.toString(16)}`
  }
}
