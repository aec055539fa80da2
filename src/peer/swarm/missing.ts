import { REQUEST_CLASSES, type RequestClass } from '../protocols/swarm.ts'
import { countCopies } from './copy-count.ts'
import type { Downloader } from './downloader.ts'
import type { ImageSession } from './session.ts'

/** Chunks, each counted once however often it occurs in the image, and their bytes. */
export interface ChunkCount {
  readonly chunks: number
  readonly bytes: number
}

/** What of an image is not there, and where it could come from. */
export interface MissingDescription extends ChunkCount {
  readonly byClass: Readonly<Partial<Record<RequestClass, ChunkCount>>>
  /** Asked for and not come; come and not stored; asked of nobody now. */
  readonly pending: number
  readonly storing: number
  readonly open: number
  /** Chunks that no neighbour holds, and the first few of them. */
  readonly heldByNobody: number
  readonly nobodyHolds: readonly number[]
  /** Chunks that only sources hold. */
  readonly heldBySourcesOnly: number
  /** How many chunks so many neighbours hold, the rarest first, the most common ones summed up. */
  readonly copies: readonly { readonly copies: number; readonly chunks: number }[]
}

/** Chunks that are named at most. */
const MAX_NAMED = 16
/** Rows of the table of copies; the last one counts all above it, too. */
const MAX_COPY_ROWS = 8

/** Counts what is missing, in little time whatever the size of the image and the number of neighbours. */
export function describeMissing(session: ImageSession): MissingDescription {
  const { table, holdings, downloader } = session
  const neighbours = Array.from(session.neighbours.values())
  const counted = countCopies(table, holdings.field, neighbours, MAX_NAMED)
  const chunks = table.distinctCount - holdings.distinctCount
  return {
    chunks,
    bytes: bytesOf(session, chunks, true),
    byClass: classesOf(session, chunks),
    ...stagesOf(downloader, chunks),
    heldByNobody: counted.chunksByCopies[0] ?? 0,
    nobodyHolds: counted.nobodyHolds,
    heldBySourcesOnly: counted.atSourcesOnly,
    copies: rowsOf(counted.chunksByCopies)
  }
}

/** Bytes of so many missing chunks, the last one of the image among them or not if it is missing. */
function bytesOf({ table, holdings }: ImageSession, chunks: number, withLast: boolean): number {
  const { chunkBytes } = table.manifest
  const last = table.count - 1
  const isShort = withLast && chunks > 0 && table.isDistinct(last) && !holdings.has(last)
  return chunks * chunkBytes - (isShort ? chunkBytes - table.byteLength(last) : 0)
}

function classesOf(session: ImageSession, missing: number): MissingDescription['byClass'] {
  const { table, downloader } = session
  const picker = downloader?.plan.picker
  const lastClass = picker?.classOf(table.count - 1) ?? 'rest'
  const counted = (requestClass: RequestClass): number =>
    requestClass === 'rest' ? 0 : (picker?.countOf(requestClass) ?? 0)
  const raised = REQUEST_CLASSES.reduce((sum, requestClass) => sum + counted(requestClass), 0)
  const entries = REQUEST_CLASSES.flatMap((name) => {
    const chunks = name === 'rest' ? Math.max(0, missing - raised) : counted(name)
    return chunks === 0
      ? []
      : [[name, { chunks, bytes: bytesOf(session, chunks, name === lastClass) }]]
  })
  return Object.fromEntries(entries) as MissingDescription['byClass']
}

function stagesOf(downloader: Downloader | undefined, missing: number) {
  if (downloader?.isRunning !== true) return { pending: 0, storing: 0, open: missing }
  const { openCount, storingCount: storing, ledger } = downloader.plan
  // What a source is to choose is asked for, too, though nobody knows yet which chunks those are.
  const open = Math.max(0, openCount - ledger.unboundCount)
  return { pending: Math.max(0, missing - open - storing), storing, open }
}

function rowsOf(chunksByCopies: readonly number[]): MissingDescription['copies'] {
  const rows = chunksByCopies
    .map((chunks, copies) => ({ copies, chunks }))
    .filter(({ chunks }) => chunks > 0)
  const kept = rows.slice(0, MAX_COPY_ROWS)
  const last = kept.pop()
  if (last === undefined) return []
  const rest = rows.slice(MAX_COPY_ROWS).reduce((sum, { chunks }) => sum + chunks, 0)
  return [...kept, { copies: last.copies, chunks: last.chunks + rest }]
}
