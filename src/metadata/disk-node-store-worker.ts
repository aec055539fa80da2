/**
 * The thread that keeps a metadata provider's nodes, pages and records in SQLite.
 *
 * ```text
 * tickets  id · digest (BLAKE3 of the envelope) · envelope (signed.ts)
 * proofs   id · ticket · envelope           putter's signature over the digests of a batch
 * nodes    key · bytes (node-codec.ts) · proof
 * pages    id · bytes
 * records  name · sequence · purpose · payload · envelope
 * ```
 *
 * Indexes: nodes by proof and proofs by ticket, so that proofs and tickets go with the last node
 * that stands on them. Free pages are given back to the disk (auto_vacuum = INCREMENTAL).
 */
import { equalBytes } from '../lib/bytes.ts'
import { inTransaction, WorkerDatabase } from '../lib/sqlite.ts'
import { serveWorkerCalls } from '../lib/worker-call.ts'
import { type DeletedRows, MetadataRows, type RowDeletion } from './metadata-rows.ts'
import { type RawPath, rawPathKeys } from './raw-paths.ts'

/** Nodes of one put. */
export interface NodeWrite {
  readonly kind: 'nodes'
  /** Each key with its node behind it (node-codec.ts). */
  readonly nodes: readonly Uint8Array[]
  /** Envelopes of the proof. */
  readonly ticketDigest: Uint8Array
  readonly ticket: Uint8Array
  readonly proof: Uint8Array
}

export interface PageWrite {
  readonly kind: 'pages'
  readonly ids: readonly Uint8Array[]
  readonly pages: readonly Uint8Array[]
}

/** A record as a row; `payload` is the part of the envelope that may not change. */
export interface RecordRow {
  readonly name: string
  readonly sequence: number
  readonly purpose: string
  readonly payload: Uint8Array
  readonly envelope: Uint8Array
}

export interface RecordWrite {
  readonly kind: 'records'
  readonly records: readonly RecordRow[]
}

export type MetadataWrite = NodeWrite | PageWrite | RecordWrite | RowDeletion

/** What became of a write. */
export interface WriteOutcome {
  /** Number of the node or record that is in conflict; nothing was written then. */
  readonly conflict?: number | undefined
  /** What a deletion took away. */
  readonly deleted?: DeletedRows | undefined
}

const FORM = {
  applicationId: 0x62_73_77_6d,
  schemaVersion: 2,
  shrinks: true,
  migrations: [
    `CREATE TABLE tickets (
       id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, envelope BLOB NOT NULL
     ) STRICT;
     CREATE TABLE proofs (
       id INTEGER PRIMARY KEY, ticket INTEGER NOT NULL REFERENCES tickets (id),
       envelope BLOB NOT NULL
     ) STRICT;
     CREATE TABLE nodes (
       key BLOB PRIMARY KEY, bytes BLOB NOT NULL, proof INTEGER NOT NULL REFERENCES proofs (id)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE pages (id BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
     CREATE TABLE records (
       name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, purpose TEXT NOT NULL,
       payload BLOB NOT NULL, envelope BLOB NOT NULL
     ) STRICT, WITHOUT ROWID;`,
    `CREATE INDEX nodes_by_proof ON nodes (proof);
     CREATE INDEX proofs_by_ticket ON proofs (ticket);`
  ]
}

// As in node-codec.ts, which this thread need not load with all that it imports.
const KEY_BYTES = 45

const database = new WorkerDatabase(FORM)
const rows = new MetadataRows(database)

