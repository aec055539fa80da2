import { chunkKey, isZeroChunk } from '../chunks/chunk-id.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { LocatedPage } from './repair-pages.ts'
import type { Question } from './repair-survey.ts'

/** A chunk of some pages that are looked at together. */
export interface LookedAt extends Question {
  readonly key: string
  /** The pages that list it, by their map keys, each with who has it according to its record. */
  readonly pages: Map<string, readonly ProviderId[]>
}

/** Tells whether all records name exactly those who hold a chunk. */
export function isAsListed(
  lists: Iterable<readonly ProviderId[]>,
  holders: ReadonlySet<ProviderId>
): boolean {
  for (const listed of lists) {
    if (listed.length !== holders.size || !listed.every((id) => holders.has(id))) return false
  }
  return true
}

/** Those of the providers that some record names. */
export function named(
  lists: Iterable<readonly ProviderId[]>,
  providers: ReadonlySet<ProviderId>
): ProviderId[] {
  if (providers.size === 0) return []
  return [...new Set([...lists].flat())].filter((id) => providers.has(id))
}

/** The different chunks of some pages. */
export function chunksOf(pages: readonly LocatedPage[]): LookedAt[] {
  const chunks = new Map<string, LookedAt>()
  for (const { ids, record } of pages) {
    const page = chunkKey(record.page)
    for (let place = 0; place < ids.count; place++) {
      const id = ids.get(place)
      if (isZeroChunk(id)) continue
      const key = chunkKey(id)
      const chunk = chunks.get(key) ?? {
        id,
        key,
        pages: new Map<string, readonly ProviderId[]>(),
        asked: new Set<ProviderId>(),
        holders: new Set<ProviderId>(),
        silent: new Set<ProviderId>()
      }
      chunks.set(key, chunk)
      chunk.pages.set(page, record.replicas[place] ?? [])
    }
  }
  return [...chunks.values()]
}
