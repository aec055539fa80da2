import type { Range } from '../lib/range-set.ts'
import type { LeafList } from './leaf-list.ts'
import type { NotedUpload, UploadRow } from './upload-journal-worker.ts'

/** Whose upload it is: the next one of the same user to the same path takes its place. */
export interface UploadOwner {
  readonly user: string
  /** In the namespace. */
  readonly path: string
}

/** What is written down of an upload that may be continued. */
export interface UploadPlan {
  readonly mode: UploadRow['mode']
  readonly blob: string
  readonly chunkBytes: number
  /** What its client announced. */
  readonly expectedBytes: number | undefined
}

/** Takes down what an upload has stored. One upload at a time has it. */
export interface UploadNotes {
  /**
   * Writes down what has been stored since the last time. Not called before the call before it has
   * ended.
   *
   * @returns true if it is durable now; false if it is not kept, because there is no room for more
   * notes or a newer upload has taken the place of this one.
   * @throws {UploadJournalError}
   */
  add(leaves: LeafList): Promise<boolean>
  /** Says who is to be told when another session continues the upload while this one runs. */
  onTakenOver(listener: (error: Error) => void): void
  /** Ends the upload, and keeps what is written down for one that continues it. */
  suspend(): void
  /** Ends the upload and forgets it. A journal that cannot forget is told about in the log. */
  remove(): Promise<void>
}

/** What a client says that it need not send again. */
export interface ContinueRequest {
  readonly mode: UploadRow['mode']
  /** In ascending order, without overlaps, none empty; in bytes of the file. */
  readonly claims: readonly Range[]
  /** What the client announced this time. */
  readonly expectedBytes: number | undefined
}

/** A broken upload that goes on. */
export interface ContinuedUpload {
  readonly notes: UploadNotes
  /** What is claimed, stored and safe from collection for a lease. */
  readonly leaves: LeafList
}

/** An upload that is under way and may be continued, or is broken and kept. */
export interface KeptUpload extends UploadOwner, UploadPlan {
  readonly id: number
  /**
   * active: it runs. kept: it is broken and waits. gone: it was published, given up, or another has
   * taken its place.
   */
  state: 'active' | 'kept' | 'gone'
  /** Something of it stands in the journal. */
  isNoted: boolean
  touchedMs: number
  nextPart: number
  journalBytes: number
  contentBytes: number
  /** While it is active: whom to tell that another session continues it. */
  takeOver: ((error: Error) => void) | undefined
  /** Resolves when it is not active any more. */
  released: PromiseWithResolvers<void>
}

/** An upload that begins. */
export function newUpload(id: number, plan: UploadOwner & UploadPlan, nowMs: number): KeptUpload {
  return {
    ...plan,
    id,
    state: 'active',
    isNoted: false,
    touchedMs: nowMs,
    nextPart: 0,
    journalBytes: 0,
    contentBytes: 0,
    takeOver: undefined,
    released: Promise.withResolvers()
  }
}

/** An upload that stands in the journal, and broke when its process ended. */
export function loadedUpload(row: NotedUpload): KeptUpload {
  const released = Promise.withResolvers<void>()
  released.resolve()
  return { ...row, state: 'kept', isNoted: true, takeOver: undefined, released }
}

/** The row of an upload in the journal. */
export function rowOf(upload: KeptUpload): UploadRow {
  const { id, user, path, mode, blob, chunkBytes, expectedBytes, touchedMs } = upload
  return { id, user, path, mode, blob, chunkBytes, expectedBytes, touchedMs }
}
