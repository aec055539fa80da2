import { LeaseTable, type LeaseTableOptions } from '../chunks/lease-table.ts'
import { blake3 } from '../lib/blake3.ts'
import type { Clock } from '../lib/clock.ts'
import { checkKeys, MAX_KEYS, recordKey } from './metadata-keys.ts'
import type { KeyScan, MetadataKind, NamedRecord, Page } from './store-types.ts'

/** Stands for nothing that is kept. */
const NO_KEY = new Uint8Array(32)

/**
 * Leases of the pages and records of one metadata provider: from each put on they are safe from
 * collection for a while. Nodes have none.
 */
export class MetadataLeases {
  readonly #table: LeaseTable

  constructor(components: { readonly clock: Clock }, options: LeaseTableOptions = {}) {
    this.#table = new LeaseTable(components, options)
  }

  /** To be called before their put is queued. */
  grantPages(pages: readonly Page[]): void {
    for (const { id } of pages) this.#table.grant(id)
  }

  /** To be called before their put is queued. */
  grantRecords(records: readonly NamedRecord[]): void {
    for (const { name } of records) this.#table.grant(leaseKey('records', recordKey(name)))
  }

  /** Opens a collection, in place of any before. @returns its name. */
  begin(): string {
    return this.#table.begin()
  }

  /** @throws {CollectionEndedError} if it is not the one that is open. */
  check(collection: string): void {
    this.#table.isLeased(collection, NO_KEY)
  }

  /**
   * Those of the keys that may be deleted.
   *
   * @throws {CollectionEndedError}
   * @throws {MetadataLimitError | MalformedError} for keys that cannot be.
   */
  unleased(
    collection: string,
    kind: MetadataKind,
    keys: readonly Uint8Array[]
  ): readonly Uint8Array[] {
    this.check(collection)
    checkKeys(kind, keys)
    if (kind === 'nodes') return keys
    return keys.filter((key) => !this.#table.isLeased(collection, leaseKey(kind, key)))
  }

  /**
   * Goes through keys until some have no lease.
   *
   * @returns those, at most as many as the scan says; none at the end of the keys.
   */
  async listUnleased(
    collection: string,
    scan: KeyScan,
    read: (scan: KeyScan) => Promise<Uint8Array[]>
  ): Promise<Uint8Array[]> {
    this.check(collection)
    const limit = Math.min(scan.limit ?? MAX_KEYS, MAX_KEYS)
    for (let { after } = scan; ; ) {
      const keys = await read({ ...scan, after, limit })
      const found = this.unleased(collection, scan.kind, keys)
      if (found.length > 0 || keys.length < limit) return [...found]
      after = keys.at(-1)
    }
  }
}

/** Leases are kept by hashes; names are none. */
function leaseKey(kind: MetadataKind, key: Uint8Array): Uint8Array {
  return kind === 'records' ? blake3(key) : key
}
