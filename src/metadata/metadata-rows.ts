import type { WorkerDatabase } from '../lib/sqlite.ts'
import type { MetadataKind } from './store-types.ts'

/** Keys to delete; names of records as their bytes, as everywhere. */
export interface RowDeletion {
  readonly kind: 'deletion'
  readonly of: MetadataKind
  readonly keys: readonly Uint8Array[]
}

export interface DeletedRows {
  readonly count: number
  readonly bytes: number
}

/** A stretch of keys, above `from` or, when that is included, from it on. */
export interface RowScan {
  readonly kind: MetadataKind
  readonly from: Uint8Array
  readonly includesFrom: boolean
  readonly limit: number
}

/** Nodes and the proofs that they were stored beside, each proof once. */
export interface ProvenRows {
  readonly nodes: readonly ({ readonly bytes: Uint8Array; readonly proof: number } | undefined)[]
  readonly proofs: readonly { readonly ticket: Uint8Array; readonly proof: Uint8Array }[]
}

interface TableTexts {
  readonly above: string
  readonly from: string
  readonly has: string
  readonly delete: string
}

// Nodes begin with blob (32) and version (8).
const VERSION_PREFIX_BYTES = 40
const NODE_KEY_BYTES = 45

const TABLES: Readonly<Record<MetadataKind, TableTexts>> = {
  nodes: {
    above: 'SELECT key FROM nodes WHERE key > ? ORDER BY key LIMIT ?',
    from: 'SELECT key FROM nodes WHERE key >= ? ORDER BY key LIMIT ?',
    has: 'SELECT 1 FROM nodes WHERE key = ?',
    delete: 'DELETE FROM nodes WHERE key = ? RETURNING length(key) + length(bytes) AS bytes, proof'
  },
  pages: {
    above: 'SELECT id AS key FROM pages WHERE id > ? ORDER BY id LIMIT ?',
    from: 'SELECT id AS key FROM pages WHERE id >= ? ORDER BY id LIMIT ?',
    has: 'SELECT 1 FROM pages WHERE id = ?',
    delete: 'DELETE FROM pages WHERE id = ? RETURNING length(id) + length(bytes) AS bytes'
  },
  records: {
    above: 'SELECT name AS key FROM records WHERE name > ? ORDER BY name LIMIT ?',
    from: 'SELECT name AS key FROM records WHERE name >= ? ORDER BY name LIMIT ?',
    has: 'SELECT 1 FROM records WHERE name = ?',
    delete: `DELETE FROM records WHERE name = ?
             RETURNING length(CAST(name AS BLOB)) + length(payload) AS bytes`
  }
}

/** Lists, compares and deletes what a metadata provider keeps in SQLite, in its thread. */
export class MetadataRows {
  readonly #database: WorkerDatabase

  constructor(database: WorkerDatabase) {
    this.#database = database
  }

  /** Keys in order. */
  readonly scan = ({ kind, from, includesFrom, limit }: RowScan): Uint8Array[] => {
    const { above, from: fromOn } = TABLES[kind]
    const rows = this.#database.statement(includesFrom ? fromOn : above)
    return rows.all(columnOf(kind, from), limit).map(({ key }) => keyIn(key))
  }

  readonly lacking = (asked: {
    readonly kind: MetadataKind
    readonly keys: readonly Uint8Array[]
  }): boolean[] => {
    const has = this.#database.statement(TABLES[asked.kind].has)
    return asked.keys.map((key) => has.get(columnOf(asked.kind, key)) === undefined)
  }

  /** Tells of each record whether it is not here, or only of a lower sequence. */
  readonly behind = (
    records: readonly { readonly name: string; readonly sequence: number }[]
  ): boolean[] => {
    const find = this.#database.statement('SELECT sequence FROM records WHERE name = ?')
    return records.map(({ name, sequence }) => {
      const there = find.get(name)?.['sequence']
      return there === undefined || Number(there) < sequence
    })
  }

