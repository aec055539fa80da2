import type { CollectableProvider, Collected } from '../chunks/provider-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { asBuffer, fromHex } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import type { CollectionMarks } from './collection-marks.ts'
import type { Collectable, Participant, Tally } from './collection-participants.ts'
import type { BlobRoots } from './collection-types.ts'
import { hasPrefix, recordName } from './metadata-keys.ts'
import { pathRecordName } from './path-record.ts'
import type { CollectableMetadata, MetadataKind } from './store-types.ts'
import type { BlobId, Version } from './types.ts'

/** One pass over keys of a store. */
export interface Sweep<S> {
  /** Keys that may be deleted, in order, above `after`; none when there are no more. */
  readonly list: (
    asked: S,
    collection: string,
    request: { readonly after: Uint8Array | undefined } & AbortOptions
  ) => Promise<Uint8Array[]>
  readonly isGarbage: (key: Uint8Array) => boolean
  /** Deletes keys, or only says what that would free. */
  readonly collect: (
    asked: S,
    collection: string,
    request: { readonly keys: readonly Uint8Array[]; readonly isDryRun: boolean } & AbortOptions
  ) => Promise<Collected>
}

/** Names of the records that stay: those of these versions, of marked pages, and of paths. */
export class LiveRecords {
  readonly #versions = new Map<BlobId, ReadonlySet<Version>>()
  readonly #marks: CollectionMarks
  readonly #paths: ReadonlySet<string> | undefined

  /** `paths` are those that name a blob; undefined if that is not known. */
  constructor(roots: readonly BlobRoots[], marks: CollectionMarks, paths?: readonly string[]) {
    this.#paths = paths && new Set(paths.map(pathRecordName))
    for (const { blob, manifests } of roots) this.#versions.set(blob, new Set(manifests))
    this.#marks = marks
  }

  /** Tells whether a record stays; what has an unknown name does. */
  has(name: string): boolean {
    const location = /^location\/([0-9a-f]{64})$/.exec(name)?.[1]
    if (location !== undefined) return this.#marks.hasPage(fromHex(location))
    const [, blob, version] = /^version\/([0-9a-f]{64})\/(\d{1,16})$/.exec(name) ?? []
    if (/^path\/[0-9a-f]{64}$/.test(name)) return this.#paths?.has(name) ?? true
    if (blob === undefined) return true
    return this.#versions.get(blob)?.has(Number(version)) === true
  }
}

/** Deletes chunks that are not marked. */
export function chunkSweep(marks: CollectionMarks): Sweep<CollectableProvider> {
  return {
    list: async (provider, collection, { after, signal }) =>
      await provider.unleased(collection, after, { signal }),
    isGarbage: (id: ChunkId) => !marks.hasChunk(id),
    collect: async (provider, collection, { keys, isDryRun, signal }) =>
      await provider.collect(collection, keys, { isDryRun, signal })
  }
}

/** Deletes pages that are not marked. */
export function pageSweep(marks: CollectionMarks): Sweep<CollectableMetadata> {
  return metadataSweep('pages', (id) => !marks.hasPage(id))
}

/** Deletes records of what goes. */
export function recordSweep(live: LiveRecords): Sweep<CollectableMetadata> {
  return metadataSweep('records', (key) => !live.has(recordName(key)))
}

/**
 * Deletes keys of one kind.
 *
 * @param prefix only those that begin so. @default all
 */
export function metadataSweep(
  kind: MetadataKind,
  isGarbage: (key: Uint8Array) => boolean,
  prefix: Uint8Array = new Uint8Array()
): Sweep<CollectableMetadata> {
  return {
    list: async (store, collection, { after, signal }) =>
      await store.unleased(collection, { kind, after, prefix }, { signal }),
    isGarbage: (key) => hasPrefix(key, prefix) && isGarbage(key),
    collect: async (store, collection, { keys, isDryRun, signal }) =>
      isDryRun
        ? { count: keys.length, bytes: 0 }
        : await store.collect(collection, { kind, keys }, { signal })
  }
}

/**
 * Lists what a store may delete, and has it delete what is garbage. A store that answers nonsense
 * is left out from then on.
 *
 * @param to where it is counted; a dry run only counts.
 */
export async function sweep<S extends Collectable>(
  participant: Participant<S>,
  { list, isGarbage, collect }: Sweep<S>,
  to: { readonly tally: Tally; readonly isDryRun: boolean },
  options: AbortOptions
): Promise<void> {
  for (let after: Uint8Array | undefined; ; ) {
    const above = after
    const found = await participant.ask(async (store, collection, { signal }) => {
      const keys = await list(store, collection, { after: above, signal })
      return { last: checkLast(keys, above), garbage: keys.filter(isGarbage) }
    }, options)
    after = found?.last
    if (found === undefined || after === undefined) return
    const { garbage } = found
    if (garbage.length === 0) continue
    const { isDryRun } = to
    const collected = await participant.ask(
      (store, collection, { signal }) =>
        collect(store, collection, { keys: garbage, isDryRun, signal }),
      options
    )
    if (collected !== undefined) to.tally.add(collected)
  }
}

/**
 * Gives the last key of a listing, from which the next one goes on.
 *
 * @throws {MalformedError} if it is not above `after`, so that listing would never end.
 */
export function checkLast(
  keys: readonly Uint8Array[],
  after: Uint8Array | undefined
): Uint8Array | undefined {
  const last = keys.at(-1)
  if (last !== undefined && after !== undefined && asBuffer(last).compare(after) <= 0) {
    throw new MalformedError('list of keys', 'it does not go on')
  }
  return last
}
