import { BlobswarmError, errorCode } from '../lib/errors.ts'
import {
  DirectoryNotEmptyError,
  InvalidPathError,
  IsDirectoryError,
  NoSpaceError,
  NotDirectoryError,
  PathExistsError,
  PathNotFoundError,
  ReadOnlyPathError,
  StorageUnavailableError
} from './errors.ts'

/** Runs file operations and turns what the system says into errors of the storage. */
export async function translateFileErrors<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw translated(path, error)
  }
}

/** Tells whether a file operation failed because there is nothing; other failures are thrown. */
export async function isNotThere(operation: Promise<unknown>): Promise<boolean> {
  try {
    await operation
    return false
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return true
    throw error
  }
}

function translated(path: string, error: unknown): unknown {
  if (error instanceof BlobswarmError) return error
  const options = { cause: error }
  switch (errorCode(error)) {
    case 'ENOENT':
      return new PathNotFoundError(path, options)
    case 'EEXIST':
      return new PathExistsError(path, options)
    case 'ENOTDIR':
      return new NotDirectoryError(path, options)
    case 'EISDIR':
      return new IsDirectoryError(path, options)
    case 'ENOTEMPTY':
      return new DirectoryNotEmptyError(path, options)
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ReadOnlyPathError(path, 'permission denied', options)
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new NoSpaceError(path, options)
    case 'ENAMETOOLONG':
    case 'EINVAL':
    case 'ELOOP':
      return new InvalidPathError(path, 'the file system refuses it', options)
    case 'EIO':
    case 'EMFILE':
    case 'ENFILE':
      return new StorageUnavailableError(path, 'the file system fails', options)
    case undefined:
    default:
      return error
  }
}
