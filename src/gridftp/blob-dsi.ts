import type { WriteBlockOptions } from '../chunks/types.ts'
import { errorCode } from '../lib/errors.ts'
import type { Range } from '../lib/range-set.ts'
import { toError } from '../lib/to-error.ts'
import type { LeafList } from '../metadata/leaf-list.ts'
import type { PublishVersionOptions } from '../metadata/publishing.ts'
import { namesVersion } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { OpenWriteOptions as RepositoryWriteOptions } from '../metadata/repository-types.ts'
import type { ReceivedStripe } from '../metadata/stripe-types.ts'
import type { StripedWriter } from '../metadata/striped-writer.ts'
import type { BlobDescription, NamespaceEntry } from '../metadata/types.ts'
import type { Upload } from '../metadata/upload.ts'
import type {
  DataStorageInterface,
  FileStatus,
  FtpUser,
  OpenWriteOptions,
  Published,
  PublishOptions,
  ReadHandle,
  WriteHandle
} from './dsi.ts'
import {
  DirectoryNotEmptyError,
  FileTooLargeError,
  InvalidPathError,
  IsDirectoryError,
  NoSpaceError,
  NotDirectoryError,
  PathExistsError,
  PathNotFoundError,
  ReadOnlyPathError,
  StorageConflictError,
  StorageUnavailableError,
  UploadAbandonedError,
  UploadLostError
} from './errors.ts'
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

/** One upload into the repository. */
class BlobUpload implements WriteHandle {
  readonly #path: string
  readonly #writer: Upload
  readonly #claim: QuotaClaim | undefined
  readonly #failed = new AbortController()

  constructor(path: string, writer: Upload, claim: QuotaClaim | undefined) {
    this.#path = path
    this.#writer = writer
    this.#claim = claim
    const { signal } = writer
    const fail = (): void => this.#failed.abort(translate(path, toError(signal.reason)))
    signal.addEventListener('abort', fail, { once: true })
  }

