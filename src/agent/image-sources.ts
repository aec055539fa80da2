import { isZeroChunk } from '../chunks/chunk-id.ts'
import { MAX_MANIFEST_CHILDREN, type Manifest } from '../chunks/manifest.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { locationRecordName, verifyLocation } from '../metadata/location.ts'
import type { LocationRecord } from '../metadata/sealing-types.ts'
import type { Verifier } from '../metadata/signature-types.ts'
import type { NamedRecord, RecordStore } from '../metadata/store-types.ts'
import { PeerTimeoutError } from '../peer/errors.ts'

export interface ImageSourcesComponents {
  readonly metadata: Pick<RecordStore, 'getRecords'>
  readonly verifier: Verifier
  readonly clock: Clock
}

/** Location records that are asked for in one call. */
const RECORDS_AT_ONCE = 64
/** Where chunks are is only a hint: without it the others in the swarm are asked. */
const MAX_WAIT_MS = 2000

/** Where the chunks of an image are, as far as the location records could be had in time. */
export class ImageSources {
  readonly #records: readonly (LocationRecord | undefined)[]

  private constructor(records: readonly (LocationRecord | undefined)[]) {
    this.#records = records
  }

  /** Reads the location records of an image. Does not reject, unless aborted. */
  static async load(
    components: ImageSourcesComponents,
    manifest: Manifest,
    { signal }: AbortOptions = {}
  ): Promise<ImageSources> {
    const records: (LocationRecord | undefined)[] = []
    const { clock } = components
    try {
      await withDeadline(
        async (deadline) => {
          for (let from = 0; from < manifest.leafPageCount; from += RECORDS_AT_ONCE) {
            records.push(...(await readSome(components, manifest, from, deadline)))
            deadline.extend()
          }
        },
        { clock, timeoutMs: MAX_WAIT_MS, timedOut, signal }
      )
    } catch {
      signal?.throwIfAborted()
    }
    return new ImageSources(records)
  }

  /** Providers that have some of the chunks. */
  get providers(): ProviderId[] {
    return Array.from(new Set(this.#records.flatMap((record) => record?.replicas.flat() ?? [])))
  }

  /** Where a chunk was when somebody last looked; empty if nobody knows. */
  replicasOf(index: number): readonly ProviderId[] {
    const record = this.#records[Math.floor(index / MAX_MANIFEST_CHILDREN)]
    return record?.replicas[index % MAX_MANIFEST_CHILDREN] ?? []
  }
}

function timedOut(): Error {
  return new PeerTimeoutError('a metadata provider', 'location records', MAX_WAIT_MS)
}

async function readSome(
  { metadata, verifier }: ImageSourcesComponents,
  manifest: Manifest,
  from: number,
  options: AbortOptions
): Promise<(LocationRecord | undefined)[]> {
  const count = Math.min(RECORDS_AT_ONCE, manifest.leafPageCount - from)
  const pages = Array.from({ length: count }, (_, at) => manifest.leafPageId(from + at))
  const named = pages.filter((page) => !isZeroChunk(page))
  const { signal } = options
  const found = await metadata.getRecords(named.map(locationRecordName), { signal })
  const byName = new Map<string, NamedRecord>()
  for (const record of found) if (record !== undefined) byName.set(record.name, record)
  return pages.map((page) => {
    const record = byName.get(locationRecordName(page))
    if (record === undefined) return undefined
    try {
      return verifyLocation(verifier, record.envelope, page)
    } catch {
      return undefined // a wrong one is worth no more than none
    }
  })
}
