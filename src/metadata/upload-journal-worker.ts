/**
 * The thread that keeps the notes of broken and restartable uploads in SQLite.
 *
 * ```text
 * uploads  id · user · path · mode · blob · chunk_bytes · expected_bytes (or NULL) · touched_ms
 * parts    upload · number · id (BLAKE3 of the bytes) · bytes · content_bytes
 *          bytes: a page of fragments (leaf-list-codec.ts); of two pages of an upload that name the
 *            same place, the one with the higher number counts
 *          content_bytes: what its fragments are long, together
 * ```
 *
 * Free pages are given back to the disk (auto_vacuum = INCREMENTAL).
 */
import { inTransaction, WorkerDatabase } from '../lib/sqlite.ts'
import { serveWorkerCalls } from '../lib/worker-call.ts'

/** An upload as a row. */
export interface UploadRow {
  readonly id: number
  readonly user: string
  readonly path: string
  readonly mode: string
  /** The blob that it went to. */
  readonly blob: string
  readonly chunkBytes: number
  /** What its client announced. */
  readonly expectedBytes: number | undefined
  /** When something was noted last, in milliseconds since the epoch. */
  readonly touchedMs: number
}

/** A page of fragments as a row. */
export interface PartRow {
  readonly number: number
  readonly id: Uint8Array
  readonly bytes: Uint8Array
  readonly contentBytes: number
}

/** An upload with what its parts come to. */
export interface NotedUpload extends UploadRow {
  /** Number that its next part gets. */
  readonly nextPart: number
  readonly journalBytes: number
  readonly contentBytes: number
}

export type JournalWrite =
  /** Adds parts, to an upload that may be new. */
  | { readonly kind: 'note'; readonly upload: UploadRow; readonly parts: readonly PartRow[] }
  /** The same, in place of all parts that there are. */
  | { readonly kind: 'rewrite'; readonly upload: UploadRow; readonly parts: readonly PartRow[] }
  | { readonly kind: 'remove'; readonly id: number }

/** Which parts are asked for: those of an upload from a number on. */
export interface PartsRequest {
  readonly upload: number
  readonly from: number
  readonly limit: number
}

const FORM = {
  applicationId: 0x62_73_77_75,
  schemaVersion: 1,
  shrinks: true,
  migrations: [
    `CREATE TABLE uploads (
       id INTEGER PRIMARY KEY, user TEXT NOT NULL, path TEXT NOT NULL, mode TEXT NOT NULL,
       blob TEXT NOT NULL, chunk_bytes INTEGER NOT NULL, expected_bytes INTEGER,
       touched_ms INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE parts (
       upload INTEGER NOT NULL REFERENCES uploads (id) ON DELETE CASCADE, number INTEGER NOT NULL,
       id BLOB NOT NULL, bytes BLOB NOT NULL, content_bytes INTEGER NOT NULL,
       PRIMARY KEY (upload, number)
     ) STRICT, WITHOUT ROWID;`
  ]
}

/** Pages of the file that one write gives back at most. */
const VACUUM = 'PRAGMA incremental_vacuum(512)'

const UPSERT = `INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT DO UPDATE SET expected_bytes = excluded.expected_bytes,
    touched_ms = excluded.touched_ms`
const READ_UPLOADS = `SELECT u.*, ifnull(max(p.number) + 1, 0) AS next_part,
    ifnull(sum(length(p.bytes)), 0) AS journal_bytes,
    ifnull(sum(p.content_bytes), 0) AS content_bytes
  FROM uploads u LEFT JOIN parts p ON p.upload = u.id GROUP BY u.id ORDER BY u.id`
const READ_PARTS = `SELECT number, id, bytes, content_bytes FROM parts
  WHERE upload = ? AND number >= ? ORDER BY number LIMIT ?`

const database = new WorkerDatabase(FORM)

function put(upload: UploadRow, parts: readonly PartRow[]): void {
  const { id, user, path, mode, blob, chunkBytes, expectedBytes = null, touchedMs } = upload
  database
    .statement(UPSERT)
    .run(id, user, path, mode, blob, chunkBytes, expectedBytes, Math.trunc(touchedMs))
  const insert = database.statement('INSERT INTO parts VALUES (?, ?, ?, ?, ?)')
  for (const part of parts) insert.run(id, part.number, part.id, part.bytes, part.contentBytes)
}

function carryOut(write: JournalWrite): void {
  switch (write.kind) {
    case 'remove':
      database.statement('DELETE FROM uploads WHERE id = ?').run(write.id)
      break
    case 'rewrite':
      database.statement('DELETE FROM parts WHERE upload = ?').run(write.upload.id)
      put(write.upload, write.parts)
      break
    case 'note':
      put(write.upload, write.parts)
      break
    default:
      throw new TypeError('no such write')
  }
}

type Columns = Readonly<Record<string, unknown>>

function toUpload(row: Columns): NotedUpload {
  const expected = row['expected_bytes']
  return {
    id: Number(row['id']),
    user: String(row['user']),
    path: String(row['path']),
    mode: String(row['mode']),
    blob: String(row['blob']),
    chunkBytes: Number(row['chunk_bytes']),
    expectedBytes: expected === null ? undefined : Number(expected),
    touchedMs: Number(row['touched_ms']),
    nextPart: Number(row['next_part']),
    journalBytes: Number(row['journal_bytes']),
    contentBytes: Number(row['content_bytes'])
  }
}

function toPart(row: Columns): PartRow {
  return {
    number: Number(row['number']),
    id: row['id'] as Uint8Array,
    bytes: row['bytes'] as Uint8Array,
    contentBytes: Number(row['content_bytes'])
  }
}

const methods = {
  /** Opens the file, makes it if need be, and gives the uploads that are in it. */
  open: (path: string): NotedUpload[] => {
    const opened = database.open(path)
    const check = opened.prepare('PRAGMA quick_check(1)').get()
    const verdict = String(check?.['quick_check'])
    if (verdict !== 'ok') throw new Error(`it is corrupt (${verdict})`)
    opened.exec('PRAGMA foreign_keys = ON')
    return opened.prepare(READ_UPLOADS).all().map(toUpload)
  },

  /** Carries writes out in order; on disk when it returns. */
  write: (writes: readonly JournalWrite[]): void => {
    inTransaction(database.opened, () => {
      for (const write of writes) carryOut(write)
    })
    if (writes.some(({ kind }) => kind !== 'note')) database.opened.exec(VACUUM)
  },

  /** Parts of an upload, in order. */
  parts: ({ upload, from, limit }: PartsRequest): PartRow[] =>
    database.statement(READ_PARTS).all(upload, from, limit).map(toPart),

  close: (_argument: undefined): void => {
    database.close()
  }
}

/** What `WorkerCaller` can ask of this thread. */
export type UploadJournalMethods = typeof methods

serveWorkerCalls(methods)
