import { isZeroChunk } from '../chunks/chunk-id.ts'
import { MAX_MANIFEST_CHILDREN } from '../chunks/manifest.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import type { LeafList } from './leaf-list.ts'
import { signLocation } from './location.ts'
import type { ManifestView } from './manifest-view.ts'
import { sortedReplicas } from './replica-sets.ts'
import type { LocationRecord } from './sealing-types.ts'
import type { Signer } from './signature-types.ts'
import type { NamedRecord, RecordStore } from './store-types.ts'

/** Records that are read, made and stored together; one has 2 to 200 KiB. */
const RECORDS_PER_BATCH = 16

export interface SealLocationsComponents {
  readonly records: RecordStore
  readonly signer: Signer
  readonly logger: Logger
}

/** What a version's location records follow from. */
export interface SealedManifest {
  readonly manifest: ManifestView
  /** What the version changed: one whole chunk a leaf. */
  readonly sealed: LeafList
  readonly parent: ManifestView | undefined
}

/**
 * Stores a location record for each page that the version does not share with its parent: where the
 * writer stored what it changed, and for the rest where the parent's record says. A page that
 * exists already (the same content elsewhere, or a sealing that was cut off) keeps what its record
 * knows.
 */
export async function sealLocations(
  components: SealLocationsComponents,
  version: SealedManifest,
  options: AbortOptions = {}
): Promise<void> {
  const { records } = components
  const pages = touchedPages(version)
  const changes = new ChangedReplicas(version.sealed)
  for (let from = 0; from < pages.length; from += RECORDS_PER_BATCH) {
    const made: NamedRecord[] = []
    for (const page of pages.slice(from, from + RECORDS_PER_BATCH)) {
      const changed = changes.ofPage(page)
      const record = await makeRecord(version, page, changed, options)
      if (record !== undefined) made.push(signLocation(components.signer, record))
    }
    if (made.length > 0) await records.putRecords(made, options)
  }
}

/**
 * Numbers of the pages that list changed chunks, or have another length than the parent's, in
 * order.
 */
function touchedPages({ manifest, sealed, parent }: SealedManifest): number[] {
  const pages = new Set<number>()
  for (let row = 0; row < sealed.fragmentCount; row++) {
    pages.add(Math.floor(sealed.index(row) / MAX_MANIFEST_CHILDREN))
  }
  const shared = Math.min(parent?.chunkCount ?? 0, manifest.chunkCount)
  if (shared > 0) pages.add(Math.floor((shared - 1) / MAX_MANIFEST_CHILDREN))
  return Array.from(pages).toSorted((left, right) => left - right)
}

/** Walks the changed chunks once, page by page. */
class ChangedReplicas {
  readonly #sealed: LeafList
  #row = 0

  constructor(sealed: LeafList) {
    this.#sealed = sealed
  }

  /** Replica sets by place in the page; pages must be asked for in order. */
  ofPage(page: number): Map<number, readonly ProviderId[]> {
    const changed = new Map<number, readonly ProviderId[]>()
    const start = page * MAX_MANIFEST_CHILDREN
    while (this.#row < this.#sealed.fragmentCount) {
      const index = this.#sealed.index(this.#row)
      if (index >= start + MAX_MANIFEST_CHILDREN) break
      changed.set(index - start, this.#sealed.fragment(this.#row++).replicas)
    }
    return changed
  }
}

/**
 * Where there is nothing to say that the page's record does not say already, it is the same again:
 * a page that nobody needed until now may be about to be collected with its record, and storing
 * them keeps them.
 *
 * @returns undefined for a page of zeros.
 */
async function makeRecord(
  { manifest, parent }: SealedManifest,
  page: number,
  changed: ReadonlyMap<number, readonly ProviderId[]>,
  options: AbortOptions
): Promise<LocationRecord | undefined> {
  const id = await manifest.leafPageId(page, options)
  if (isZeroChunk(id)) return undefined
  const ids = await manifest.chunkIds(page, options)
  const isInParent = parent !== undefined && page < parent.leafPageCount
  const before = isInParent ? await parent.location(page, options) : undefined
  const known = await manifest.location(page, options)
  let isNew = known === undefined
  const replicas = Array.from(ids, (chunk, place) => {
    if (isZeroChunk(chunk)) return []
    const found = changed.get(place) ?? before?.replicas[place] ?? []
    const listed = known?.replicas[place] ?? []
    const all = sortedReplicas([...listed, ...found])
    isNew ||= all.length > listed.length
    return all
  })
  return { page: id, sequence: (known?.sequence ?? 0) + (isNew ? 1 : 0), replicas }
}