  get failed(): AbortSignal {
    return this.#failed.signal
  }

  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    await translated(this.#path, async () => {
      this.#claim?.cover(offset + bytes.byteLength)
      await this.#writer.write(offset, bytes, options)
    })
  }

  tryWrite(offset: number, bytes: Uint8Array): boolean {
    if (this.#claim?.covers(offset + bytes.byteLength) === false) return false
    return this.#writer.tryWrite(offset, bytes)
  }

  async checkpoint(): Promise<Iterable<Range>> {
    return translated(this.#path, async () => this.#writer.checkpoint())
  }

  async suspend(): Promise<void> {
    await this.#writer.suspend()
    this.#claim?.release()
  }

  readBack(
    offset: number,
    options: { signal?: AbortSignal | undefined } = {}
  ): AsyncIterable<Uint8Array> {
    return translatedEach(this.#path, this.#writer.readBack(offset, options))
  }

  async publish(options: PublishOptions = {}): Promise<Published> {
    return translated(this.#path, async () => {
      await this.#claim?.confirm()
      const { bytes, version } = await this.#writer.publish(options)
      this.#claim?.release()
      return { bytes, version }
    })
  }

  async abort(): Promise<void> {
    await this.#writer.abort()
    this.#claim?.release()
  }
}

/** One upload into the repository whose blocks data movers store. */
class StripedBlobUpload implements StripedWriteHandle {
  readonly description: BlobDescription
  readonly baseOffset: number
  readonly #path: string
  readonly #writer: StripedWriter
  readonly #claim: QuotaClaim | undefined
  readonly #failed = new AbortController()

  constructor(path: string, writer: StripedWriter, claim: QuotaClaim | undefined) {
    this.#path = path
    this.#writer = writer
    this.#claim = claim
    this.description = writer.description
    this.baseOffset = writer.baseOffset
    const { signal } = writer
    const fail = (): void => this.#failed.abort(translate(path, toError(signal.reason)))
    signal.addEventListener('abort', fail, { once: true })
  }

  get failed(): AbortSignal {
    return this.#failed.signal
  }

  async note(leaves: LeafList): Promise<Iterable<Range>> {
    return translated(this.#path, async () => this.#writer.note(leaves))
  }

  explain(error: Error): Error {
    return translate(this.#path, error)
  }

  async publish(
    stored: readonly ReceivedStripe[],
    options: PublishVersionOptions
  ): Promise<Published> {
    return translated(this.#path, async () => {
      for (const { endBytes } of stored) this.#claim?.cover(endBytes - this.baseOffset)
      await this.#claim?.confirm()
      const { bytes, version } = await this.#writer.publish(stored, options)
      this.#claim?.release()
      return { bytes, version }
    })
  }

  async suspend(): Promise<void> {
    await this.#writer.suspend()
    this.#claim?.release()
  }

  async abort(): Promise<void> {
    await this.#writer.abort()
    this.#claim?.release()
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

async function* translatedEach(
  path: string,
  source: AsyncIterable<Uint8Array>
): AsyncGenerator<Uint8Array> {
  try {
    yield* source
  } catch (error) {
    throw translate(path, toError(error))
  }
}

async function translated<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw translate(path, toError(error))
  }
}

type Translate = (path: string, cause: Error) => Error

const unavailable: Translate = (path, cause) =>
  new StorageUnavailableError(path, cause.message, { cause })
const notFound: Translate = (path, cause) => new PathNotFoundError(path, { cause })
const conflict: Translate = (path, cause) =>
  new StorageConflictError(path, cause.message, { cause })
const noSpace: Translate = (path, cause) => new NoSpaceError(path, { cause })

/** Codes of the repository and what they are for a file storage; what is not here goes on as it is. */
const TRANSLATIONS: Readonly<Record<string, Translate>> = {
  ERR_PATH_NOT_FOUND: notFound,
  ERR_UNKNOWN_BLOB: notFound,
  ERR_UNKNOWN_VERSION: notFound,
  ERR_PATH_EXISTS: (path, cause) => new PathExistsError(path, { cause }),
  ERR_NOT_DIRECTORY: (path, cause) => new NotDirectoryError(path, { cause }),
  ERR_IS_DIRECTORY: (path, cause) => new IsDirectoryError(path, { cause }),
  ERR_DIRECTORY_NOT_EMPTY: (path, cause) => new DirectoryNotEmptyError(path, { cause }),
  ERR_INVALID_PATH: (path, cause) => new InvalidPathError(path, cause.message, { cause }),
  ERR_TICKET_CONFLICT: conflict,
  ERR_SIZE_CONFLICT: conflict,
  ERR_VERSION_PINNED: (path, cause) => new ReadOnlyPathError(path, cause.message, { cause }),
  ERR_STORE_FULL: noSpace,
  ERR_BLOB_TOO_LARGE: (path, cause) => new FileTooLargeError(path, cause.message, { cause }),
  ENOSPC: noSpace,
  EDQUOT: noSpace,
  ERR_NO_PROVIDER: unavailable,
  ERR_TOO_MANY_REPLICAS: unavailable,
  ERR_NOT_ENOUGH_REPLICAS: unavailable,
  ERR_CHUNK_UNAVAILABLE: unavailable,
  ERR_CHUNK_LEASE_LOST: unavailable,
  ERR_PEER_UNREACHABLE: unavailable,
  ERR_PEER_TIMEOUT: unavailable,
  ERR_UPLOAD_LOST: (path, cause) => new UploadLostError(path, cause.message, { cause }),
  ERR_UPLOAD_TAKEN_OVER: conflict,
  ERR_UPLOAD_ABORTED: (path) => new UploadAbandonedError(path)
}

function translate(path: string, error: Error): Error {
  const translation = TRANSLATIONS[errorCode(error) ?? '']
  return translation === undefined ? error : translation(path, error)
}
