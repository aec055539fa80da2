import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { verifyChunk } from '../chunks/chunk-id.ts'
import { errorCode, NotRunningError } from '../lib/errors.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import { toError } from '../lib/to-error.ts'
import { sendable, WorkerCaller, workerUrl } from '../lib/worker-call.ts'
import { UploadJournalError } from './errors.ts'
import type { LeafList } from './leaf-list.ts'
import { decodeLeafPage, encodeLeafPages } from './leaf-list-codec.ts'
import type {
  JournalWrite,
  NotedUpload,
  PartRow,
  UploadJournalMethods,
  UploadRow
} from './upload-journal-worker.ts'

/** Name of the file in the data directory. */
export const UPLOAD_JOURNAL_FILE = 'uploads.sqlite'

/** Parts that are read at once. */
const PARTS_A_TIME = 4

/**
 * What uploads have stored so far, kept through `kill -9`: pages of fragments in SQLite (WAL,
 * synchronous=FULL) in a worker thread, so that an fsync does not stop the event loop. Notes that
 * come together share one fsync. File and thread are made when something is noted first: an agent
 * that has only small uploads has neither.
 */
export class UploadJournal {
  readonly #path: string
  readonly #group: GroupCommit<JournalWrite>
  #caller: WorkerCaller<UploadJournalMethods> | undefined
  #opening: Promise<NotedUpload[]> | undefined
  #isStopped = false

  constructor(folder: string) {
    this.#path = join(folder, UPLOAD_JOURNAL_FILE)
    this.#group = new GroupCommit((items) => this.#flush(items))
  }

  /** Where it is, for error messages. */
  get name(): string {
    return this.#path
  }

  /** Gives the uploads that were noted. Called first. @throws {UploadJournalError} */
  async load(): Promise<NotedUpload[]> {
    try {
      await access(this.#path)
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return []
      throw this.#failure(error)
    }
    return await this.#open()
  }

  /**
   * Notes what an upload has stored since the last time; durable when it resolves.
   *
   * @param parts what `partsOf` gives, with numbers above those noted before.
   * @param isAnew true forgets what was noted before.
   * @throws {UploadJournalError}
   */
  async note(upload: UploadRow, parts: readonly PartRow[], isAnew = false): Promise<void> {
    await this.#group.add({ kind: isAnew ? 'rewrite' : 'note', upload, parts })
  }

  /** Forgets an upload; harmless if there is none. @throws {UploadJournalError} */
  async remove(id: number): Promise<void> {
    await this.#group.add({ kind: 'remove', id })
  }

  /**
   * Reads what an upload has stored, a page at a time.
   *
   * @yields pages of fragments in the order in which they were noted: later ones count.
   * @throws {UploadJournalError} if a page cannot be read or is not what was noted.
   */
  async *pages(upload: number): AsyncGenerator<LeafList, void> {
    for (let from = 0; ; ) {
      const caller = await this.#running()
      const rows = await this.#asked(caller.call('parts', { upload, from, limit: PARTS_A_TIME }))
      for (const row of rows) {
        from = row.number + 1
        yield this.#decoded(row)
      }
      if (rows.length < PARTS_A_TIME) return
    }
  }

  /** Finishes what was noted and lets go of the file. */
  async stop(): Promise<void> {
    await this.#group.idle()
    this.#isStopped = true
    await this.#opening?.catch(() => {}) // whoever wanted it has been told
    await this.#caller?.call('close', undefined).catch(() => undefined)
    await this.#caller?.stop()
  }

  #decoded({ id, bytes }: PartRow): LeafList {
    try {
      verifyChunk(id, bytes)
      return decodeLeafPage(bytes)
    } catch (error) {
      throw this.#failure(error)
    }
  }

  async #flush(writes: JournalWrite[]): Promise<void> {
    const caller = await this.#running()
    await this.#asked(caller.call('write', writes))
  }

  async #running(): Promise<WorkerCaller<UploadJournalMethods>> {
    if (this.#isStopped) throw new NotRunningError('upload journal')
    await this.#open()
    if (this.#caller === undefined) throw new NotRunningError('upload journal')
    return this.#caller
  }

  async #open(): Promise<NotedUpload[]> {
    this.#opening ??= this.#openFile()
    return await this.#opening
  }

  async #openFile(): Promise<NotedUpload[]> {
    const url = workerUrl('upload-journal-worker', import.meta.url)
    const caller = new WorkerCaller<UploadJournalMethods>(url, { name: 'upload-journal' })
    try {
      const uploads = await caller.call('open', this.#path)
      this.#caller = caller
      return uploads
    } catch (error) {
      this.#opening = undefined // a disk that was full may have room the next time
      await caller.stop()
      throw this.#failure(error)
    }
  }

  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      throw this.#failure(error)
    }
  }

  #failure(error: unknown): Error {
    const cause = toError(error)
    if (cause instanceof UploadJournalError || cause instanceof NotRunningError) return cause
    return new UploadJournalError(`${this.#path}: ${cause.message}`, { cause })
  }
}

/** Cuts a list of fragments into parts of the journal, numbered from `first` on. */
export function partsOf(leaves: LeafList, first: number): PartRow[] {
  return Array.from(encodeLeafPages(leaves), ({ id, bytes, from, count }, at) => {
    let contentBytes = 0
    for (let row = from; row < from + count; row++) contentBytes += leaves.fragment(row).length
    return { number: first + at, id: sendable(id), bytes: sendable(bytes), contentBytes }
  })
}
