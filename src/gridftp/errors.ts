import { BlobswarmError } from '../lib/errors.ts'

/** What a storage refuses or cannot do; replies.ts maps each `code` to an FTP reply. */
export abstract class StorageError extends BlobswarmError {
  readonly path: string

  constructor(message: string, code: string, path: string, options?: ErrorOptions) {
    super(message, code, options)
    this.path = path
  }
}

/** There is nothing at the path. */
export class PathNotFoundError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: no such file or directory`, 'ERR_FTP_NOT_FOUND', path, options)
  }
}

/** There is something at the path already. */
export class PathExistsError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: exists already`, 'ERR_FTP_EXISTS', path, options)
  }
}

/** A file stands where a directory is needed. */
export class NotDirectoryError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: not a directory`, 'ERR_FTP_NOT_DIRECTORY', path, options)
  }
}

/** A directory stands where a file is needed. */
export class IsDirectoryError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: is a directory`, 'ERR_FTP_IS_DIRECTORY', path, options)
  }
}

/** Only empty directories can be removed. */
export class DirectoryNotEmptyError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: directory is not empty`, 'ERR_FTP_NOT_EMPTY', path, options)
  }
}

/** The path names a fixed version, or the user has no right to change it. */
export class ReadOnlyPathError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: ${reason}`, 'ERR_FTP_READ_ONLY', path, options)
  }
}

/** The path leaves the namespace, is too long or has bytes that names cannot have. */
export class InvalidPathError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`invalid path: ${reason}`, 'ERR_FTP_INVALID_PATH', path, options)
  }
}

/** The storage or the quota has no room. */
export class NoSpaceError extends StorageError {
  constructor(path: string, options?: ErrorOptions) {
    super(`${path}: no space left`, 'ERR_FTP_NO_SPACE', path, options)
  }
}

/** The upload ends beyond what a file may have. */
export class FileTooLargeError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: file is too large: ${reason}`, 'ERR_FTP_TOO_LARGE', path, options)
  }
}

/** The upload would take its user beyond the quota; nothing was published. */
export class QuotaExceededError extends StorageError {
  readonly quotaBytes: number
  readonly usedBytes: number

  constructor(
    path: string,
    {
      quotaBytes,
      usedBytes,
      neededBytes
    }: { readonly quotaBytes: number; readonly usedBytes: number; readonly neededBytes: number }
  ) {
    super(
      `${path}: quota of ${quotaBytes} bytes exceeded, ${usedBytes} are used and ` +
        `${neededBytes} more needed`,
      'ERR_FTP_QUOTA',
      path
    )
    this.quotaBytes = quotaBytes
    this.usedBytes = usedBytes
  }
}

/** Somebody else changed the path in between. */
export class StorageConflictError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: ${reason}`, 'ERR_FTP_CONFLICT', path, options)
  }
}

/** The storage behind the server cannot be reached or has stopped; worth trying again later. */
export class StorageUnavailableError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: storage is unavailable: ${reason}`, 'ERR_FTP_UNAVAILABLE', path, options)
  }
}

/** The client went away before its upload was complete; nothing was published. */
export class UploadAbandonedError extends StorageError {
  constructor(path: string) {
    super(`${path}: upload abandoned by its client, nothing published`, 'ERR_FTP_ABANDONED', path)
  }
}

/** A broken upload cannot be continued: it, or a part of it, is not there any more. */
export class UploadLostError extends StorageError {
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(
      `${path}: cannot continue the upload: ${reason}. Send the whole file.`,
      'ERR_FTP_UPLOAD_LOST',
      path,
      options
    )
  }
}

/**
 * A data connection could not be opened, was cut, stood still or carried something out of
 * order.
 */
export class DataChannelError extends BlobswarmError {
  /** 425: it was never opened; 426: it broke during the transfer. */
  readonly replyCode: 425 | 426

  constructor(replyCode: 425 | 426, message: string, options?: ErrorOptions) {
    super(message, 'ERR_FTP_DATA_CHANNEL', options)
    this.replyCode = replyCode
  }
}

/** The upload ended in order but brought fewer or more bytes than its client had announced. */
export class UploadIncompleteError extends BlobswarmError {
  readonly expected: number
  readonly actual: number

  constructor(expected: number, actual: number) {
    super(
      `${actual} bytes arrived where ALLO announced ${expected}, nothing published`,
      'ERR_FTP_INCOMPLETE'
    )
    this.expected = expected
    this.actual = actual
  }
}

/** The transfer was ended by ABOR, by its client going away or by the server stopping. */
export class TransferAbortedError extends BlobswarmError {
  constructor(reason: string) {
    super(`transfer aborted: ${reason}`, 'ERR_FTP_TRANSFER_ABORTED')
  }
}

/** The storage has taken or given nothing for too long. */
export class StorageStalledError extends BlobswarmError {
  constructor(timeoutMs: number) {
    super(`storage stood still for ${timeoutMs} ms`, 'ERR_FTP_STORAGE_STALLED')
  }
}

/** A command cannot be carried out as it was given; the reply says why. */
export class CommandRefusedError extends BlobswarmError {
  readonly replyCode: number

  constructor(replyCode: number, message: string) {
    super(message, 'ERR_FTP_REFUSED')
    this.replyCode = replyCode
  }
}

/** The file of users cannot be read or has a line that is not a user. */
export class UsersFileError extends BlobswarmError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_FTP_USERS_FILE', options)
  }
}

/** The storage gave fewer or more bytes than the range it was asked for. */
export class StorageTruncatedError extends BlobswarmError {
  readonly expected: number
  readonly actual: number

  constructor(expected: number, actual: number) {
    super(`storage gave ${actual} of ${expected} bytes`, 'ERR_FTP_STORAGE_TRUNCATED')
    this.expected = expected
    this.actual = actual
  }
}

/** The upload is not what its client announced by SCKS; nothing was published. */
export class ChecksumMismatchError extends BlobswarmError {
  readonly expected: string
  readonly actual: string

  constructor(algorithm: string, expected: string, actual: string) {
    super(
      `INCORRECT_CHECKSUM: ${algorithm} is ${actual}, announced was ${expected}, nothing published`,
      'ERR_FTP_CHECKSUM'
    )
    this.expected = expected
    this.actual = actual
  }
}

/**
 * The sum that SCKS announced cannot be checked: blocks came out of order, and the storage cannot
 * show what it has before it is published. Nothing was published.
 */
export class ChecksumUnknownError extends BlobswarmError {
  constructor(algorithm: string) {
    super(
      `INCORRECT_CHECKSUM: blocks came out of order, ${algorithm} is unknown, nothing published`,
      'ERR_FTP_CHECKSUM_UNKNOWN'
    )
  }
}

/** A data mover could not carry its stripe of a transfer; nothing of it was published. */
export class StripeFailedError extends BlobswarmError {
  readonly replyCode: 425 | 426 | 451
  /** Number of the stripe, from 0. */
  readonly stripe: number
  readonly mover: string

  constructor(
    replyCode: 425 | 426 | 451,
    stripe: { readonly index: number; readonly count: number; readonly mover: string },
    cause: Error
  ) {
    const { index, count, mover } = stripe
    super(
      `Stripe ${index} of ${count} (data mover ${mover.slice(-8)}) failed: ${cause.message}`,
      'ERR_FTP_STRIPE',
      { cause }
    )
    this.replyCode = replyCode
    this.stripe = index
    this.mover = mover
  }
}
