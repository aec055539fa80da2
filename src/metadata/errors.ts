import { BlobswarmError } from '../lib/errors.ts'
import type { Range } from '../lib/range-set.ts'
import type { NodeKey } from './tree-types.ts'
import type { BlobId, Version } from './types.ts'

/** Base of what is wrong with a path of the namespace; the caller is at fault. */
export abstract class NamespaceError extends BlobswarmError {
  readonly path: string

  constructor(message: string, code: string, path: string, options?: ErrorOptions) {
    super(message, code, options)
    this.path = path
  }
}

export class PathNotFoundError extends NamespaceError {
  constructor(path: string) {
    super(`${path}: no such file or directory`, 'ERR_PATH_NOT_FOUND', path)
  }
}

export class PathExistsError extends NamespaceError {
  constructor(path: string) {
    super(`${path}: exists already`, 'ERR_PATH_EXISTS', path)
  }
}

export class NotDirectoryError extends NamespaceError {
  constructor(path: string) {
    super(`${path}: not a directory`, 'ERR_NOT_DIRECTORY', path)
  }
}

export class IsDirectoryError extends NamespaceError {
  constructor(path: string) {
    super(`${path}: is a directory`, 'ERR_IS_DIRECTORY', path)
  }
}

export class DirectoryNotEmptyError extends NamespaceError {
  constructor(path: string) {
    super(`${path}: directory is not empty`, 'ERR_DIRECTORY_NOT_EMPTY', path)
  }
}

export class InvalidPathError extends NamespaceError {
  constructor(path: string, reason: string) {
    super(`invalid path ${JSON.stringify(path.slice(0, 120))}: ${reason}`, 'ERR_INVALID_PATH', path)
  }
}

/** Thrown for a blob that the version manager has never made. */
export class UnknownBlobError extends BlobswarmError {
  readonly blob: BlobId

  constructor(blob: BlobId) {
    super(`no blob ${blob}`, 'ERR_UNKNOWN_BLOB')
    this.blob = blob
  }
}

/** Thrown for a version that does not exist, is not published yet or was removed. */
export class UnknownVersionError extends BlobswarmError {
  readonly blob: BlobId
  readonly version: Version

  constructor(blob: BlobId, version: Version, reason = 'is not published') {
    super(`version ${version} of blob ${blob.slice(0, 16)} ${reason}`, 'ERR_UNKNOWN_VERSION')
    this.blob = blob
    this.version = version
  }
}

/** Thrown when the condition of a write does not hold (any more); somebody else was faster. */
export class TicketConflictError extends BlobswarmError {
  constructor(reason: string) {
    super(reason, 'ERR_TICKET_CONFLICT')
  }
}

/** Thrown when an append was cut on a size that is not the newest one; it is cut again. */
export class SizeConflictError extends BlobswarmError {
  readonly expected: number
  readonly actual: number

  constructor(expected: number, actual: number) {
    super(`${expected} bytes were expected, there are ${actual}`, 'ERR_SIZE_CONFLICT')
    this.expected = expected
    this.actual = actual
  }
}

/** Thrown when a request goes beyond what the metadata can express. */
export class MetadataLimitError extends BlobswarmError {
  constructor(what: string, actual: number, limit: number) {
    super(`${what} is ${actual}, at most ${limit}`, 'ERR_METADATA_LIMIT')
  }
}

/** A write that replaces a blob ends too far away: every chunk before its end costs a leaf. */
export class BlobTooLargeError extends BlobswarmError {
  readonly limitBytes: number

  constructor(bytes: number, limitBytes: number) {
    super(`${bytes} bytes are too many, at most ${limitBytes}`, 'ERR_BLOB_TOO_LARGE')
    this.limitBytes = limitBytes
  }
}

/** Thrown when a key already holds other bytes: a bug or an attack, and reported as such. */
export class NodeConflictError extends BlobswarmError {
  readonly key: NodeKey

  constructor(key: NodeKey) {
    super(
      `node ${key.blob.slice(0, 16)}/${key.version}/${key.offset}/${key.span} holds other bytes`,
      'ERR_NODE_CONFLICT'
    )
    this.key = key
  }
}

/** Thrown when a node does not follow from the ticket beside it; the putter is at fault. */
export class InvalidNodeError extends BlobswarmError {
  constructor(reason: string) {
    super(`tree node refused: ${reason}`, 'ERR_INVALID_NODE')
  }
}

