import { toHex } from '../lib/bytes.ts'
import { BlobswarmError, errorCode } from '../lib/errors.ts'
import { ChunkUnreadableError, StoreFailedError, StoreFullError } from './errors.ts'
import type { ChunkId } from './types.ts'

/** What a disk says that cannot give some bytes, while others may be well. */
const UNREADABLE = new Set(
  'EIO EUCLEAN EBADMSG ENODATA EREMOTEIO EACCES EPERM EISDIR ENOTDIR ELOOP ENXIO'.split(' ')
)

/** Tells whether the disk, or its quota, is full. */
export function isFullDisk(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** What callers of a store are told of a failure of its disk. */
export function translateDiskError(
  what: string,
  error: unknown,
  { directory, neededBytes = 0 }: { readonly directory: string; readonly neededBytes?: number }
): BlobswarmError {
  if (error instanceof BlobswarmError) return error
  if (isFullDisk(error)) return new StoreFullError(directory, neededBytes, { cause: error })
  return new StoreFailedError(`${what} in ${directory}`, { cause: error })
}

/** The same when a chunk was read from `path`: the chunk may be what is bad, or the machine. */
export function translateReadError(id: ChunkId, path: string, error: unknown): BlobswarmError {
  if (error instanceof BlobswarmError) return error
  if (UNREADABLE.has(errorCode(error) ?? '')) {
    return new ChunkUnreadableError(toHex(id), path, { cause: error })
  }
  return new StoreFailedError(`reading chunk ${shortHex(id)} from ${path}`, { cause: error })
}

/** The beginning of an id, for messages. */
export function shortHex(id: ChunkId): string {
  return toHex(id.subarray(0, 8))
}
