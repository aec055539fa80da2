import { CommandRefusedError } from './errors.ts'
import { MLST_FACTS } from './mlst.ts'
import { confinePath, resolvePath } from './path.ts'
import type { LoggedIn, SessionState } from './types.ts'

/** The state of a session that has just begun. */
export function newSessionState(): SessionState {
  return {
    login: { kind: 'nobody' },
    failedLogins: 0,
    directory: '/',
    type: 'A',
    mode: 'S',
    parallelism: 1,
    stripeLayout: undefined,
    stripeBlockBytes: undefined,
    performanceIntervalMs: undefined,
    restartIntervalMs: undefined,
    retrieveMarkerIntervalMs: undefined,
    checksumMarkerIntervalMs: undefined,
    bufferBytes: undefined,
    isPassiveDelayed: false,
    skipsListingErrors: false,
    followsLinks: false,
    facts: new Set(MLST_FACTS),
    isEpsvOnly: false,
    restartOffset: undefined,
    restartRanges: undefined,
    announcedBytes: undefined,
    expectedChecksum: undefined,
    renameFrom: undefined
  }
}

/** Who is logged in. @throws {CommandRefusedError} if nobody is. */
export function loggedIn(state: SessionState): LoggedIn {
  if (state.login.kind === 'loggedIn') return state.login
  throw new CommandRefusedError(530, 'Please login with USER and PASS.')
}

/** @throws {CommandRefusedError} if who is logged in may only read. */
export function verifyMayWrite(state: SessionState): void {
  if (!loggedIn(state).user.mayWrite) {
    throw new CommandRefusedError(550, 'You may not change anything here.')
  }
}

/** A path of a command as its user sees it, and as the storage does. */
export interface ResolvedPath {
  readonly shown: string
  readonly stored: string
}

/** Resolves the path of a command. @throws {InvalidPathError} if it cannot be. */
export function pathOf(state: SessionState, argument: string): ResolvedPath {
  const shown = resolvePath(state.directory, argument)
  return { shown, stored: confinePath(loggedIn(state).user.root, shown) }
}
