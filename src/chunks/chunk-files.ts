import { toHex } from '../lib/bytes.ts'
import { BlobswarmError, errorCode } from '../lib/errors.ts'
import { type FileLayer, readFully, syncFolder, writeFully } from '../lib/file-layer.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { CHUNK_FOLDERS, type DiskLayout } from './disk-layout.ts'
import { StoreFailedError, StoreFullError } from './errors.ts'
import type { ChunkId, Durability } from './types.ts'

const FOLDERS_AT_A_TIME = 16

/** A chunk file found on the disk. */
export interface FoundChunk {
  readonly id: ChunkId
  readonly bytes: number
}

/**
 * Chunks as files. A file appears under its final name only when all of its bytes are written (and,
 * with durability `fsync`, on the disk). Whoever calls sees to it that nothing else happens to the
 * same chunk at the same time.
 */
export class ChunkFiles {
  readonly #files: FileLayer
  readonly #layout: DiskLayout
  readonly #isDurable: boolean
  /** Renames of many chunks share one flush, which for a journalling file system is one commit. */
  readonly #folderSync: GroupCommit<string>
  /** Folders that are there, or being made. */
  readonly #folders = new Map<string, Promise<void>>()
  #nextTemporary = 0

  constructor(files: FileLayer, layout: DiskLayout, durability: Durability) {
    this.#files = files
    this.#layout = layout
    this.#isDurable = durability === 'fsync'
    this.#folderSync = new GroupCommit((folders) => this.#syncFolders(folders))
  }

  /**
   * Writes a chunk and resolves when it is durable.
   *
   * @throws {StoreFullError | StoreFailedError} and leaves no file.
   */
  async write(id: ChunkId, bytes: Uint8Array): Promise<void> {
    const temporary = `${this.#layout.tmp}/${this.#nextTemporary++}`
    const path = this.#layout.pathOf(id)
    let written = temporary
    try {
      await this.#makeFolder(this.#layout.folderOf(id))
      await this.#writeFile(temporary, bytes)
      await this.#files.rename(temporary, path)
      written = path
      if (this.#isDurable) await this.#folderSync.add(this.#layout.folderOf(id))
    } catch (error) {
      await this.#unlinkQuietly(written)
      throw this.#translate(`writing chunk ${shortHex(id)}`, error, bytes.byteLength)
    }
  }

  /**
   * Reads up to `length` bytes of a chunk, fewer if the file is shorter.
   *
   * @returns undefined if there is no such file.
   * @throws {StoreFailedError} if the disk cannot read it.
   */
  async read(id: ChunkId, length: number): Promise<Uint8Array | undefined> {
    try {
      const file = await this.#files.open(this.#layout.pathOf(id), 'r')
      try {
        // Not from Node's pool and not cleared first: every byte that is handed out was read.
        const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
        const came = await readFully(this.#files, file, bytes)
        return came === length ? bytes : bytes.subarray(0, came)
      } finally {
        await this.#files.close(file)
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw this.#translate(`reading chunk ${shortHex(id)}`, error, 0)
    }
  }

  /** Removes a chunk; harmless if there is none. @throws {StoreFailedError} */
  async remove(id: ChunkId): Promise<void> {
    await this.#change(`removing chunk ${shortHex(id)}`, () =>
      this.#files.unlink(this.#layout.pathOf(id))
    )
  }

  /** Moves a chunk out of the way, for people to look at. @throws {StoreFailedError} */
  async quarantine(id: ChunkId): Promise<void> {
    await this.#change(`moving chunk ${shortHex(id)} away`, () =>
      this.#files.rename(this.#layout.pathOf(id), this.#layout.corruptPathOf(id))
    )
  }

  /** Number of chunks that were moved out of the way. */
  async quarantinedCount(): Promise<number> {
    return (await this.#files.list(this.#layout.corrupt)).length
  }

  /** Removes what writes left that a crash cut off. */
  async clearTemporary(): Promise<void> {
    for (const name of await this.#files.list(this.#layout.tmp)) {
      await this.#files.unlink(`${this.#layout.tmp}/${name}`)
    }
  }

  /**
   * Finds all chunks. Empty files, which a power cut can leave with durability `memory`, are
   * removed. A process that was killed may have left names that no flush has made durable; a chunk
   * that is found counts as acknowledged, so they are flushed now.
   *
   * @yields the chunks of one folder after the other.
   */
  async *scan(): AsyncGenerator<FoundChunk[], void> {
    const there = new Set(await this.#files.list(this.#layout.chunks))
    if (this.#isDurable) await syncFolder(this.#files, this.#layout.chunks)
    for (const folder of CHUNK_FOLDERS.filter((name) => there.has(name))) {
      const path = `${this.#layout.chunks}/${folder}`
      this.#folders.set(path, Promise.resolve())
      if (this.#isDurable) await syncFolder(this.#files, path)
      const names = await this.#files.list(path)
      const ids = names.flatMap((name) => this.#layout.idOf(folder, name) ?? [])
      const sizes = await this.#files.sizesOf(ids.map((id) => this.#layout.pathOf(id)))
      const found = ids.map((id, at) => ({ id, bytes: sizes[at] ?? 0 }))
      for (const { id, bytes } of found) if (bytes === 0) await this.remove(id)
      yield found.filter(({ bytes }) => bytes > 0)
    }
  }

  /** Makes a folder, once, and makes its name durable before anything goes into it. */
  async #makeFolder(path: string): Promise<void> {
    const known = this.#folders.get(path)
    if (known !== undefined) return await known
    const making = this.#files
      .makeFolder(path)
      .then(() => (this.#isDurable ? this.#folderSync.add(this.#layout.chunks) : undefined))
    this.#folders.set(path, making)
    try {
      await making
    } catch (error) {
      this.#folders.delete(path)
      throw error
    }
  }

  async #writeFile(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.#files.open(path, 'w')
    try {
      await writeFully(this.#files, file, bytes)
      if (this.#isDurable) await this.#files.fsync(file)
    } finally {
      await this.#files.close(file)
    }
  }

  async #syncFolders(folders: readonly string[]): Promise<void> {
    const distinct = Array.from(new Set(folders))
    for (let from = 0; from < distinct.length; from += FOLDERS_AT_A_TIME) {
      const batch = distinct.slice(from, from + FOLDERS_AT_A_TIME)
      await Promise.all(batch.map((folder) => syncFolder(this.#files, folder)))
    }
  }

  async #change(what: string, change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw this.#translate(what, error, 0)
    }
  }

  async #unlinkQuietly(path: string): Promise<void> {
    try {
      await this.#files.unlink(path)
    } catch {
      // The failure that led here is the one to report; a leftover in tmp goes at the next start.
    }
  }

  #translate(what: string, error: unknown, neededBytes: number): BlobswarmError {
    if (error instanceof BlobswarmError) return error
    const code = errorCode(error)
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      return new StoreFullError(this.#layout.directory, neededBytes, { cause: error })
    }
    return new StoreFailedError(`${what} in ${this.#layout.directory}`, { cause: error })
  }
}

function shortHex(id: ChunkId): string {
  return toHex(id.subarray(0, 8))
}