  readonly provenNodes = (keys: readonly Uint8Array[]): ProvenRows => {
    const find = this.#database.statement('SELECT bytes, proof FROM nodes WHERE key = ?')
    const places = new Map<number, number>()
    const proofs: { ticket: Uint8Array; proof: Uint8Array }[] = []
    const nodes = keys.map((key) => {
      const row = find.get(key)
      if (row === undefined) return undefined
      const proofId = Number(row['proof'])
      const place = places.get(proofId) ?? proofs.push(this.#proof(proofId)) - 1
      places.set(proofId, place)
      return { bytes: bytesIn(row['bytes']), proof: place }
    })
    return { nodes, proofs }
  }

  /** First 40 bytes of node keys, each once, above `after`. */
  readonly nodeVersions = (asked: {
    readonly after: Uint8Array
    readonly limit: number
  }): Uint8Array[] => {
    const next = this.#database.statement(TABLES.nodes.above.replace('LIMIT ?', 'LIMIT 1'))
    const found: Uint8Array[] = []
    for (let { after } = asked; found.length < asked.limit; ) {
      const row = next.get(after)
      if (row === undefined) break
      const prefix = keyIn(row['key']).slice(0, VERSION_PREFIX_BYTES)
      found.push(prefix)
      after = new Uint8Array(NODE_KEY_BYTES).fill(0xff)
      after.set(prefix)
    }
    return found
  }

  /** Deletes keys, and with the last node of a proof or ticket also that. In a transaction. */
  delete({ of, keys }: RowDeletion): DeletedRows {
    const remove = this.#database.statement(TABLES[of].delete)
    const proofs = new Set<number>()
    let count = 0
    let bytes = 0
    for (const key of keys) {
      const row = remove.get(columnOf(of, key))
      if (row === undefined) continue
      count += 1
      bytes += Number(row['bytes'])
      if (of === 'nodes') proofs.add(Number(row['proof']))
    }
    return { count, bytes: bytes + this.#deleteProofs(proofs) }
  }

  /**
   * Shortens the file by at most so many of its free pages, as long as it keeps some.
   *
   * @returns how many more could be given back.
   */
  readonly giveBack = (asked: { readonly pages: number; readonly keep: number }): number => {
    const row = this.#database.opened.prepare('PRAGMA freelist_count').get()
    const free = Number(row?.['freelist_count'] ?? 0) - asked.keep
    if (free <= 0) return 0
    const pages = Math.min(free, asked.pages)
    this.#database.opened.exec(`PRAGMA incremental_vacuum(${pages})`)
    return free - pages
  }

  /** @returns bytes of proofs and tickets that no node needs any more. */
  #deleteProofs(proofs: ReadonlySet<number>): number {
    const removeProof = this.#database.statement(
      `DELETE FROM proofs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM nodes WHERE proof = ?1)
       RETURNING ticket, length(envelope) AS bytes`
    )
    const removeTicket = this.#database.statement(
      `DELETE FROM tickets WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM proofs WHERE ticket = ?1)
       RETURNING length(envelope) AS bytes`
    )
    const tickets = new Set<number>()
    let bytes = 0
    for (const id of proofs) {
      const removed = removeProof.get(id)
      if (removed === undefined) continue
      bytes += Number(removed['bytes'])
      tickets.add(Number(removed['ticket']))
    }
    for (const id of tickets) bytes += Number(removeTicket.get(id)?.['bytes'] ?? 0)
    return bytes
  }

  #proof(id: number): { ticket: Uint8Array; proof: Uint8Array } {
    const row = this.#database
      .statement(
        `SELECT tickets.envelope AS ticket, proofs.envelope AS proof
         FROM proofs JOIN tickets ON tickets.id = proofs.ticket WHERE proofs.id = ?`
      )
      .get(id)
    return { ticket: bytesIn(row?.['ticket']), proof: bytesIn(row?.['proof']) }
  }
}

/** Records are found by text, whose order in SQLite is that of its bytes. */
function columnOf(kind: MetadataKind, key: Uint8Array): Uint8Array | string {
  return kind === 'records' ? Buffer.from(key).toString() : key
}

function keyIn(value: unknown): Uint8Array {
  return typeof value === 'string' ? new Uint8Array(Buffer.from(value)) : bytesIn(value)
}

function bytesIn(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new Error('it is corrupt (a row without bytes)')
  return value
}
