import type { DataStorageInterface, FileStatus } from './dsi.ts'
import { CommandRefusedError, PathNotFoundError } from './errors.ts'

/** Folders inside each other that a walk goes through. */
const MAX_DEPTH = 256

/**
 * One step of a walk. A folder is entered before its entries and left after them; the folder that the
 * walk began with is neither. A link to a folder is not gone through unless that is wanted.
 */
export interface WalkStep {
  readonly kind: 'file' | 'link' | 'enter' | 'leave'
  /** From the start of the walk, `a/b/c`. */
  readonly name: string
  readonly status: FileStatus
}

/** What a walk does where it cannot go on, and what ends it. */
export interface WalkOptions {
  /** A folder that cannot be listed is left out instead of failing the walk. @default false */
  readonly skipsErrors?: boolean
  /** Links to folders are entered like folders. @default false */
  readonly followsLinks?: boolean
  readonly signal: AbortSignal
}

interface Level {
  /** Of the storage. */
  readonly path: string
  /** What the names of its entries begin with. */
  readonly prefix: string
  readonly status: FileStatus | undefined
  readonly unique: string
  readonly entries: AsyncIterator<FileStatus>
}

/**
 * Goes through everything below a folder, depth first, in order of the names. What is removed while
 * the walk is there may or may not be seen; a folder that contains itself by a link is not entered
 * again.
 *
 * @param start the folder's path in the storage.
 * @yields files and folders.
 * @throws {CommandRefusedError} if folders are nested too deep.
 */
export async function* walk(
  storage: Pick<DataStorageInterface, 'list' | 'stat'>,
  start: string,
  { skipsErrors = false, followsLinks = false, signal }: WalkOptions
): AsyncGenerator<WalkStep> {
  const { unique = '' } = (await storage.stat(start)) ?? {}
  const levels: Level[] = [open(storage, { path: start, prefix: '', status: undefined, unique })]
  try {
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      signal.throwIfAborted()
      const status = await nextEntry(level, skipsErrors && levels.length > 1)
      const name = `${level.prefix}${status?.name ?? ''}`
      if (status === undefined) {
        levels.pop()
        if (level.status !== undefined) {
          yield { kind: 'leave', name: level.prefix.slice(0, -1), status: level.status }
        }
      } else if (status.type === 'file') yield { kind: 'file', name, status }
      else if (status.isLink === true && !followsLinks) yield { kind: 'link', name, status }
      else if (!levels.some((above) => above.unique === status.unique)) {
        if (levels.length >= MAX_DEPTH) {
          throw new CommandRefusedError(550, `${name}: folders are nested too deep`)
        }
        yield { kind: 'enter', name, status }
        const path = level.path === '/' ? `/${status.name}` : `${level.path}/${status.name}`
        const { unique: own } = status
        levels.push(open(storage, { path, prefix: `${name}/`, status, unique: own }))
      }
    }
  } finally {
    for (const { entries } of levels) await entries.return?.()
  }
}

function open(storage: Pick<DataStorageInterface, 'list'>, level: Omit<Level, 'entries'>): Level {
  return { ...level, entries: storage.list(level.path)[Symbol.asyncIterator]() }
}

async function nextEntry(level: Level, skipsErrors: boolean): Promise<FileStatus | undefined> {
  try {
    const { done, value } = await level.entries.next()
    return done === true ? undefined : value
  } catch (error) {
    // Removed by somebody since it was seen.
    if (skipsErrors || (level.status !== undefined && error instanceof PathNotFoundError)) {
      return undefined
    }
    throw error
  }
}
