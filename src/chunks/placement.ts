import type { Random } from '../lib/random.ts'
import type { PlacementRequest, ProviderId, ProviderState } from './types.ts'

/** What placement knows of a provider. */
export interface Candidate
  extends Pick<ProviderState, 'id' | 'zone' | 'freeBytes' | 'load' | 'condition' | 'isDraining'> {
  /** Bytes of chunks that were placed on it since its last report. */
  readonly promisedBytes: number
  /** Chunks placed on it so far. */
  readonly placedCount: number
}

/** Chooses one of several candidates for a copy of a chunk; there is at least one. */
export type PlacementStrategy = (candidates: readonly Candidate[], random: Random) => Candidate

/** Chooses for the next copy, seeing where the other copies of the chunk are. */
export type ReplicaStrategy = (
  candidates: readonly Candidate[],
  chosen: readonly Candidate[],
  random: Random
) => Candidate

/** Names of the strategies that the configuration knows. */
export type PlacementName = 'roundRobin' | 'freeSpace' | 'leastLoadedOfTwo'

/** Whoever has been given the fewest chunks (BlobSeer's own rule). */
export const roundRobin: PlacementStrategy = (candidates) =>
  least(candidates, ({ placedCount }) => placedCount)

/** By chance, in proportion to free space. */
export const freeSpace: PlacementStrategy = (candidates, random) => {
  const total = candidates.reduce((sum, candidate) => sum + roomOf(candidate), 0)
  let rest = random() * total
  const found = candidates.find((candidate) => {
    rest -= roomOf(candidate)
    return rest < 0
  })
  return found ?? pick(candidates, 0)
}

/**
 * The better of two that chance picks: less work, then more room. Spreads well though reports are
 * old.
 */
export const leastLoadedOfTwo: PlacementStrategy = (candidates, random) => {
  const first = Math.floor(random() * candidates.length)
  const step = 1 + Math.floor(random() * (candidates.length - 1))
  const pair = [pick(candidates, first), pick(candidates, (first + step) % candidates.length)]
  const [a, b] = pair.map(workOf)
  return a === b ? least(pair, (candidate) => -roomOf(candidate)) : least(pair, workOf)
}

/** The strategies by name. */
export const PLACEMENT_STRATEGIES: Readonly<Record<PlacementName, PlacementStrategy>> = {
  roundRobin,
  freeSpace,
  leastLoadedOfTwo
}

/** Keeps the copies of a chunk in different zones as long as there is a zone without one. */
export function inDifferentZones(strategy: PlacementStrategy): ReplicaStrategy {
  return (candidates, chosen, random) => {
    const zones = new Set(chosen.map(({ zone }) => zone))
    const elsewhere = candidates.filter(({ zone }) => !zones.has(zone))
    return strategy(elsewhere.length > 0 ? elsewhere : candidates, random)
  }
}

/**
 * Chooses providers for chunks: live ones that are not being drained, are not excluded and have
 * room, never two copies of a chunk on one. What was promised to a provider counts as used unless
 * nobody would have room then, because promises are often not kept.
 *
 * @returns for each chunk its providers, fewer than asked for (down to none) when there are not
 * enough.
 */
export function placeChunks(
  request: PlacementRequest,
  providers: readonly Candidate[],
  strategy: ReplicaStrategy,
  random: Random
): ProviderId[][] {
  const { count, chunkBytes, replicas, exclude = [] } = request
  const excluded = new Set(exclude)
  const usable = new Map(
    providers
      .filter(({ id, condition, isDraining }) => {
        return condition === 'live' && !isDraining && !excluded.has(id)
      })
      .map((candidate) => [candidate.id, candidate])
  )
  return Array.from({ length: count }, () => {
    const chosen = new Map<ProviderId, Candidate>()
    while (chosen.size < replicas) {
      const others = Array.from(usable.values()).filter(({ id }) => !chosen.has(id))
      const withRoom = candidatesWithRoom(others, chunkBytes)
      if (withRoom.length === 0) break
      const next = strategy(withRoom, Array.from(chosen.values()), random)
      chosen.set(next.id, next)
      usable.set(next.id, {
        ...next,
        promisedBytes: next.promisedBytes + chunkBytes,
        placedCount: next.placedCount + 1
      })
    }
    return Array.from(chosen.keys())
  })
}

function candidatesWithRoom(
  candidates: readonly Candidate[],
  chunkBytes: number
): readonly Candidate[] {
  const sure = candidates.filter((candidate) => roomOf(candidate) >= chunkBytes)
  if (sure.length > 0) return sure
  return candidates.filter(({ freeBytes }) => freeBytes >= chunkBytes)
}

function roomOf({ freeBytes, promisedBytes }: Candidate): number {
  return Math.max(0, freeBytes - promisedBytes)
}

function workOf({ load, placedCount }: Candidate): number {
  return load + placedCount
}

function pick(candidates: readonly Candidate[], at: number): Candidate {
  const found = candidates[at]
  if (found === undefined) throw new RangeError('a placement strategy needs a candidate')
  return found
}

function least(
  candidates: readonly Candidate[],
  rank: (candidate: Candidate) => number
): Candidate {
  return candidates.reduce(
    (best, candidate) => (rank(candidate) < rank(best) ? candidate : best),
    pick(candidates, 0)
  )
}
