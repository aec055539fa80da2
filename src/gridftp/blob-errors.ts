import { errorCode } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
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

/** What a storage throws for an error of the repository. */
export function translate(path: string, error: Error): Error {
  const translation = TRANSLATIONS[errorCode(error) ?? '']
  return translation === undefined ? error : translation(path, error)
}

/**
 * Passes on what a source gives.
 *
 * @yields the same bytes.
 * @throws what a storage throws for what the repository threw.
 */
export async function* translatedEach(
  path: string,
  source: AsyncIterable<Uint8Array>
): AsyncGenerator<Uint8Array> {
  try {
    yield* source
  } catch (error) {
    throw translate(path, toError(error))
  }
}

/** Runs something on the repository. @throws what a storage throws for what that threw. */
export async function translated<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw translate(path, toError(error))
  }
}
