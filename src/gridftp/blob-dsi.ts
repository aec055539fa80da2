import { errorCode } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import type { BlobWriter } from '../metadata/blob-writer.ts'
import { namesVersion } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import type { NamespaceEntry } from '../metadata/types.ts'
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
  InvalidPathError,
  IsDirectoryError,
  NoSpaceError,
  NotDirectoryError,
  PathExistsError,
  PathNotFoundError,
  ReadOnlyPathError,
  StorageConflictError,
  StorageUnavailableError,
  UploadAbandonedError
} from './errors.ts'

/**
 * The repository as a file storage: each file shows its newest version, `name@V` shows version V and is
 * read only. Versions are reached by name and not listed, so that whoever mirrors a folder does not
 * fetch every version that there ever was.
 */
export class BlobDsi implements DataStorageInterface {
  readonly #repository: Repository
  readonly #user: FtpUser

  constructor(repository: Repository, user: FtpUser) {
    this.#repository = repository
    this.#user = user
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
        close: async () => {}
      }
    })
  }

  async openWrite(path: string, options: OpenWriteOptions): Promise<WriteHandle> {
    this.#mayChange(path)
    return translated(path, async () => {
      const note = `GridFTP, ${this.#user.name}`
      return new BlobUpload(path, await this.#repository.openWrite(path, { ...options, note }))
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
    await translated(path, async () => this.#repository.remove(path, 'file'))
  }

  async rename(from: string, to: string): Promise<void> {
    this.#mayChange(from)
    this.#mayChange(to)
    await translated(from, async () => this.#repository.rename(from, to))
  }

  #mayChange(path: string): void {
    if (namesVersion(path))
      throw new ReadOnlyPathError(path, 'names that end in @digits are versions')
  }
}

/** One upload into the repository. */
class BlobUpload implements WriteHandle {
  readonly #path: string
  readonly #writer: BlobWriter

  constructor(path: string, writer: BlobWriter) {
    this.#path = path
    this.#writer = writer
  }

  async write(
    offset: number,
    bytes: Uint8Array,
    options: { signal?: AbortSignal | undefined } = {}
  ): Promise<void> {
    await translated(this.#path, async () => this.#writer.write(offset, bytes, options))
  }

  async publish(options: PublishOptions = {}): Promise<Published> {
    return translated(this.#path, async () => {
      const { bytes, version } = await this.#writer.publish(options)
      return { bytes, version }
    })
  }

  async abort(): Promise<void> {
    await this.#writer.abort()
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
  ENOSPC: noSpace,
  EDQUOT: noSpace,
  ERR_NO_PROVIDER: unavailable,
  ERR_TOO_MANY_REPLICAS: unavailable,
  ERR_NOT_ENOUGH_REPLICAS: unavailable,
  ERR_CHUNK_UNAVAILABLE: unavailable,
  ERR_CHUNK_LEASE_LOST: unavailable,
  ERR_PEER_UNREACHABLE: unavailable,
  ERR_PEER_TIMEOUT: unavailable,
  ERR_UPLOAD_ABORTED: (path) => new UploadAbandonedError(path)
}

function translate(path: string, error: Error): Error {
  const translation = TRANSLATIONS[errorCode(error) ?? '']
  return translation === undefined ? error : translation(path, error)
}
