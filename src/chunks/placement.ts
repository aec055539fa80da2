import type { Random } from '../lib/random.ts'
import type { PlacementRequest, ProviderState } from './provider-manager-types.ts'
import { chooseStripe } from './stripe.ts'
import type { ProviderId } from './types.ts'

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

/** Names of the strategies that the configuration knows. */
export type PlacementName = 'roundRobin' | 'freeSpace' | 'leastLoadedOfTwo'

/** Whether copies of a chunk are kept in different zones where that can be. */
export type ZoneRule = 'spread' | 'ignore'

/** How chunks are placed. */
export interface PlacementRules {
  readonly strategy: PlacementStrategy
  readonly zones: ZoneRule
  /** Providers that the chunks of one stripe go to, as long as these have room. */
  readonly stripeWidth: number
}

/** Whoever has been given the fewest chunks (BlobSeer's own rule); among equals by chance. */
export const roundRobin: PlacementStrategy = (candidates, random) =>
  least(candidates, ({ placedCount }) => placedCount, random)

/**
 * By chance, in proportion to free space; of two that chance picks so, the one that has been given
 * less for the room it has.
 */
export const freeSpace: PlacementStrategy = (candidates, random) => {
  let total = 0
  for (const candidate of candidates) total += roomOf(candidate)
  if (total === 0) return leastLoadedOfTwo(candidates, random) // all room is promised
  const one = byRoom(candidates, random() * total)
  const other = byRoom(candidates, random() * total)
  return shareOf(other) < shareOf(one) ? other : one
}

/**
 * The better of two that chance picks: less work, then more room. Spreads well though reports are
 * old.
 */
export const leastLoadedOfTwo: PlacementStrategy = (candidates, random) => {
  const first = Math.floor(random() * candidates.length)
  const step = 1 + Math.floor(random() * (candidates.length - 1))
  const one = pick(candidates, first)
  const other = pick(candidates, (first + step) % candidates.length)
  const more = workOf(other) - workOf(one)
  if (more === 0) return roomOf(other) > roomOf(one) ? other : one
  return more < 0 ? other : one
}

/** The strategies by name. */
export const PLACEMENT_STRATEGIES: Readonly<Record<PlacementName, PlacementStrategy>> = {
  roundRobin,
  freeSpace,
  leastLoadedOfTwo
}

/** A candidate while chunks are placed, whose counts grow. */
interface Place extends Candidate {
  promisedBytes: number
  placedCount: number
  readonly zoneIndex: number
  readonly isInStripe: boolean
  /** The last chunk that has a copy here. */
  lastChunk: number
}

/** Ranks of places for the next copy; they add up, and the highest sum is chosen from. */
const NEW_ZONE = 4
const SURE_ROOM = 2
const IN_STRIPE = 1
const BEST_RANK = NEW_ZONE + SURE_ROOM + IN_STRIPE
const UNFIT = -1

/**
 * Chooses providers for chunks: live ones that are not being drained, are not excluded and have
 * room, never two copies of a chunk on one. Before all else copies are kept in different zones;
 * then what was promised to a provider counts as used, unless nobody would have room then, because
 * promises are often not kept; then chunks stay within their stripe.
 *
 * @returns for each chunk its providers, fewer than asked for (down to none) when there are not
 * enough.
 */
export function placeChunks(
  request: PlacementRequest,
  providers: readonly Candidate[],
  rules: PlacementRules,
  random: Random
): ProviderId[][] {
  const placing = new Placing(request, providers, rules)
  return Array.from({ length: request.count }, (_, chunk) => placing.placeChunk(chunk, random))
}

/** The state of one call of `placeChunks`. */
class Placing {
  readonly #rules: PlacementRules
  readonly #chunkBytes: number
  readonly #replicas: number
  readonly #all: Place[] = []
  readonly #stripe: Place[] = []
  /** By zone, the last chunk that has a copy there. */
  readonly #lastChunks: number[] = []
  readonly #takenZones: readonly number[]
  /** Used again for every copy. */
  readonly #found: Place[] = []

