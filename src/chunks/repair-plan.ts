import type { ProviderState } from './provider-manager-types.ts'
import type { ProviderId } from './types.ts'

/**
 * What a copy at a provider is worth.
 *
 * ```text
 * live      it counts                     draining  it does not count, but can be read
 * suspect   nobody knows; nothing is copied for its sake yet         dead  it is lost
 * ```
 */
export type ProviderStanding = 'live' | 'draining' | 'suspect' | 'dead'

/** A provider as repair sees it. */
export interface RankedProvider extends Pick<ProviderState, 'id' | 'zone' | 'freeBytes'> {
  readonly standing: ProviderStanding
}

/** What is known of the copies of one chunk; nobody is in both lists. */
export interface KnownCopies {
  /** Who said just now that it holds the chunk. */
  readonly holders: readonly ProviderId[]
  /** Who should hold it and did not answer. */
  readonly silent: readonly ProviderId[]
  /**
   * From 0 to 1, the same for a chunk whenever it is looked at: decides among equals, so that not
   * all surplus goes from one provider.
   *
   * @default 0
   */
  readonly chance?: number | undefined
}

/** What is to be done about a chunk. */
export interface ChunkPlan {
  /** Copies that count: at live providers that are not draining. */
  readonly live: readonly ProviderId[]
  /** Who can give it, the best first. */
  readonly sources: readonly ProviderId[]
  /** Copies to add now. */
  readonly missing: number
  /** Who should lose its copy, while those of `live` that are not named keep theirs. */
  readonly surplus: readonly ProviderId[]
}

/** Best sources first. */
const SOURCE_ORDER: readonly ProviderStanding[] = ['live', 'draining', 'suspect']

/**
 * Decides about a chunk. Copies are added for those that are lost or about to go (dead, draining),
 * not for those whose provider may be back in a moment. They are taken away only when enough others
 * are known to be there: first those that do not count, then those that share a zone with another
 * one, then the one at the fullest provider; among providers that are about as full, by chance.
 *
 * Added what is missing and taken away what is surplus, the next plan is empty, but where draining
 * providers hold a chunk: their copies are surplus only in the plan after the one that adds others.
 */
export function planChunk(
  { holders, silent, chance = 0 }: KnownCopies,
  providers: ReadonlyMap<ProviderId, RankedProvider>,
  wanted: number
): ChunkPlan {
  const standingOf = (id: ProviderId): ProviderStanding => providers.get(id)?.standing ?? 'dead'
  const withStanding = (standing: ProviderStanding): ProviderId[] =>
    holders.filter((id) => standingOf(id) === standing)
  const live = withStanding('live')
  const waitedFor = [...holders, ...silent].filter((id) => standingOf(id) === 'suspect').length
  const isEnough = live.length >= wanted
  const ranked = (ids: readonly ProviderId[]): RankedProvider[] =>
    ids.flatMap((id) => providers.get(id) ?? [])
  return {
    live,
    sources: SOURCE_ORDER.flatMap(withStanding),
    missing: Math.max(0, wanted - live.length - waitedFor),
    surplus: isEnough
      ? [...withStanding('draining'), ...surplusOf(ranked(live), live.length - wanted, chance)]
      : []
  }
}

/** Chooses so many of the live copies. */
function surplusOf(live: readonly RankedProvider[], count: number, chance: number): ProviderId[] {
  const sorted = live.toSorted((one, other) => (one.id < other.id ? -1 : 1))
  const turn = Math.floor(chance * sorted.length)
  const staying = [...sorted.slice(turn), ...sorted.slice(0, turn)]
  const surplus: ProviderId[] = []
  while (surplus.length < count) {
    const loser = staying.reduce((worst, one) => (isWorse(one, worst, staying) ? one : worst))
    staying.splice(staying.indexOf(loser), 1)
    surplus.push(loser.id)
  }
  return surplus
}

function isWorse(
  one: RankedProvider,
  other: RankedProvider,
  all: readonly RankedProvider[]
): boolean {
  const shares = (of: RankedProvider): number =>
    all.filter(({ zone }) => zone === of.zone).length > 1 ? 1 : 0
  if (shares(one) !== shares(other)) return shares(one) > shares(other)
  return roomOf(one) < roomOf(other)
}

/** Free space in steps of an eighth, because providers are never equal to the byte. */
function roomOf({ freeBytes }: RankedProvider): number {
  return Math.round(Math.log2(freeBytes + 1) * 8)
}
