import type { NamespaceEntry } from '../metadata/namespace-types.ts'
import { namesVersion } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { OpenWriteOptions as RepositoryWriteOptions } from '../metadata/repository-types.ts'
import { translate, translated, translatedEach } from './blob-errors.ts'
import { BlobUpload, StripedBlobUpload } from './blob-uploads.ts'
import type {
  DataStorageInterface,
  FileStatus,
  FtpUser,
  OpenWriteOptions,
  ReadHandle,
  WriteHandle
} from './dsi.ts'
import { ReadOnlyPathError } from './errors.ts'
import type { QuotaClaim, Quotas } from './quotas.ts'
import type { StripedReadHandle, StripedWriteHandle } from './striped-storage.ts'

/**
 * The repository as a file storage: each file shows its newest version, `name@V` shows version V and is
 * read only. Versions are reached by name and not listed, so that whoever mirrors a folder does not
 * fetch every version that there ever was.
 */
export class BlobDsi implements DataStorageInterface {
  readonly #repository: Repository
  readonly #user: FtpUser
  readonly #quotas: Quotas | undefined

  /** @param quotas those of all users; without them nobody has one. */
  constructor(repository: Repository, user: FtpUser, quotas?: Quotas) {
    this.#repository = repository
    this.#user = user
    this.#quotas = quotas
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    return translated(path, async () => {
      const found = await this.#repository.stat(path)
      if (found === undefined) return undefined
      const isFixed = found.kind === 'file' && found.isFixed
      return { ...statusOf(found), name: lastPart(path), readOnly: isFixed }
    })
  }

  async *list(path: string): AsyncIterable<FileStatus> {
    const entries = this.#repository.list(path)
    for (;;) {
      const { value, done } = await translated(path, async () => entries.next())
      if (done === true) return
      yield statusOf(value)
    }
  }

  async openRead(path: string): Promise<ReadHandle> {
    return translated(path, async () => {
      const snapshot = await this.#repository.openRead(path)
      return {
        bytes: snapshot.record.bytes,
        read: (range, options) => translatedEach(path, snapshot.read(range, options)),
        giveBack: (bytes) => snapshot.giveBack(bytes),
        close: async () => {}
      }
    })
  }

  async openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle> {
    this.#mayChange(path)
    return translated(path, async () => {
      const claim = await this.#claim(path, options)
      return await releasedIfFailed(claim, async () => {
        const writing = await this.#writing(path, options)
        return new BlobUpload(path, await this.#repository.openWrite(path, writing), claim)
      })
    })
  }

  async openStripedRead(path: string): Promise<StripedReadHandle> {
    return translated(path, async () => {
      const { envelope, record } = await this.#repository.record(path)
      return {
        bytes: record.bytes,
        record: envelope,
        explain: (error) => translate(path, error)
      }
    })
  }

  async openStripedWrite(path: string, options: OpenWriteOptions): Promise<StripedWriteHandle> {
    this.#mayChange(path)
    return translated(path, async () => {
      const claim = await this.#claim(path, options)
      return await releasedIfFailed(claim, async () => {
        const writing = await this.#writing(path, options)
        const writer = await this.#repository.openStripedWrite(path, writing)
        return new StripedBlobUpload(path, writer, claim)
      })
    })
  }

  async makeDirectory(path: string): Promise<void> {
    this.#mayChange(path)
    await translated(path, async () => this.#repository.makeDirectory(path))
  }

  async removeDirectory(path: string): Promise<void> {
    await translated(path, async () => this.#repository.remove(path, 'directory'))
  }

  async removeFile(path: string): Promise<void> {
    await translated(path, async () => {
      await this.#repository.forgetUpload({ user: this.#user.name, path })
      await this.#repository.remove(path, 'file')
    })
  }

  async rename(from: string, to: string): Promise<void> {
    this.#mayChange(from)
    this.#mayChange(to)
    await translated(from, async () => this.#repository.rename(from, to))
  }

  async setModified(path: string, modifiedMs: number): Promise<void> {
    this.#mayChange(path)
    await translated(path, async () => this.#repository.setModified(path, modifiedMs))
  }

  /** How an upload is opened. One that begins anew takes the place of a broken one. */
  async #writing(path: string, options: OpenWriteOptions): Promise<RepositoryWriteOptions> {
    const note = `GridFTP, ${this.#user.name}`
    const { isRestartable = false, continuing, ...writing } = options
    const owner = { user: this.#user.name, path }
    const restart = isRestartable ? { user: owner.user, continuing } : undefined
    const isAnew = options.mode === 'replace' && (continuing ?? []).length === 0
    if (isAnew) await this.#repository.forgetUpload(owner)
    return { ...writing, restart, note }
  }

  /** What an upload may add, if its user has a quota. @throws {QuotaExceededError} */
  async #claim(path: string, options: OpenWriteOptions): Promise<QuotaClaim | undefined> {
    if (this.#user.quotaBytes === undefined || this.#quotas === undefined) return undefined
    const { mode, expectedBytes, continuing = [] } = options
    const there = await this.stat(path)
    const ends = continuing.map(({ end }) => end)
    const expected = Math.max(expectedBytes ?? 0, ...ends)
    const request = { user: this.#user, path, mode, there, expectedBytes: expected }
    return await this.#quotas.begin(request)
  }

  #mayChange(path: string): void {
    if (namesVersion(path))
      throw new ReadOnlyPathError(path, 'names that end in @digits are versions')
  }
}

async function releasedIfFailed<T>(
  claim: QuotaClaim | undefined,
  open: () => Promise<T>
): Promise<T> {
  try {
    return await open()
  } catch (error) {
    claim?.release()
    throw error
  }
}

function statusOf(entry: NamespaceEntry): FileStatus {
  const { path, modifiedMs } = entry
  if (entry.kind === 'directory') {
    const unique = `d${path}`
    return {
      name: lastPart(path),
      type: 'directory',
      bytes: 0,
      modifiedMs,
      readOnly: false,
      unique
    }
  }
  const { blob, version, bytes } = entry
  const unique = `${blob.slice(0, 24)}-${version}`
  return { name: lastPart(path), type: 'file', bytes, modifiedMs, readOnly: false, unique }
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