  constructor(
    { chunkBytes, replicas, exclude = [], beside = [], stripe }: PlacementRequest,
    providers: readonly Candidate[],
    rules: PlacementRules
  ) {
    this.#rules = rules
    this.#chunkBytes = chunkBytes
    this.#replicas = replicas
    const live = providers.filter(isUsable)
    const inStripe = this.#stripeOf(stripe, live, replicas + beside.length)
    const zones = new Map<string, number>()
    const zoneOf = (zone: string): number => {
      const index = zones.get(zone) ?? zones.size
      zones.set(zone, index)
      return index
    }
    const [holding, excluded] = [new Set(beside), new Set([...beside, ...exclude])]
    for (const candidate of live) {
      if (excluded.has(candidate.id)) continue
      const isInStripe = inStripe === undefined || inStripe.has(candidate.id)
      const zoneIndex = zoneOf(candidate.zone)
      const place = { ...candidate, zoneIndex, isInStripe, lastChunk: -1 }
      this.#all.push(place)
      if (isInStripe) this.#stripe.push(place)
    }
    const holders = providers.filter(({ id }) => holding.has(id))
    this.#takenZones = holders.map(({ zone }) => zoneOf(zone))
  }

  placeChunk(chunk: number, random: Random): ProviderId[] {
    const chosen: ProviderId[] = []
    for (const zone of this.#takenZones) this.#lastChunks[zone] = chunk
    while (chosen.length < this.#replicas) {
      const fitting = this.#fittest(chunk)
      if (fitting.length === 0) break
      const place = this.#rules.strategy(fitting, random) as Place
      place.promisedBytes += this.#chunkBytes
      place.placedCount++
      place.lastChunk = chunk
      this.#lastChunks[place.zoneIndex] = chunk
      chosen.push(place.id)
    }
    return chosen
  }

  /** All are looked at only where the stripe has none of the best. */
  #fittest(chunk: number): Place[] {
    const { places, rank } = this.#highest(this.#stripe, chunk)
    const isBest = rank === BEST_RANK || this.#stripe.length === this.#all.length
    return isBest ? places : this.#highest(this.#all, chunk).places
  }

  #highest(places: readonly Place[], chunk: number): { places: Place[]; rank: number } {
    const found = this.#found
    let count = 0
    let highest = UNFIT
    for (const place of places) {
      const rank = this.#rankOf(place, chunk)
      if (rank < highest || rank === UNFIT) continue
      if (rank > highest) count = 0
      highest = rank
      found[count++] = place
    }
    found.length = count
    return { places: found, rank: highest }
  }

  #rankOf(place: Place, chunk: number): number {
    const { freeBytes, promisedBytes, lastChunk, zoneIndex, isInStripe } = place
    if (lastChunk === chunk || freeBytes < this.#chunkBytes) return UNFIT
    const isNewZone = this.#rules.zones === 'ignore' || this.#lastChunks[zoneIndex] !== chunk
    const isSure = freeBytes - promisedBytes >= this.#chunkBytes
    return (isNewZone ? NEW_ZONE : 0) + (isSure ? SURE_ROOM : 0) + (isInStripe ? IN_STRIPE : 0)
  }

  /** @returns who is in the stripe; undefined for everybody. */
  #stripeOf(
    stripe: string | undefined,
    live: readonly Candidate[],
    copies: number
  ): ReadonlySet<ProviderId> | undefined {
    const { stripeWidth, zones } = this.#rules
    const width = Math.max(stripeWidth, copies)
    if (stripe === undefined || live.length <= width) return undefined
    const withRoom = live.filter(({ freeBytes }) => freeBytes >= this.#chunkBytes)
    return new Set(chooseStripe(stripe, withRoom, { width, zones }))
  }
}

function isUsable({ condition, isDraining }: Candidate): boolean {
  return condition === 'live' && !isDraining
}

function roomOf({ freeBytes, promisedBytes }: Candidate): number {
  return Math.max(0, freeBytes - promisedBytes)
}

function workOf({ load, placedCount }: Candidate): number {
  return load + placedCount
}

function shareOf(candidate: Candidate): number {
  return candidate.placedCount / Math.max(1, roomOf(candidate))
}

function byRoom(candidates: readonly Candidate[], at: number): Candidate {
  let rest = at
  for (const candidate of candidates) {
    rest -= roomOf(candidate)
    if (rest < 0) return candidate
  }
  return pick(candidates, 0) // rounding
}

function pick(candidates: readonly Candidate[], at: number): Candidate {
  const found = candidates[at]
  if (found === undefined) throw new RangeError('a placement strategy needs a candidate')
  return found
}

/** The first of the lowest rank, looking from a place that chance picks. */
function least(
  candidates: readonly Candidate[],
  rankOf: (candidate: Candidate) => number,
  random: Random
): Candidate {
  const start = Math.floor(random() * candidates.length)
  let best = pick(candidates, start)
  let lowest = rankOf(best)
  for (let step = 1; step < candidates.length; step++) {
    const at = start + step
    const candidate = pick(candidates, at < candidates.length ? at : at - candidates.length)
    const rank = rankOf(candidate)
    if (rank >= lowest) continue
    best = candidate
    lowest = rank
  }
  return best
}