/** Thrown when a node or page that must exist is nowhere to be found. */
export class MetadataMissingError extends BlobswarmError {
  constructor(what: string) {
    super(`${what} is missing from the metadata providers`, 'ERR_METADATA_MISSING')
  }
}

/** Thrown when a signature, its certificate or its role does not hold. */
export class UntrustedSignatureError extends BlobswarmError {
  constructor(reason: string) {
    super(`signature not trusted: ${reason}`, 'ERR_UNTRUSTED_SIGNATURE')
  }
}

/** Thrown when a writer gives up an upload; nothing was published. */
export class UploadAbortedError extends BlobswarmError {
  constructor(reason: string) {
    super(`upload given up: ${reason}`, 'ERR_UPLOAD_ABORTED')
  }
}

/**
 * Thrown when the durable state of the version manager cannot be read or written; this machine is
 * at fault.
 */
export class VersionStoreError extends BlobswarmError {
  constructor(what: string, options?: ErrorOptions) {
    super(`version store: ${what}`, 'ERR_VERSION_STORE', options)
  }
}

/** Thrown when a name already holds another record of the same sequence: a bug or an attack. */
export class RecordConflictError extends BlobswarmError {
  constructor(name: string, sequence: number) {
    super(`record ${name} holds another ${sequence}`, 'ERR_RECORD_CONFLICT')
  }
}

/** Thrown when a metadata provider cannot read or write its own disk; this machine is at fault. */
export class MetadataStoreError extends BlobswarmError {
  constructor(what: string, options?: ErrorOptions) {
    super(`metadata store: ${what}`, 'ERR_METADATA_STORE', options)
  }
}

/** Thrown when the journal of uploads cannot be read or written; this machine is at fault. */
export class UploadJournalError extends BlobswarmError {
  constructor(what: string, options?: ErrorOptions) {
    super(`upload journal: ${what}`, 'ERR_UPLOAD_JOURNAL', options)
  }
}

/** Thrown when a broken upload is to be continued that is not, or not wholly, there any more. */
export class UploadLostError extends BlobswarmError {
  /** The first range that is missing, in bytes of the file. */
  readonly start: number
  readonly end: number

  constructor({ start, end }: Range, reason: string) {
    super(`the broken upload has lost bytes ${start}-${end}: ${reason}`, 'ERR_UPLOAD_LOST')
    this.start = start
    this.end = end
  }
}

/** Thrown in an upload that is continued by a newer connection of its client. */
export class UploadTakenOverError extends BlobswarmError {
  constructor() {
    super('the upload is continued by another session of its user', 'ERR_UPLOAD_TAKEN_OVER')
  }
}

/** Thrown when a version that is pinned is to be removed. */
export class VersionPinnedError extends BlobswarmError {
  readonly blob: BlobId
  readonly version: Version

  constructor(blob: BlobId, version: Version) {
    super(`version ${version} of blob ${blob.slice(0, 16)} is pinned`, 'ERR_VERSION_PINNED')
    this.blob = blob
    this.version = version
  }
}

/** Thrown when two versions cannot be compared chunk by chunk. */
export class IncomparableVersionsError extends BlobswarmError {
  constructor(reason: string) {
    super(`the versions cannot be compared: ${reason}`, 'ERR_INCOMPARABLE_VERSIONS')
  }
}

/** Thrown when a collection cannot tell what must stay; it has deleted nothing. */
export class RootUnreadableError extends BlobswarmError {
  readonly blob: BlobId
  /** undefined where it is a leaf list of some version. */
  readonly version: Version | undefined

  constructor(blob: BlobId, version: Version | undefined, options?: ErrorOptions) {
    const what = version === undefined ? 'a leaf list' : `version ${version}`
    const cause = options?.cause instanceof Error ? `: ${options.cause.message}` : ''
    super(
      `nothing collected, ${what} of blob ${blob.slice(0, 16)} cannot be read${cause}`,
      'ERR_ROOT_UNREADABLE',
      options
    )
    this.blob = blob
    this.version = version
  }
}

/**
 * Thrown when versions are stored that are older than the version manager's state and unknown to
 * it: that state is not the one that they were published under. Nothing was deleted.
 */
export class StateLostError extends BlobswarmError {
  constructor(publishedMs: number, beganMs: number) {
    const [published, began] = [publishedMs, beganMs].map((ms) => new Date(ms).toISOString())
    super(
      `nothing collected, a version of ${published} is stored and the version manager, whose state began ${began}, does not know it`,
      'ERR_STATE_LOST'
    )
  }
}
