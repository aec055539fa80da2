import { chunkIdOfKey, chunkKey, isZeroChunk } from '../chunks/chunk-id.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { signLocation } from './location.ts'
import { type LocatedPage, readLocatedPages } from './repair-pages.ts'
import type { RepairerComponents } from './repair-types.ts'
import { MAX_REPLICAS_LISTED } from './replica-sets.ts'
import type { LocationRecord } from './sealing-types.ts'
import type { NamedRecord } from './store-types.ts'

/** Records that are read, made and stored together; one has 2 to 200 KiB. */
const RECORDS_PER_BATCH = 16

/** Times that a record is made again because a sealing has written a newer one meanwhile. */
const MAX_TRIES = 4

/** What has changed for a chunk: who holds it now and was not listed, and who was and does not. */
interface Change {
  readonly added: Set<ProviderId>
  readonly dropped: Set<ProviderId>
}

export type LocationEditsComponents = Pick<
  RepairerComponents,
  'metadata' | 'signer' | 'verifier'
> & { readonly log: Logger }

/**
 * Gathers what is new about chunks, and writes it into the location records of their pages, each
 * record once for all of it. A record is read again before it is written, so that what others wrote
 * meanwhile stays in it.
 */
export class LocationEdits {
  readonly #components: LocationEditsComponents
  #changes = new Map<string, Map<string, Change>>()
  #count = 0
  #writing: Promise<unknown> = Promise.resolve()
  #failed = 0

  constructor(components: LocationEditsComponents) {
    this.#components = components
  }

  /** Chunks of which something new is not written yet. */
  get count(): number {
    return this.#count
  }

  /** Pages whose record could not be written. */
  get failed(): number {
    return this.#failed
  }

  /** Notes where a chunk of a page is, or is no longer; both by their map keys. */
  note(page: string, chunk: string, change: Partial<Record<keyof Change, readonly string[]>>) {
    const ofPage = this.#changes.get(page) ?? new Map<string, Change>()
    this.#changes.set(page, ofPage)
    const known = ofPage.get(chunk)
    if (known === undefined) this.#count++
    const { added, dropped } = known ?? { added: new Set(), dropped: new Set() }
    for (const id of change.added ?? []) {
      added.add(id)
      dropped.delete(id)
    }
    for (const id of change.dropped ?? []) {
      dropped.add(id)
      added.delete(id)
    }
    ofPage.set(chunk, { added, dropped })
  }

  /**
   * Writes what was noted until now.
   *
   * @returns false if some of it could not be written: the next look finds it again.
   */
  async flush(options: AbortOptions): Promise<boolean> {
    const writing = this.#writing.then(async () => await this.#write(options))
    this.#writing = writing.catch(() => {})
    return await writing
  }

  async #write(options: AbortOptions): Promise<boolean> {
    const changes = this.#changes
    this.#changes = new Map()
    this.#count = 0
    const before = this.#failed
    const pages = Array.from(changes.keys())
    for (let from = 0; from < pages.length; from += RECORDS_PER_BATCH) {
      await this.#writeSome(pages.slice(from, from + RECORDS_PER_BATCH), changes, options)
    }
    return this.#failed === before
  }

  async #writeSome(
    pages: readonly string[],
    changes: ReadonlyMap<string, ReadonlyMap<string, Change>>,
    options: AbortOptions
  ): Promise<void> {
    const { metadata, log, signer } = this.#components
    for (let tries = 1; ; tries++) {
      const read = { ...options, log }
      const ids = pages.map(chunkIdOfKey)
      const { pages: found, unread } = await readLocatedPages(this.#components, ids, read)
      const records: NamedRecord[] = []
      for (const page of found) {
        const record = changed(page, changes.get(chunkKey(page.record.page)) ?? new Map())
        if (record !== undefined) records.push(signLocation(signer, record))
      }
      try {
        if (records.length > 0) await metadata.putRecords(records, options)
        this.#failed += unread
        return
      } catch (thrown) {
        options.signal?.throwIfAborted()
        if (errorCode(thrown) === 'ERR_RECORD_CONFLICT' && tries < MAX_TRIES) continue
        this.#failed += pages.length
        log.info('%d location records are not written: %e', records.length, toError(thrown))
        return
      }
    }
  }
}

/** @returns undefined if the record says all that already. */
function changed(
  { ids, record }: LocatedPage,
  changes: ReadonlyMap<string, Change>
): LocationRecord | undefined {
  let isNew = false
  const replicas = record.replicas.map((set, place) => {
    const id = ids.get(place)
    const change = isZeroChunk(id) ? undefined : changes.get(chunkKey(id))
    if (change === undefined) return set
    const staying = set.filter((provider) => !change.dropped.has(provider))
    const added = Array.from(change.added).filter((provider) => !set.includes(provider))
    if (added.length === 0 && staying.length === set.length) return set
    isNew = true
    return [...added, ...staying].slice(0, MAX_REPLICAS_LISTED)
  })
  return isNew ? { page: record.page, sequence: record.sequence + 1, replicas } : undefined
}
