import type { AbortOptions } from '../lib/abort-options.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Participant } from './collection-participants.ts'
import { checkLast } from './collection-sweep.ts'
import type { BlobRoots } from './collection-types.ts'
import { StateLostError } from './errors.ts'
import { recordName } from './metadata-keys.ts'
import type { CollectableMetadata, RecordStore } from './store-types.ts'
import type { BlobId } from './types.ts'
import { decodeVersionRecord } from './version-record.ts'

/** Records of unknown blobs that are looked at, at each metadata provider. */
const MAX_LOOKED_AT = 64

/** What is compared before anything is deleted. */
export interface StateCheck {
  /** When the version manager's state began, milliseconds since the epoch. */
  readonly beganMs: number
  readonly roots: readonly BlobRoots[]
  readonly records: Pick<RecordStore, 'getRecords'>
}

/**
 * Makes sure that the version manager's state is not a younger one than what is stored: an empty
 * file in the place of a lost one would make all images garbage. Of blobs that were forgotten no
 * records are left, so a record of a blob that nobody knows, from before the state began, says that
 * there was another state.
 *
 * @throws {StateLostError}
 */
export async function checkStateIsWhole(
  participant: Participant<CollectableMetadata>,
  { beganMs, roots, records }: StateCheck,
  options: AbortOptions
): Promise<void> {
  const known = new Set(roots.map(({ blob }) => blob))
  const prefix = Buffer.from('version/')
  const names: string[] = []
  for (let after: Uint8Array | undefined; names.length < MAX_LOOKED_AT; ) {
    const above = after
    const listed = await participant.ask(async (store, collection, asked) => {
      const scan = { kind: 'records', prefix, after: above } as const
      const keys = await store.unleased(collection, scan, asked)
      return { keys, last: checkLast(keys, above) }
    }, options)
    after = listed?.last
    if (listed === undefined || after === undefined) break
    const unknown = listed.keys.map(recordName).filter((name) => isUnknown(name, known))
    names.push(...unknown)
  }
  const found = await records.getRecords(names.slice(0, MAX_LOOKED_AT), options)
  for (const record of found) {
    const made = record === undefined ? undefined : timeOf(record.envelope.payload)
    if (made !== undefined && made < beganMs) throw new StateLostError(made, beganMs)
  }
}

function isUnknown(name: string, known: ReadonlySet<BlobId>): boolean {
  const blob = /^version\/([0-9a-f]{64})\//.exec(name)?.[1]
  return blob !== undefined && !known.has(blob)
}

/** When a version was published; undefined for what is no record. */
function timeOf(payload: Uint8Array): number | undefined {
  try {
    return decodeVersionRecord(payload).timeMs
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}
