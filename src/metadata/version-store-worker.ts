/**
 * The thread that keeps the version manager's rows in SQLite.
 *
 * ```text
 * blobs     blob · chunk_bytes · replicas · created_ms · hint_span
 *           source_blob · source_version · source_bytes       of clones, else NULL
 *           root_blob · root_version · root_span              of clones with a tree, else NULL
 * versions  blob · version · condition · ranges · bytes · span · previous_span · truncates
 *           writer · leaf_list · note · assigned_ms · published_ms · lease_until_ms · seal
 *           ranges: pairs of u32 first chunk, u32 number of chunks − 1; empty once published
 *           seal: envelope (signed.ts) of the version record, NULL until sealed
 * entries   id · parent · name · blob · is_visible · modified_ms       blob NULL for folders
 * ```
 */
import type { SQLOutputValue } from 'node:sqlite'
import { inTransaction, WorkerDatabase } from '../lib/sqlite.ts'
import { serveWorkerCalls } from '../lib/worker-call.ts'
import { decodeEnvelope, encodeEnvelope } from './signed.ts'
import type { ChunkRange, NodeRef, RootRef } from './types.ts'
import type {
  BlobRow,
  CloneSource,
  EntryRow,
  RowCondition,
  StateRow,
  VersionRow
} from './version-rows.ts'

type Columns = Record<string, SQLOutputValue>

/** Kinds of rows that are loaded, each in the order of its keys. */
export type LoadedKind = 'blob' | 'version' | 'entry'

const FORM = {
  applicationId: 0x62_73_77_76,
  schemaVersion: 1,
  migrations: [
    `CREATE TABLE blobs (
       blob TEXT PRIMARY KEY, chunk_bytes INTEGER NOT NULL, replicas INTEGER NOT NULL,
       created_ms INTEGER NOT NULL, hint_span INTEGER NOT NULL,
       source_blob TEXT, source_version INTEGER, source_bytes INTEGER,
       root_blob TEXT, root_version INTEGER, root_span INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE versions (
       blob TEXT NOT NULL, version INTEGER NOT NULL, condition TEXT NOT NULL, ranges BLOB NOT NULL,
       bytes INTEGER NOT NULL, span INTEGER NOT NULL, previous_span INTEGER NOT NULL,
       truncates INTEGER NOT NULL, writer TEXT NOT NULL, leaf_list BLOB NOT NULL,
       note TEXT NOT NULL, assigned_ms INTEGER NOT NULL, published_ms INTEGER NOT NULL,
       lease_until_ms INTEGER NOT NULL, seal BLOB, PRIMARY KEY (blob, version)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE entries (
       id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, blob TEXT,
       is_visible INTEGER NOT NULL, modified_ms INTEGER NOT NULL
     ) STRICT;`
  ]
}

const WRITES = {
  blob: `INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  version: `INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  entry: `INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)`,
  'entry-removal': `DELETE FROM entries WHERE id = ?`
}

const READS = {
  blob: 'SELECT * FROM blobs ORDER BY blob',
  version: 'SELECT * FROM versions ORDER BY blob, version',
  entry: 'SELECT * FROM entries ORDER BY id'
}

const database = new WorkerDatabase(FORM)
let loading: { kind: LoadedKind; rows: Iterator<Columns> } | undefined

const methods = {
  /** Opens the file and looks it over. */
  open: (path: string): void => {
    const opened = database.open(path)
    const check = opened.prepare('PRAGMA quick_check(1)').get()
    const verdict = String(check?.['quick_check'])
    if (verdict !== 'ok') throw new Error(`it is corrupt (${verdict})`)
  },

  /** Begins to read the rows of one kind. */
  beginLoad: (kind: LoadedKind): void => {
    loading = { kind, rows: database.opened.prepare(READS[kind]).iterate() }
  },

  /** The next rows of the kind, at most `limit`; fewer mean that there are no more. */
  loadNext: (limit: number): StateRow[] => {
    const loaded: StateRow[] = []
    while (loading !== undefined && loaded.length < limit) {
      const next = loading.rows.next()
      if (next.done === true) loading = undefined
      else loaded.push(toRow(loading.kind, next.value))
    }
    return loaded
  },

  /** Writes rows in order; on disk when it returns. */
  write: (rows: readonly StateRow[]): void => {
    inTransaction(database.opened, () => {
      for (const row of rows) database.statement(WRITES[row.kind]).run(...parametersOf(row))
    })
  },

  close: (_argument: undefined): void => {
    database.close()
  }
}

/** What `WorkerCaller` can ask of this thread. */
export type VersionStoreMethods = typeof methods

