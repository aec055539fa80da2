import { BlobswarmError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'

/** Thrown for a wrong command line; exit code 2. */
export class UsageError extends BlobswarmError {
  constructor(message: string) {
    super(message, 'ERR_USAGE')
  }
}

/** Thrown when the configuration has an unknown key or an impossible value. */
export class ConfigError extends BlobswarmError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_CONFIG', options)
  }
}

/** Thrown when the agent's control socket does not answer, or stops doing so in the middle. */
export class AgentUnreachableError extends BlobswarmError {
  constructor(socket: string, reason: string, options?: ErrorOptions) {
    super(`${socket}: ${reason}`, 'ERR_AGENT_UNREACHABLE', options)
  }
}

/** Thrown when a target exists already and was not to be overwritten. */
export class FileExistsError extends BlobswarmError {
  constructor(file: string) {
    super(`${file} exists already (--force overwrites it)`, 'ERR_FILE_EXISTS')
  }
}

/** Thrown when a file of this machine cannot be read or written. */
export class LocalFileError extends BlobswarmError {
  constructor(file: string, reason: string, options?: ErrorOptions) {
    super(`${file}: ${reason}`, 'ERR_LOCAL_FILE', options)
  }
}

/** Thrown when `verify` found chunks that are missing or wrong. */
export class VerificationFailedError extends BlobswarmError {
  constructor(ref: string, missing: number, corrupt: number) {
    super(`${ref}: ${missing} chunks missing, ${corrupt} corrupt`, 'ERR_VERIFICATION_FAILED')
  }
}

/** Thrown when a listener cannot have its address. */
export class ListenError extends BlobswarmError {
  constructor(what: string, address: string, options: ErrorOptions) {
    super(
      `${what} cannot listen on ${address}: ${toError(options.cause).message}`,
      'ERR_LISTEN',
      options
    )
  }
}

/** Thrown when the data directory is in use by another agent, has a newer format, or cannot be read or written. */
export class DataDirectoryError extends BlobswarmError {
  constructor(directory: string, reason: string, options?: ErrorOptions) {
    super(`${directory}: ${reason}`, 'ERR_DATA_DIRECTORY', options)
  }
}

/** Thrown when a request of the control API is malformed or asks for what this agent's roles do not do. */
export class BadRequestError extends BlobswarmError {
  constructor(message: string) {
    super(message, 'ERR_BAD_REQUEST')
  }
}

/** Thrown when an image is larger than the cache may become. */
export class CacheTooSmallError extends BlobswarmError {
  readonly neededBytes: number
  readonly limitBytes: number

  constructor(ref: string, neededBytes: number, limitBytes: number) {
    super(
      `${ref} has ${neededBytes} bytes to keep, the cache of this agent may have ${limitBytes}`,
      'ERR_CACHE_TOO_SMALL'
    )
    this.neededBytes = neededBytes
    this.limitBytes = limitBytes
  }
}

/** Thrown when an image does not fit on the disk though all that may be evicted was. */
export class CacheFullError extends BlobswarmError {
  readonly neededBytes: number

  constructor(ref: string, neededBytes: number) {
    super(
      `${ref} needs ${neededBytes} bytes: there is nothing left to evict from the cache for them`,
      'ERR_CACHE_FULL'
    )
    this.neededBytes = neededBytes
  }
}

/** Thrown when images that are in use took the room of the cache for too long. */
export class CacheBusyError extends BlobswarmError {
  readonly limitBytes: number
  /** Images that are in use, some of them. */
  readonly users: readonly string[]

  constructor(image: string, limitBytes: number, users: readonly string[], waitedMs: number) {
    const limit = limitBytes === Infinity ? 'the disk' : `${limitBytes} bytes of cache`
    const seconds = Math.round(waitedMs / 1000)
    super(
      `${image} had no room in ${limit} for ${seconds} s: in use are ${users.join(', ')}`,
      'ERR_CACHE_BUSY'
    )
    this.limitBytes = limitBytes
    this.users = users
  }
}

/** Thrown when an image is to be dropped from the cache while it is pulled or exported. */
export class ImageInUseError extends BlobswarmError {
  constructor(ref: string) {
    super(`${ref} is in use and stays in the cache`, 'ERR_IMAGE_IN_USE')
  }
}

/** Thrown when an image is to be dropped from the cache that is not there. */
export class ImageNotCachedError extends BlobswarmError {
  constructor(ref: string) {
    super(`${ref} is not in the cache of this agent`, 'ERR_IMAGE_NOT_CACHED')
  }
}

/** An error that the agent answered a command with; `code` is the code it had there. */
export class AgentError extends BlobswarmError {}

/** Thrown when no member of the cluster is meant by what an operator named. */
export class UnknownMemberError extends BlobswarmError {
  constructor(name: string) {
    super(`no member begins with ${name.slice(0, 80)}`, 'ERR_UNKNOWN_MEMBER')
  }
}

/** Thrown when no token is meant that somebody could still join with. */
export class UnknownTokenError extends BlobswarmError {
  constructor(name: string) {
    super(`no open token begins with ${name.slice(0, 80)}`, 'ERR_UNKNOWN_TOKEN')
  }
}
