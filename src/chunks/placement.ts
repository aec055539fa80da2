import type { Random } from '../lib/random.ts'
import type { PlacementRequest, ProviderId, ProviderState } from './types.ts'

/** What placement knows of a provider: its state, and the bytes that were promised to it since its last report. */
export interface Candidate extends Pick<ProviderState, 'id' | 'zone' | 'freeBytes' | 'load'> {
  readonly promisedBytes: number
  /** Chunks placed on it so far, for strategies that take turns. */
  readonly placedCount: number
}

/** Chooses one of several candidates for the next copy of a chunk; there is at least one. */
export type PlacementStrategy = (candidates: readonly Candidate[], random: Random) => Candidate

/** Names of the strategies that the configuration knows. */
export type PlacementName = 'roundRobin' | 'freeSpace' | 'leastLoadedOfTwo'

/** Whoever has been given the fewest chunks (BlobSeer's own rule). */
const roundRobin: PlacementStrategy = (candidates) =>
  least(candidates, ({ placedCount }) => placedCount)

/** By chance, in proportion to free space. */
const freeSpace: PlacementStrategy = (candidates, random) => {
  const weights = candidates.map(roomOf)
  let rest = random() * weights.reduce((sum, weight) => sum + weight, 0)
  const found = candidates.find((_, at) => (rest -= weights[at] ?? 0) < 0)
  return found ?? first(candidates)
}

/** The better of two that chance picks: less work, then more room. Spreads well though reports are old. */
const leastLoadedOfTwo: PlacementStrategy = (candidates, random) => {
  const a = first(candidates, Math.floor(random() * candidates.length))
  const b = first(candidates, Math.floor(random() * candidates.length))
  return workOf(a) === workOf(b) ? least([a, b], (one) => -roomOf(one)) : least([a, b], workOf)
}

/** The strategies by name. */
export const PLACEMENT_STRATEGIES: Readonly<Record<PlacementName, PlacementStrategy>> = {
  roundRobin,
  freeSpace,
  leastLoadedOfTwo
}

/**
 * Chooses providers for `count` chunks: never two copies of one chunk on one provider, copies in
 * different zones as long as there are zones without one, nobody who lacks the room.
 *
 * @returns for each chunk its providers, fewer than asked for (down to none) when there are not enough.
 */
export function placeChunks(
  request: PlacementRequest,
  providers: readonly Candidate[],
  strategy: PlacementStrategy,
  random: Random
): ProviderId[][] {
  const { count, chunkBytes, replicas, exclude = [] } = request
  const excluded = new Set(exclude)
  const candidates = providers.filter(({ id }) => !excluded.has(id))
  return Array.from({ length: count }, () => {
    const chosen: Candidate[] = []
    while (chosen.length < replicas) {
      const possible = candidates.filter(
        (candidate) => !chosen.includes(candidate) && roomOf(candidate) >= chunkBytes
      )
      if (possible.length === 0) break
      const zones = new Set(chosen.map(({ zone }) => zone))
      const elsewhere = possible.filter(({ zone }) => !zones.has(zone))
      const next = strategy(elsewhere.length > 0 ? elsewhere : possible, random)
      const at = candidates.findIndex(({ id }) => id === next.id)
      const promised = {
        ...next,
        promisedBytes: next.promisedBytes + chunkBytes,
        placedCount: next.placedCount + 1
      }
      candidates[at] = promised
      chosen.push(promised)
    }
    return chosen.map(({ id }) => id)
  })
}

function roomOf({ freeBytes, promisedBytes }: Candidate): number {
  return Math.max(0, freeBytes - promisedBytes)
}

function workOf({ load, placedCount }: Candidate): number {
  return load + placedCount
}

function first(candidates: readonly Candidate[], at = 0): Candidate {
  const found = candidates[at]
  if (found === undefined) throw new RangeError('a placement strategy needs a candidate')
  return found
}

function least(
  candidates: readonly Candidate[],
  rank: (candidate: Candidate) => number
): Candidate {
  return candidates.reduce((best, one) => (rank(one) < rank(best) ? one : best))
}
