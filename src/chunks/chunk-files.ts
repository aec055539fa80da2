import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode } from '../lib/errors.ts'
import { type FileLayer, readFully, syncFolder, writeFully } from '../lib/file-layer.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import type { ChunkDisk, ChunkPlace } from './chunk-disk.ts'
import type { ChunkIndex, IndexEntry } from './chunk-index.ts'
import { shortHex, translateDiskError, translateReadError } from './disk-errors.ts'
import { CHUNK_FOLDERS, type DiskLayout } from './disk-layout.ts'
import type { ChunkId } from './types.ts'

const FOLDERS_AT_A_TIME = 16

const FLUSHES_AT_A_TIME = 16
/** A chunk's own file tells all. */
const PLACE: ChunkPlace = { segment: 0, offset: 0 }

export interface ChunkFilesComponents {
  readonly files: FileLayer
  readonly layout: DiskLayout
  readonly index: ChunkIndex
}

export interface ChunkFilesOptions {
  /** Whether a chunk is on the disk when its write resolves. */
  readonly isDurable: boolean
  /** Whether what is found may be in memory only, and has to be flushed. @default false */
  readonly isUnflushed?: boolean | undefined
}

/**
 * Chunks as files, the layout of stores that were made before there were segments. A file appears
 * under its final name only when all of its bytes are written (and, if asked for, on the disk).
 */
export class ChunkFiles implements ChunkDisk {
  readonly deadBytes = 0
  readonly #files: FileLayer
  readonly #layout: DiskLayout
  readonly #index: ChunkIndex
  readonly #isDurable: boolean
  readonly #isUnflushed: boolean
  /** Renames of many chunks share one flush, which for a journalling file system is one commit. */
  readonly #folderSync: GroupCommit<string>
  /** Folders that are there, or being made. */
  readonly #folders = new Map<string, Promise<void>>()
  #nextTemporary = 0

  constructor(components: ChunkFilesComponents, options: ChunkFilesOptions) {
    this.#files = components.files
    this.#layout = components.layout
    this.#index = components.index
    this.#isDurable = options.isDurable
    this.#isUnflushed = options.isUnflushed === true
    this.#folderSync = new GroupCommit((folders) => this.#syncFolders(folders))
  }

  async write(id: ChunkId, bytes: Uint8Array): Promise<ChunkPlace> {
    const temporary = `${this.#layout.tmp}/${this.#nextTemporary++}`
    const path = this.#layout.pathOf(id)
    let written = temporary
    try {
      await this.#makeFolder(this.#layout.folderOf(id))
      await this.#writeFile(temporary, bytes)
      await this.#files.rename(temporary, path)
      written = path
      if (this.#isDurable) await this.#folderSync.add(this.#layout.folderOf(id))
      return PLACE
    } catch (error) {
      await this.#unlinkQuietly(written)
      const { directory } = this.#layout
      const neededBytes = bytes.byteLength
      throw translateDiskError(`writing chunk ${shortHex(id)}`, error, { directory, neededBytes })
    }
  }

  async read(id: ChunkId, { bytes: length }: IndexEntry): Promise<Uint8Array | undefined> {
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
      throw translateReadError(id, this.pathOf(id), error)
    }
  }

  async remove(id: ChunkId): Promise<void> {
    await this.#change(`removing chunk ${shortHex(id)}`, () =>
      this.#files.unlink(this.#layout.pathOf(id))
    )
  }

  async quarantine(id: ChunkId): Promise<void> {
    await this.#change(`moving chunk ${shortHex(id)} away`, () =>
      this.#files.rename(this.#layout.pathOf(id), this.#layout.corruptPathOf(id))
    )
  }

  makeRoom(): void {
    // Deleting a file gives its space back at once.
  }

  async reclaim(): Promise<void> {
    // A deleted file's space is back at once.
  }

  pathOf(id: ChunkId): string {
    return this.#layout.pathOf(id)
  }

  async close(): Promise<void> {
    // No file is open between calls.
  }

  /**
   * Empty files, which a power cut can leave with durability `memory`, are removed. A process that
   * was killed may have left names that no flush has made durable; a chunk that is found counts as
   * acknowledged, so they are flushed now.
   */
  async load(): Promise<void> {
    const there = new Set(await this.#files.list(this.#layout.chunks))
    if (this.#isDurable) await syncFolder(this.#files, this.#layout.chunks)
    for (const folder of CHUNK_FOLDERS.filter((name) => there.has(name))) {
      const path = `${this.#layout.chunks}/${folder}`
      this.#folders.set(path, Promise.resolve())
      const names = await this.#files.list(path)
      const ids = names.flatMap((name) => this.#layout.idOf(folder, name) ?? [])
      if (this.#isDurable && this.#isUnflushed) await this.#flush(ids)
      if (this.#isDurable) await syncFolder(this.#files, path)
      const sizes = await this.#files.sizesOf(ids.map((id) => this.#layout.pathOf(id)))
      for (const [at, id] of ids.entries()) {
        const bytes = sizes[at] ?? 0
        if (bytes === 0) await this.remove(id)
        else this.#index.set(id, { bytes, isVerified: false, ...PLACE })
      }
    }
  }

  async #flush(ids: readonly ChunkId[]): Promise<void> {
    await forEachConcurrently(ids, FLUSHES_AT_A_TIME, async (id) => {
      const file = await this.#files.open(this.#layout.pathOf(id), 'r')
      try {
        await this.#files.fsync(file)
      } finally {
        await this.#files.close(file)
      }
    })
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
      if (errorCode(error) !== 'ENOENT') {
        throw translateDiskError(what, error, { directory: this.#layout.directory })
      }
    }
  }

  async #unlinkQuietly(path: string): Promise<void> {
    try {
      await this.#files.unlink(path)
    } catch {
      // The failure that led here is the one to report; a leftover in tmp goes at the next start.
    }
  }
}
