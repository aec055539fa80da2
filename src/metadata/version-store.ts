import { join } from 'node:path'
import { NotRunningError } from '../lib/errors.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { toError } from '../lib/to-error.ts'
import { WorkerCaller, workerUrl } from '../lib/worker-call.ts'
import { VersionStoreError } from './errors.ts'
import type { ChunkRange } from './types.ts'
import type { LoadedKind } from './version-columns.ts'
import type { StateRow } from './version-rows.ts'
import type { RangesRequest, VersionStoreMethods } from './version-store-worker.ts'

/** Keeps the version manager's rows through a crash. */
export interface VersionStore {
  /** Where it is, for error messages. */
  readonly name: string
  /** Opens it and yields every row, folders before what is in them. @throws {VersionStoreError} */
  start(): Promise<AsyncIterable<StateRow[]>>
  /**
   * Resolves when these rows, and all that were written before, are durable.
   *
   * @throws {VersionStoreError}
   */
  write(rows: readonly StateRow[]): Promise<void>
  /**
   * Ranges of assigned versions, in order; undefined where an earlier program has not kept them.
   *
   * @throws {VersionStoreError}
   */
  ranges(request: RangesRequest): Promise<(readonly ChunkRange[] | undefined)[]>
  /** Finishes what was written and lets go of the file. */
  stop(): Promise<void>
}

/** Name of the file in the data directory. */
export const VERSION_STORE_FILE = 'versions.sqlite'

/** Rows that one message to or from the thread carries. */
const ROWS_PER_LOAD = 5000

/**
 * Rows in SQLite (WAL, synchronous=FULL) in a worker thread, so that an fsync does not stop the
 * event loop. Rows of many calls share one transaction and one fsync. The file is held
 * exclusively: a second process is refused, and the system lets go of it even after kill -9.
 */
export class SqliteVersionStore implements VersionStore {
  readonly #path: string
  readonly #group: GroupCommit<readonly StateRow[]>
  #caller: WorkerCaller<VersionStoreMethods> | undefined
  #failure: VersionStoreError | undefined

  constructor(folder: string) {
    this.#path = join(folder, VERSION_STORE_FILE)
    this.#group = new GroupCommit((items) => this.#flush(items))
  }

  get name(): string {
    return this.#path
  }

  async start(): Promise<AsyncIterable<StateRow[]>> {
    if (this.#caller !== undefined) throw new Error('version store was started before')
    const url = workerUrl('version-store-worker', import.meta.url)
    const caller = new WorkerCaller<VersionStoreMethods>(url, { name: 'version-store' })
    this.#caller = caller
    try {
      await caller.call('open', this.#path)
    } catch (error) {
      await caller.stop()
      throw this.#fail(error)
    }
    return this.#load(caller)
  }

  async write(rows: readonly StateRow[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#caller === undefined) throw new NotRunningError('version store')
    // Who only asks waits for what was written before, which is mostly nothing.
    if (rows.length === 0 && this.#group.isIdle) return
    await this.#group.add(rows)
  }

  async ranges(request: RangesRequest): Promise<(readonly ChunkRange[] | undefined)[]> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#caller === undefined) throw new NotRunningError('version store')
    try {
      return await this.#caller.call('ranges', request)
    } catch (error) {
      throw this.#fail(error)
    }
  }

  async stop(): Promise<void> {
    await this.#group.idle()
    this.#failure ??= new VersionStoreError(`${this.#path}: it is closed`)
    await this.#caller?.call('close', undefined).catch(() => undefined)
    await this.#caller?.stop()
  }

  async *#load(caller: WorkerCaller<VersionStoreMethods>): AsyncGenerator<StateRow[]> {
    const kinds: LoadedKind[] = ['origin', 'blob', 'version', 'entry', 'policy', 'hold']
    try {
      for (const kind of kinds) {
        await caller.call('beginLoad', kind)
        for (let count = ROWS_PER_LOAD; count === ROWS_PER_LOAD; ) {
          const rows = await caller.call('loadNext', ROWS_PER_LOAD)
          yield rows
          count = rows.length
        }
      }
    } catch (error) {
      throw this.#fail(error)
    }
  }

  async #flush(items: (readonly StateRow[])[]): Promise<void> {
    const rows = items.flat()
    if (rows.length === 0) return
    // Once a write failed the state in memory is ahead of the disk, so nothing may be written any
    // more.
    if (this.#failure !== undefined) throw this.#failure
    try {
      await this.#caller?.call('write', rows)
    } catch (error) {
      throw this.#fail(error)
    }
  }

  #fail(error: unknown): VersionStoreError {
    const cause = toError(error)
    this.#failure ??= new VersionStoreError(`${this.#path}: ${cause.message}`, { cause })
    return this.#failure
  }
}
