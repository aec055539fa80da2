import { errorCode } from '../lib/errors.ts'

/** Done. */
export const EXIT_DONE = 0
/** Failed in a way that no other code names. */
export const EXIT_FAILED = 1
/** Wrong command line, configuration or request. */
export const EXIT_USAGE = 2
/** What was named does not exist. */
export const EXIT_NOT_FOUND = 3
/** Conflicts with what is there, or is in use. */
export const EXIT_CONFLICT = 4
/** Bytes or signatures are not what they should be. */
export const EXIT_INTEGRITY = 5
/** The agent or the cluster cannot be reached. */
export const EXIT_UNREACHABLE = 6

const EXIT_OF_CODE: Readonly<Record<string, number>> = {
  ERR_USAGE: EXIT_USAGE,
  ERR_CONFIG: EXIT_USAGE,
  ERR_BAD_REQUEST: EXIT_USAGE,
  ERR_INVALID_PATH: EXIT_USAGE,
  ERR_INCOMPARABLE_VERSIONS: EXIT_USAGE,
  ERR_PATH_NOT_FOUND: EXIT_NOT_FOUND,
  ERR_UNKNOWN_BLOB: EXIT_NOT_FOUND,
  ERR_UNKNOWN_VERSION: EXIT_NOT_FOUND,
  ERR_UNKNOWN_PROVIDER: EXIT_NOT_FOUND,
  ERR_UNKNOWN_MEMBER: EXIT_NOT_FOUND,
  ERR_UNKNOWN_TOKEN: EXIT_NOT_FOUND,
  ERR_IMAGE_NOT_CACHED: EXIT_NOT_FOUND,
  ERR_PATH_EXISTS: EXIT_CONFLICT,
  ERR_NOT_DIRECTORY: EXIT_CONFLICT,
  ERR_IS_DIRECTORY: EXIT_CONFLICT,
  ERR_FILE_EXISTS: EXIT_CONFLICT,
  ERR_TICKET_CONFLICT: EXIT_CONFLICT,
  ERR_SIZE_CONFLICT: EXIT_CONFLICT,
  ERR_VERSION_PINNED: EXIT_CONFLICT,
  ERR_DIRECTORY_NOT_EMPTY: EXIT_CONFLICT,
  ERR_IMAGE_IN_USE: EXIT_CONFLICT,
  ERR_DATA_DIRECTORY: EXIT_CONFLICT,
  ERR_LISTEN: EXIT_CONFLICT,
  ERR_STORE_UNUSABLE: EXIT_CONFLICT,
  ERR_CHUNK_MISMATCH: EXIT_INTEGRITY,
  ERR_VERIFICATION_FAILED: EXIT_INTEGRITY,
  ERR_UNTRUSTED_SIGNATURE: EXIT_INTEGRITY,
  ERR_NODE_CONFLICT: EXIT_INTEGRITY,
  ERR_AGENT_UNREACHABLE: EXIT_UNREACHABLE,
  ERR_PEER_UNREACHABLE: EXIT_UNREACHABLE,
  ERR_PEER_TIMEOUT: EXIT_UNREACHABLE
}

/** The exit code that scripts see for an error; docs/errors.md has the same table. */
export function exitCodeOf(error: unknown): number {
  return EXIT_OF_CODE[errorCode(error) ?? ''] ?? EXIT_FAILED
}