function parametersOf(row: StateRow): (string | number | Uint8Array | null)[] {
  switch (row.kind) {
    case 'blob':
      return [
        row.blob,
        row.chunkBytes,
        row.replicas,
        row.createdMs,
        row.hintSpan,
        row.source?.version.blob ?? null,
        row.source?.version.version ?? null,
        row.source?.bytes ?? null,
        row.source?.root?.blob ?? null,
        row.source?.root?.version ?? null,
        row.source?.root?.span ?? null
      ]
    case 'version':
      return [
        row.blob,
        row.version,
        row.condition,
        encodeRanges(row.ranges),
        row.bytes,
        row.span,
        row.previousSpan,
        row.truncates ? 1 : 0,
        row.writer,
        row.leafList,
        row.note,
        row.assignedMs,
        row.publishedMs,
        row.leaseUntilMs,
        row.seal === undefined ? null : encodeEnvelope(row.seal)
      ]
    case 'entry':
      return [row.id, row.parent, row.name, row.blob ?? null, row.isVisible ? 1 : 0, row.modifiedMs]
    case 'entry-removal':
    default:
      return [row.id]
  }
}

function toRow(kind: LoadedKind, row: Columns): StateRow {
  if (kind === 'blob') return toBlob(row)
  return kind === 'version' ? toVersion(row) : toEntry(row)
}

function toBlob(row: Columns): BlobRow {
  return {
    kind: 'blob',
    blob: text(row, 'blob'),
    chunkBytes: number(row, 'chunk_bytes'),
    replicas: number(row, 'replicas'),
    createdMs: number(row, 'created_ms'),
    hintSpan: number(row, 'hint_span'),
    source: row['source_blob'] === null ? undefined : toSource(row)
  }
}

function toSource(row: Columns): CloneSource {
  const version: NodeRef = {
    blob: text(row, 'source_blob'),
    version: number(row, 'source_version')
  }
  const root: RootRef | undefined =
    row['root_blob'] === null
      ? undefined
      : {
          blob: text(row, 'root_blob'),
          version: number(row, 'root_version'),
          span: number(row, 'root_span')
        }
  return { version, root, bytes: number(row, 'source_bytes') }
}

function toVersion(row: Columns): VersionRow {
  return {
    kind: 'version',
    blob: text(row, 'blob'),
    version: number(row, 'version'),
    condition: conditionOf(text(row, 'condition')),
    ranges: decodeRanges(bytes(row, 'ranges')),
    bytes: number(row, 'bytes'),
    span: number(row, 'span'),
    previousSpan: number(row, 'previous_span'),
    truncates: number(row, 'truncates') === 1,
    writer: text(row, 'writer'),
    leafList: bytes(row, 'leaf_list'),
    note: text(row, 'note'),
    assignedMs: number(row, 'assigned_ms'),
    publishedMs: number(row, 'published_ms'),
    leaseUntilMs: number(row, 'lease_until_ms'),
    seal: row['seal'] === null ? undefined : decodeEnvelope(bytes(row, 'seal'))
  }
}

function toEntry(row: Columns): EntryRow {
  return {
    kind: 'entry',
    id: number(row, 'id'),
    parent: number(row, 'parent'),
    name: text(row, 'name'),
    blob: row['blob'] === null ? undefined : text(row, 'blob'),
    isVisible: number(row, 'is_visible') === 1,
    modifiedMs: number(row, 'modified_ms')
  }
}

function conditionOf(value: string): RowCondition {
  switch (value) {
    case 'assigned':
    case 'fenced':
    case 'committed':
    case 'published':
    case 'retired':
      return value
    default:
      throw new Error(`it is corrupt (condition ${value})`)
  }
}

function encodeRanges(ranges: readonly ChunkRange[]): Uint8Array {
  const encoded = new Uint8Array(ranges.length * 8)
  const view = new DataView(encoded.buffer)
  for (const [at, { start, end }] of ranges.entries()) {
    view.setUint32(at * 8, start)
    view.setUint32(at * 8 + 4, end - start - 1)
  }
  return encoded
}

function decodeRanges(encoded: Uint8Array): ChunkRange[] {
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength)
  const ranges: ChunkRange[] = []
  for (let at = 0; at + 8 <= encoded.byteLength; at += 8) {
    const start = view.getUint32(at)
    ranges.push({ start, end: start + view.getUint32(at + 4) + 1 })
  }
  return ranges
}

function number(row: Columns, name: string): number {
  const value = row[name]
  if (typeof value !== 'number') throw new Error(`it is corrupt (${name} is no number)`)
  return value
}

function text(row: Columns, name: string): string {
  const value = row[name]
  if (typeof value !== 'string') throw new Error(`it is corrupt (${name} is no text)`)
  return value
}

function bytes(row: Columns, name: string): Uint8Array {
  const value = row[name]
  if (!(value instanceof Uint8Array)) throw new Error(`it is corrupt (${name} are no bytes)`)
  return value
}

serveWorkerCalls(methods)
