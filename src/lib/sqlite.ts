import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'

/** What makes a database file ours and of a version that we can read. */
export interface DatabaseForm {
  /** Marks the file (SQLite's application_id), a positive 31-bit number. */
  readonly applicationId: number
  /** Kept as user_version; a file with a higher one is refused. */
  readonly schemaVersion: number
  /** Statements that bring a file from version i to i + 1, one entry a version. */
  readonly migrations: readonly string[]
  /**
   * Whether pages that are freed can be given back to the disk, by `PRAGMA incremental_vacuum`.
   *
   * @default false: they are used again, and the file never shrinks
   */
  readonly shrinks?: boolean
}

/** How long an opener waits for a process that is just letting go of the file. */
const LOCK_WAIT_MS = 500

/** What `PRAGMA auto_vacuum` answers where pages can be given back. */
const INCREMENTAL = 2

/**
 * Opens a database that only this process may use, creating it if it is not there. A commit is on
 * disk when it returns (WAL, synchronous=FULL). Blocks, so it belongs into a worker thread.
 *
 * @throws {Error} saying why the file cannot be used: in use, not ours, newer, or corrupt.
 */
export function openDatabase(path: string, form: DatabaseForm): DatabaseSync {
  makeFolder(dirname(path))
  const database = new DatabaseSync(path, { timeout: LOCK_WAIT_MS })
  try {
    // Exclusive from the first statement on: the system drops the lock even after kill -9.
    database.exec('PRAGMA locking_mode = EXCLUSIVE')
    // A new file takes this as it is; an older one has to be written anew once (below).
    if (form.shrinks === true) database.exec('PRAGMA auto_vacuum = INCREMENTAL')
    database.exec('PRAGMA journal_mode = WAL')
    database.exec('PRAGMA synchronous = FULL')
    database.exec('BEGIN EXCLUSIVE')
    migrate(database, form)
    database.exec('COMMIT')
    if (form.shrinks === true && pragma(database, 'auto_vacuum') !== INCREMENTAL) {
      database.exec('PRAGMA auto_vacuum = INCREMENTAL; VACUUM')
    }
    syncFolder(dirname(path))
    return database
  } catch (error) {
    database.close()
    throw new Error(reasonOf(error), { cause: error })
  }
}

/** The one database of a worker thread, and its statements, each prepared once. */
export class WorkerDatabase {
  readonly #form: DatabaseForm
  readonly #statements = new Map<string, StatementSync>()
  #database: DatabaseSync | undefined

  constructor(form: DatabaseForm) {
    this.#form = form
  }

  /** @throws {Error} saying why the file cannot be used. */
  open(path: string): DatabaseSync {
    this.#database = openDatabase(path, this.#form)
    return this.#database
  }

  /** @throws {Error} if it is not open. */
  get opened(): DatabaseSync {
    if (this.#database === undefined) throw new Error('it is not open')
    return this.#database
  }

  /** The prepared statement; `sql` must be one of a few texts. */
  statement(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const prepared = this.opened.prepare(sql)
    this.#statements.set(sql, prepared)
    return prepared
  }

  /** Harmless when it is not open. */
  close(): void {
    this.#statements.clear()
    this.#database?.close()
    this.#database = undefined
  }
}

/** Runs `work` in one transaction: all of it is on disk when this returns, or nothing of it. */
export function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

function migrate(database: DatabaseSync, form: DatabaseForm): void {
  const applicationId = pragma(database, 'application_id')
  let version = pragma(database, 'user_version')
  const isNew = version === 0 && applicationId === 0 && isEmpty(database)
  if (!isNew && applicationId !== form.applicationId) {
    throw new Error('it is the database of another program')
  }
  if (version > form.schemaVersion) {
    throw new Error(`its format ${version} is newer than ${form.schemaVersion}`)
  }
  for (; version < form.schemaVersion; version++) database.exec(form.migrations[version] ?? '')
  database.exec(`PRAGMA application_id = ${form.applicationId}`)
  database.exec(`PRAGMA user_version = ${form.schemaVersion}`)
}

function pragma(database: DatabaseSync, name: string): number {
  const row = database.prepare(`PRAGMA ${name}`).get()
  return Number(row?.[name] ?? 0)
}

function isEmpty(database: DatabaseSync): boolean {
  return database.prepare('SELECT 1 FROM sqlite_master LIMIT 1').get() === undefined
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (/locked|busy/.test(message)) return 'it is in use by another process'
  if (/malformed|not a database/.test(message)) return `it is corrupt (${message})`
  return message
}

/** Makes a folder and those above it that are missing, durably. */
function makeFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true })
  if (first === undefined) return
  for (let made = resolve(path); made.length >= first.length; made = dirname(made)) {
    syncFolder(dirname(made))
  }
}

/** Makes the names of new files in a folder durable. */
function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
