import { REQUEST_CLASSES, type RequestClass } from '../protocols/swarm.ts'
import type { Downloader } from './downloader.ts'
import type { Neighbour } from './neighbour.ts'
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

interface Tally {
  chunks: number
  bytes: number
}

/** Counts what is missing; takes a look at every missing chunk and every neighbour. */
export function describeMissing(session: ImageSession): MissingDescription {
  const { table, holdings, downloader } = session
  const neighbours = Array.from(session.neighbours.values())
  const byClass = new Map<RequestClass, Tally>()
  const copies = new Map<number, number>()
  const nobodyHolds: number[] = []
  const sum: Tally = { chunks: 0, bytes: 0 }
  let heldBySourcesOnly = 0
  for (const chunk of table.distinct()) {
    if (holdings.has(chunk)) continue
    const bytes = table.byteLength(chunk)
    add(sum, bytes)
    add(tallyOf(byClass, downloader?.plan.picker.classOf(chunk) ?? 'rest'), bytes)
    const { sources, others } = holdersOf(neighbours, chunk)
    const count = sources + others
    copies.set(count, (copies.get(count) ?? 0) + 1)
    if (count === 0 && nobodyHolds.length < MAX_NAMED) nobodyHolds.push(chunk)
    if (others === 0 && sources > 0) heldBySourcesOnly++
  }
  return {
    ...sum,
    byClass: inOrder(byClass),
    ...stagesOf(downloader, sum.chunks),
    heldByNobody: copies.get(0) ?? 0,
    nobodyHolds,
    heldBySourcesOnly,
    copies: rowsOf(copies)
  }
}

function stagesOf(downloader: Downloader | undefined, missing: number) {
  if (downloader?.isRunning !== true) return { pending: 0, storing: 0, open: missing }
  const { openCount, storingCount: storing, ledger } = downloader.plan
  // What a source is to choose is asked for, too, though nobody knows yet which chunks those are.
  const open = Math.max(0, openCount - ledger.unboundCount)
  return { pending: Math.max(0, missing - open - storing), storing, open }
}

function holdersOf(
  neighbours: readonly Neighbour[],
  chunk: number
): { sources: number; others: number } {
  let [sources, others] = [0, 0]
  for (const neighbour of neighbours) {
    if (!neighbour.holds(chunk)) continue
    if (neighbour.isSource) sources++
    else others++
  }
  return { sources, others }
}

function add(tally: Tally, bytes: number): void {
  tally.chunks++
  tally.bytes += bytes
}

function tallyOf<K>(tallies: Map<K, Tally>, key: K): Tally {
  const tally = tallies.get(key) ?? { chunks: 0, bytes: 0 }
  tallies.set(key, tally)
  return tally
}

function inOrder(
  byClass: ReadonlyMap<RequestClass, Tally>
): Partial<Record<RequestClass, ChunkCount>> {
  const present = REQUEST_CLASSES.filter((name) => byClass.has(name))
  return Object.fromEntries(present.map((name) => [name, byClass.get(name)]))
}

function rowsOf(copies: ReadonlyMap<number, number>): MissingDescription['copies'] {
  const rows = Array.from(copies, ([count, chunks]) => ({ copies: count, chunks })).toSorted(
    (left, right) => left.copies - right.copies
  )
  const kept = rows.slice(0, MAX_COPY_ROWS)
  const last = kept.pop()
  if (last === undefined) return []
  const rest = rows.slice(MAX_COPY_ROWS).reduce((sum, { chunks }) => sum + chunks, 0)
  return [...kept, { copies: last.copies, chunks: last.chunks + rest }]
}
