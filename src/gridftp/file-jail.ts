import { realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { errorCode } from '../lib/errors.ts'
import { InvalidPathError, PathNotFoundError } from './errors.ts'
import { baseName, parentPath } from './path.ts'

/** Names that start like this at the top of the folder are ours. */
export const RESERVED_PREFIX = '.blobswarm-'

/** Maps paths of the storage onto real ones and lets no symbolic link lead out of the folder. */
export class FileJail {
  /** The folder itself, free of links. */
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  /** Tells whether a path is one of our own hidden folders or below it. */
  isReserved(path: string): boolean {
    return path.startsWith(`/${RESERVED_PREFIX}`)
  }

  /**
   * Real path of something that exists, its links followed; undefined if it does not, or leads
   * out.
   */
  async find(path: string): Promise<string | undefined> {
    if (this.isReserved(path)) return undefined
    try {
      const real = await realpath(join(this.folder, path))
      return this.#isInside(real) ? real : undefined
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
      throw error
    }
  }

  /** As `find`. @throws {PathNotFoundError} if there is nothing. */
  async existing(path: string): Promise<string> {
    const real = await this.find(path)
    if (real === undefined) throw new PathNotFoundError(path)
    return real
  }

  /**
   * Real path of a directory entry, there or not: the links of its folder are followed, its own
   * is not.
   *
   * @throws {PathNotFoundError} if its folder is not there.
   */
  async entry(path: string): Promise<string> {
    this.verifyAllowed(path)
    const folder = await this.find(parentPath(path))
    if (folder === undefined) throw new PathNotFoundError(parentPath(path))
    return join(folder, baseName(path))
  }

  /** @throws {InvalidPathError} for our own names. */
  verifyAllowed(path: string): void {
    if (this.isReserved(path)) throw new InvalidPathError(path, 'the name is reserved')
  }

  #isInside(real: string): boolean {
    return real === this.folder || real.startsWith(this.folder + sep)
  }
}
