import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { asBuffer, fromHex } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { checkLast } from './collection-sweep.ts'
import { recordKey } from './metadata-keys.ts'
import type { ScannedMetadata } from './repair-types.ts'

/** Names that a metadata provider is asked for at once. */
const NAMES_AT_ONCE = 1024

/** Owners that keep each record. */
const OWNERS = 3

const PREFIX = recordKey('location/')

/** How far a metadata provider has been walked through. */
class Cursor {
  readonly id: string
  readonly #store: ScannedMetadata['store']
  #keys: readonly Uint8Array[] = []
  #at = 0
  #last: Uint8Array | undefined
  #hasMore = true

  constructor({ id, store }: ScannedMetadata) {
    this.id = id
    this.#store = store
  }

  /** The next key; undefined at the end. */
  get key(): Uint8Array | undefined {
    return this.#keys[this.#at]
  }

  /** Whether the provider has to be asked before `key` is true. */
  get isDry(): boolean {
    return this.#at >= this.#keys.length && this.#hasMore
  }

  /** @throws {unknown} if the provider does not answer. */
  async load(options: AbortOptions): Promise<void> {
    const asked = { kind: 'records', prefix: PREFIX, after: this.#last } as const
    this.#keys = await this.#store.scan({ ...asked, limit: NAMES_AT_ONCE }, options)
    this.#at = 0
    this.#last = checkLast(this.#keys, this.#last) ?? this.#last
    this.#hasMore = this.#keys.length >= NAMES_AT_ONCE
  }

  /** Goes on behind a key. */
  pass(key: Uint8Array): void {
    while (this.key !== undefined && Buffer.compare(this.key, key) <= 0) this.#at++
  }
}

/**
 * Walks through the names of all location records, those of all metadata providers together in
 * order. Whoever fails is passed over from then on.
 */
export class LocationScan {
  readonly #members: readonly ScannedMetadata[]
  readonly #log: Logger
  #missed = 0

  constructor(members: readonly ScannedMetadata[], log: Logger) {
    this.#members = members
    this.#log = log
  }

  /** Metadata providers that could not be asked, or not to the end. */
  get missed(): number {
    return this.#missed
  }

  /**
   * Tells whether all names were seen for certain: as many were heard as it takes for at least one
   * of the majority that has acknowledged a record to be among them.
   */
  get isComplete(): boolean {
    const owners = Math.min(OWNERS, this.#members.length)
    return owners > 0 && this.#missed <= Math.floor(owners / 2)
  }

  /**
   * Walks through all names.
   *
   * @yields pages, each once, so many at a time.
   */
  async *pages(count: number, options: AbortOptions): AsyncGenerator<ChunkId[]> {
    let cursors = this.#members.map((member) => new Cursor(member))
    let pages: ChunkId[] = []
    for (;;) {
      if (cursors.some(({ isDry }) => isDry)) cursors = await this.#loaded(cursors, options)
      const key = lowest(cursors)
      if (key === undefined) break
      for (const cursor of cursors) cursor.pass(key)
      const page = pageOf(key)
      if (page === undefined) continue
      pages.push(page)
      if (pages.length < count) continue
      yield pages
      pages = []
    }
    if (pages.length > 0) yield pages
  }

  async #loaded(cursors: readonly Cursor[], options: AbortOptions): Promise<Cursor[]> {
    const loading = cursors.map(async (cursor) => {
      try {
        if (cursor.isDry) await cursor.load(options)
        return [cursor]
      } catch (thrown) {
        options.signal?.throwIfAborted()
        this.#missed++
        this.#log.info('%p is passed over by repair: %e', cursor.id, toError(thrown))
        return []
      }
    })
    return (await Promise.all(loading)).flat()
  }
}

function lowest(cursors: readonly Cursor[]): Uint8Array | undefined {
  let found: Uint8Array | undefined
  for (const { key } of cursors) {
    if (key === undefined) continue
    if (found === undefined || Buffer.compare(key, found) < 0) found = key
  }
  return found
}

/** The page that a record is about; undefined for a name that nobody of ours gives. */
function pageOf(key: Uint8Array): ChunkId | undefined {
  const hex = /^location\/([0-9a-f]{64})$/.exec(asBuffer(key).toString('latin1'))?.[1]
  return hex === undefined ? undefined : fromHex(hex)
}
