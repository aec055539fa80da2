import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import { ChunkList } from '../chunks/chunk-list.ts'
import { decodeManifestRoot } from '../chunks/manifest.ts'
import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { toHex } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { locationRecordName, verifyLocation } from './location.ts'
import type { RepairerComponents } from './repair-types.ts'
import type { LocationRecord } from './sealing-types.ts'

/** A manifest page and where its chunks should be. */
export interface LocatedPage {
  /** Chunks in their places, the zero chunk among them. */
  readonly ids: ChunkList
  readonly record: LocationRecord
}

/** What was found of some pages. */
export interface PagesFound {
  readonly pages: readonly LocatedPage[]
  /** Pages of which there is a record, and no more can be known now. */
  readonly unread: number
}

/**
 * Reads pages and their location records. A page whose record is gone has been collected, and is
 * left out; one that cannot be read, or whose record does not fit, is only counted.
 */
export async function readLocatedPages(
  { metadata, verifier }: Pick<RepairerComponents, 'metadata' | 'verifier'>,
  ids: readonly ChunkId[],
  options: AbortOptions & { readonly log: Logger }
): Promise<PagesFound> {
  const { log, signal } = options
  try {
    const records = await metadata.getRecords(ids.map(locationRecordName), { signal })
    const bytes = await metadata.getPages(ids, { signal })
    const pages: LocatedPage[] = []
    let unread = 0
    for (const [at, id] of ids.entries()) {
      const record = records[at]
      if (record === undefined) continue
      try {
        pages.push(located(verifyLocation(verifier, record.envelope, id), bytes[at]))
      } catch (thrown) {
        unread++
        log.debug('page %s is passed over: %e', toHex(id), toError(thrown))
      }
    }
    return { pages, unread }
  } catch (thrown) {
    signal?.throwIfAborted()
    log.info('%d pages cannot be read: %e', ids.length, toError(thrown))
    return { pages: [], unread: ids.length }
  }
}

function located(record: LocationRecord, page: Uint8Array | undefined): LocatedPage {
  if (page === undefined) throw new MalformedError('location record', 'its page is missing')
  const ids = chunksOf(page)
  if (ids.count !== record.replicas.length) {
    const counts = `${record.replicas.length} replica sets for ${ids.count} chunks`
    throw new MalformedError('location record', counts)
  }
  return { ids, record }
}

/**
 * Chunks of a page that lists chunks: a root of no levels, or a page of the lowest level, which can
 * be told apart by their length (chunks/manifest.ts).
 */
function chunksOf(page: Uint8Array): ChunkList {
  if (page.byteLength % CHUNK_ID_BYTES === 0) return new ChunkList(page)
  const { shape, children } = decodeManifestRoot(page)
  if (shape.levels > 0) throw new MalformedError('manifest page', 'it lists no chunks')
  return children
}
