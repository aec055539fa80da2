import type { ProviderId } from './types.ts'

interface Member {
  readonly id: ProviderId
  readonly zone: string
}

interface Ranked extends Member {
  readonly rank: number
}

export interface StripeOptions {
  /** Members of the stripe, at most. */
  readonly width: number
  /** `spread`: as many of each zone as can be; `ignore`: whoever ranks highest. */
  readonly zones: 'spread' | 'ignore'
}

/**
 * Chooses the providers of a stripe by rendezvous hashing: the same ones each time, and when one
 * comes or goes, few others change. Zones take turns, or a zone with few members in the stripe
 * would get a copy of every chunk on each of them.
 */
export function chooseStripe(
  stripe: string,
  members: readonly Member[],
  { width, zones }: StripeOptions
): ProviderId[] {
  const seed = hashText(stripe, 0)
  const ranked: Ranked[] = members
    .map(({ id, zone }) => ({ id, zone, rank: hashText(id, seed) }))
    .toSorted((left, right) => right.rank - left.rank || (left.id < right.id ? -1 : 1))
  if (zones === 'ignore') return ranked.slice(0, width).map(({ id }) => id)
  const byZone = Map.groupBy(ranked, ({ zone }) => zone)
  const turns = Array.from(byZone.values()).flatMap((inZone) =>
    inZone.map(({ id }, turn) => ({ id, turn }))
  )
  // A stable sort: within a turn, zones come in the order of their highest member.
  return turns
    .toSorted((left, right) => left.turn - right.turn)
    .slice(0, width)
    .map(({ id }) => id)
}

/** 32-bit FNV-1a, mixed at the end as in MurmurHash3, so that close names are far apart. */
function hashText(text: string, seed: number): number {
  let hash = 0x81_1c_9d_c5 ^ seed
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01_00_01_93)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85_eb_ca_6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2_b2_ae_35)
  return (hash ^ (hash >>> 16)) >>> 0
}
