/**
 * The thread that keeps the version manager's rows in SQLite.
 *
 * ```text
 * origin    began_ms                                 one row: when this state began
 * blobs     blob · chunk_bytes · replicas · created_ms · hint_span · is_named
 *           source_blob · source_version · source_bytes       of clones, else NULL
 *           root_blob · root_version · root_span              of clones with a tree, else NULL
 *           source_retired · source_pinned · source_seal      of version 0, as of versions
 * versions  blob · version · condition · ranges · bytes · span · previous_span · truncates
 *           writer · leaf_list · note · assigned_ms · published_ms · lease_until_ms · seal
 *           base_version · is_pinned
 *           ranges: pairs of u32 first chunk, u32 number of chunks − 1, written once;
 *             the one byte 00 where they were lost: format 1 kept none of published versions
 *           seal: envelope (signed.ts) of the version record, NULL until sealed
 * entries   id · parent · name · blob · is_visible · modified_ms       blob NULL for folders
 *           set_version · set_ms         a file's time that was set, else NULL
 * policies  entry · last · younger_ms              retention; NULL for rules that are not set
 * holds     holder · purpose · blob · version · for_ms · until_ms
 * ```
 */
import { inTransaction, WorkerDatabase } from '../lib/sqlite.ts'
import { serveWorkerCalls } from '../lib/worker-call.ts'
import type { BlobId, ChunkRange, Version } from './types.ts'
import {
  type Columns,
  type LoadedKind,
  parametersOf,
  rangesColumn,
  toRow
} from './version-columns.ts'
import type { StateRow } from './version-rows.ts'

/** What a version of format 1 has in place of its ranges. */
const LOST_RANGES = '00'

const FORM = {
  applicationId: 0x62_73_77_76,
  schemaVersion: 3,
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
     ) STRICT;`,
    `ALTER TABLE blobs ADD COLUMN is_named INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE blobs ADD COLUMN source_retired INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE blobs ADD COLUMN source_pinned INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE blobs ADD COLUMN source_seal BLOB;
     UPDATE blobs SET is_named = 1 WHERE blob IN (SELECT blob FROM entries);
     ALTER TABLE versions ADD COLUMN base_version INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE versions ADD COLUMN is_pinned INTEGER NOT NULL DEFAULT 0;
     UPDATE versions SET ranges = x'${LOST_RANGES}' WHERE condition IN ('published', 'retired');
     CREATE TABLE origin (
       id INTEGER PRIMARY KEY CHECK (id = 1), began_ms INTEGER NOT NULL
     ) STRICT;
     CREATE TABLE policies (
       entry INTEGER PRIMARY KEY, last INTEGER, younger_ms INTEGER
     ) STRICT;
     CREATE TABLE holds (
       holder TEXT NOT NULL, purpose TEXT NOT NULL, blob TEXT NOT NULL, version INTEGER NOT NULL,
       for_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
       PRIMARY KEY (holder, purpose, blob, version)
     ) STRICT, WITHOUT ROWID;`,
    `ALTER TABLE entries ADD COLUMN set_version INTEGER;
     ALTER TABLE entries ADD COLUMN set_ms INTEGER;`
  ]
}

const marks = (count: number): string => Array.from({ length: count }, () => '?').join(', ')

const WRITES: Readonly<Record<StateRow['kind'], readonly string[]>> = {
  origin: ['INSERT OR IGNORE INTO origin VALUES (1, ?)'],
  blob: [`INSERT OR REPLACE INTO blobs VALUES (${marks(15)})`],
  'blob-removal': ['DELETE FROM blobs WHERE blob = ?', 'DELETE FROM versions WHERE blob = ?'],
  // Only what can change: the ranges, which may be long, stay as the first row has them.
  version: [
    `INSERT INTO versions VALUES (${marks(17)}) ON CONFLICT DO UPDATE SET
       condition = excluded.condition, published_ms = excluded.published_ms,
       lease_until_ms = excluded.lease_until_ms, seal = excluded.seal,
       is_pinned = excluded.is_pinned`
  ],
  entry: [`INSERT OR REPLACE INTO entries VALUES (${marks(8)})`],
  'entry-removal': ['DELETE FROM entries WHERE id = ?'],
  policy: [`INSERT OR REPLACE INTO policies VALUES (${marks(3)})`],
  'policy-removal': ['DELETE FROM policies WHERE entry = ?'],
  hold: [`INSERT OR REPLACE INTO holds VALUES (${marks(6)})`],
  'hold-removal': [
    'DELETE FROM holds WHERE holder = ? AND purpose = ? AND blob = ? AND version = ?'
  ]
}

const READS: Readonly<Record<LoadedKind, string>> = {
  origin: 'SELECT * FROM origin',
  blob: 'SELECT * FROM blobs ORDER BY blob',
  version: `SELECT blob, version, condition, bytes, span, previous_span, truncates, writer, leaf_list,
      note, assigned_ms, published_ms, lease_until_ms, seal, base_version, is_pinned,
      CASE WHEN condition IN ('published', 'retired') THEN x'' ELSE ranges END AS ranges
    FROM versions ORDER BY blob, version`,
  entry: 'SELECT * FROM entries ORDER BY id',
  policy: 'SELECT * FROM policies ORDER BY entry',
  hold: 'SELECT * FROM holds ORDER BY holder, purpose, blob, version'
}

const READ_RANGES = `SELECT version, ranges FROM versions
  WHERE blob = ? AND version >= ? AND version <= ? ORDER BY version`

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
      for (const row of rows) {
        const parameters = parametersOf(row)
        for (const sql of WRITES[row.kind]) database.statement(sql).run(...parameters)
      }
    })
  },

  /** Ranges of versions, in order; undefined where they were lost. */
  ranges: ({ blob, from, to }: RangesRequest): (ChunkRange[] | undefined)[] =>
    database.statement(READ_RANGES).all(blob, from, to).map(rangesColumn),

  close: (_argument: undefined): void => {
    database.close()
  }
}

/** Versions of one blob, both ends included. */
export interface RangesRequest {
  readonly blob: BlobId
  readonly from: Version
  readonly to: Version
}

/** What `WorkerCaller` can ask of this thread. */
export type VersionStoreMethods = typeof methods

serveWorkerCalls(methods)