const methods = {
  open: (path: string): void => {
    database.open(path)
    // After a large deletion the log of changes does not stay as long as that made it.
    database.opened.exec('PRAGMA journal_size_limit = 16777216')
  },

  /**
   * Writes and deletes in order, in one transaction; a write in conflict is left out as a whole.
   */
  write: (writes: readonly MetadataWrite[]): WriteOutcome[] =>
    inTransaction(database.opened, () => writes.map(writeOne)),

  nodes: (keys: readonly Uint8Array[]): (Uint8Array | undefined)[] =>
    keys.map((key) => bytesAt('SELECT bytes FROM nodes WHERE key = ?', key)),

  pathKeys: (asked: { readonly paths: readonly RawPath[]; readonly limit: number }): Uint8Array[] =>
    rawPathKeys(
      asked.paths,
      (key) => bytesAt('SELECT bytes FROM nodes WHERE key = ?', key),
      asked.limit
    ),

  pages: (ids: readonly Uint8Array[]): (Uint8Array | undefined)[] =>
    ids.map((id) => bytesAt('SELECT bytes FROM pages WHERE id = ?', id)),

  records: (names: readonly string[]): (RecordRow | undefined)[] => names.map(recordAt),

  scan: rows.scan,
  provenNodes: rows.provenNodes,
  lacking: rows.lacking,
  behind: rows.behind,
  nodeVersions: rows.nodeVersions,
  giveBack: rows.giveBack,

  close: (_argument: undefined): void => {
    database.close()
  }
}

/** What `WorkerCaller` can ask of this thread. */
export type DiskNodeStoreMethods = typeof methods

/** Runs one write so that a conflict undoes all of it and nothing of the others. */
function writeOne(write: MetadataWrite): WriteOutcome {
  if (write.kind === 'deletion') return { deleted: rows.delete(write) }
  database.opened.exec('SAVEPOINT one')
  const conflict = apply(write)
  if (conflict !== undefined) database.opened.exec('ROLLBACK TO one')
  database.opened.exec('RELEASE one')
  return { conflict }
}

/** @returns number of the node or record that is in conflict. */
function apply(write: NodeWrite | PageWrite | RecordWrite): number | undefined {
  if (write.kind === 'nodes') return writeNodes(write)
  if (write.kind === 'records') return writeRecords(write.records)
  for (const [at, id] of write.ids.entries()) {
    database.statement('INSERT OR IGNORE INTO pages VALUES (?, ?)').run(id, write.pages[at] ?? null)
  }
  return undefined
}

function writeNodes(write: NodeWrite): number | undefined {
  let proof: number | bigint | undefined
  for (const [at, encoded] of write.nodes.entries()) {
    const key = encoded.subarray(0, KEY_BYTES)
    const node = encoded.subarray(KEY_BYTES)
    const there = bytesAt('SELECT bytes FROM nodes WHERE key = ?', key)
    if (there === undefined) {
      proof ??= insertProof(write)
      database.statement('INSERT INTO nodes VALUES (?, ?, ?)').run(key, node, proof)
    } else if (!equalBytes(there, node)) {
      return at
    }
  }
  return undefined
}

function insertProof({ ticketDigest, ticket, proof }: NodeWrite): number | bigint {
  const sql = 'INSERT OR IGNORE INTO tickets (digest, envelope) VALUES (?, ?)'
  database.statement(sql).run(ticketDigest, ticket)
  return database
    .statement('INSERT INTO proofs (ticket, envelope) SELECT id, ? FROM tickets WHERE digest = ?')
    .run(proof, ticketDigest).lastInsertRowid
}

function writeRecords(records: readonly RecordRow[]): number | undefined {
  for (const [at, record] of records.entries()) {
    const { name, sequence, purpose, payload, envelope } = record
    const there = recordAt(name)
    if (there === undefined || there.sequence < sequence) {
      const sql = 'INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)'
      database.statement(sql).run(name, sequence, purpose, payload, envelope)
    } else if (there.sequence === sequence) {
      const isSame = there.purpose === purpose && equalBytes(there.payload, payload)
      if (!isSame) return at
    }
  }
  return undefined
}

function recordAt(name: string): RecordRow | undefined {
  const row = database.statement('SELECT * FROM records WHERE name = ?').get(name)
  if (row === undefined) return undefined
  const { payload, envelope } = row
  if (!(payload instanceof Uint8Array && envelope instanceof Uint8Array)) {
    throw new Error('it is corrupt (a record without bytes)')
  }
  const sequence = Number(row['sequence'])
  return { name, sequence, purpose: String(row['purpose']), payload, envelope }
}

function bytesAt(sql: string, key: Uint8Array): Uint8Array | undefined {
  const found = database.statement(sql).get(key)?.['bytes']
  if (found === undefined) return undefined
  if (!(found instanceof Uint8Array)) throw new Error('it is corrupt (a node without bytes)')
  return found
}

serveWorkerCalls(methods)
