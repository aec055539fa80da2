import type { ChunkTable } from './chunk-table.ts'
import type { SearchState } from './dialling.ts'
import type { WaitReason } from './errors.ts'

/** What is known of a download that gets nothing. */
export interface WaitView {
  /** Until the rate limit lets a chunk through; 0 if it does. */
  readonly limitedMs: number
  /** Chunks that came and are not stored. */
  readonly storingCount: number
  /** Neighbours that owe chunks. */
  readonly owing: readonly string[]
  readonly neighbours: Iterable<HeldBy>
  readonly search: SearchState
  readonly table: ChunkTable
  readonly isHeld: (chunk: number) => boolean
}

/** A neighbour, and what it holds. */
interface HeldBy {
  readonly peerId: string
  readonly holds: (chunk: number) => boolean
}

/** Why nothing comes, who is waited for, and when something changes by itself, if that is known. */
export interface WaitCause {
  readonly reason: WaitReason
  readonly peers: readonly string[]
  readonly nextInMs?: number
}

/** Peers that are named at most. */
const MAX_NAMED = 4

/** Finds out why nothing comes. Takes the longer the more chunks are missing: not for every message. */
export function causeOfWait(view: WaitView): WaitCause {
  const { limitedMs, storingCount, owing, search } = view
  if (storingCount > 0) return { reason: 'disk', peers: [] }
  if (owing.length > 0) return named('answers', owing)
  if (limitedMs > 0) return { reason: 'rate limit', peers: [], nextInMs: limitedMs }
  const neighbours = Array.from(view.neighbours)
  if (neighbours.length > 0) {
    const holders = neighbours.filter(({ holds }) => holdsMissing(view, holds))
    return holders.length === 0
      ? { reason: 'chunks', peers: [] }
      : named(
          'spread',
          holders.map(({ peerId }) => peerId)
        )
  }
  if (search.connecting.length > 0) return named('dial', search.connecting)
  if (search.isLookingUp) return { reason: 'look-up', peers: [] }
  return { reason: 'neighbours', peers: [], nextInMs: search.nextInMs }
}

function named(reason: WaitReason, peers: readonly string[]): WaitCause {
  return { reason, peers: peers.slice(0, MAX_NAMED) }
}

function holdsMissing({ table, isHeld }: WaitView, holds: (chunk: number) => boolean): boolean {
  for (const chunk of table.distinct()) if (!isHeld(chunk) && holds(chunk)) return true
  return false
}
