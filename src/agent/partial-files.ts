import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'

const PARTIAL_NAME = /^\.blobswarm-[0-9a-f]{8}\.partial$/

/**
 * Remembers the half-written files of pulls, which may be anywhere on this machine, so that the next start
 * removes what a crash left. A note is a symbolic link in a folder of its own: made and removed atomically.
 */
export class PartialFiles {
  readonly #folder: string
  readonly #log: Logger

  constructor(folder: string, log: Logger) {
    this.#folder = folder
    this.#log = log
  }

  /** Removes the files that are noted, and makes ready to note others. */
  async start(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#folder)) {
      const note = join(this.#folder, name)
      try {
        const file = await readlink(note)
        // Only what has our own temporary name is ever removed, whatever the folder holds.
        if (PARTIAL_NAME.test(basename(file))) await rm(file, { force: true })
        await rm(note)
      } catch (error) {
        this.#log.info(
          'the rest of a pull, noted in %s, could not be removed: %e',
          note,
          toError(error)
        )
      }
    }
  }

  /** Notes a file before it is made. */
  async note(file: string): Promise<void> {
    await symlink(file, this.#noteOf(file))
  }

  /** Forgets a file that is finished or gone. */
  async forget(file: string): Promise<void> {
    await rm(this.#noteOf(file), { force: true })
  }

  #noteOf(file: string): string {
    return join(this.#folder, basename(file).slice(1))
  }
}
