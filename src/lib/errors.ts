/**
 * Every expected failure of the project is a subclass of this one. Callers switch on `code`, which is
 * stable and listed in docs/errors.md; the message is for people and says what happened, with values.
 */
export class BlobswarmError extends Error {
  /** Stable identifier, `ERR_…`. */
  readonly code: string

  constructor(message: string, code: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** Thrown when something was asked of a part that has stopped or has not been started. */
export class NotRunningError extends BlobswarmError {
  constructor(what: string) {
    super(`${what} is not running`, 'ERR_NOT_RUNNING')
  }
}

/** Thrown when bytes from outside do not have the form that their format prescribes. */
export class MalformedError extends BlobswarmError {
  constructor(what: string, reason: string, options?: ErrorOptions) {
    super(`${what} is malformed: ${reason}`, 'ERR_MALFORMED', options)
  }
}

/** Thrown when a bounded resource (queue, memory budget, slots) has no room and waiting is no option. */
export class LimitExceededError extends BlobswarmError {
  readonly limit: number

  constructor(what: string, limit: number) {
    super(`${what} exceeds the limit of ${limit}`, 'ERR_LIMIT_EXCEEDED')
    this.limit = limit
  }
}

/** Reads the `code` of any thrown value: ours, Node's (`ENOSPC`) or undefined. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : undefined
}
