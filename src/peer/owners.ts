import { blake3 } from '../lib/blake3.ts'
import { asBuffer } from '../lib/bytes.ts'
import type { NodeKey } from '../metadata/tree-types.ts'

/** Metadata providers that keep one key. */
export const OWNER_COUNT = 3

/**
 * Places that each provider has among the keys. With a single one, the provider that happens to
 * stand alone in half of the space would own half of the keys; with 64 all shares are within about
 * a third of the mean.
 */
export const POINTS_PER_PROVIDER = 64

const POINTS_PER_HASH = 8
const BUNDLE_LEVELS = 6

interface Candidate {
  readonly provider: string
  readonly distance: number
}

/**
 * Says which metadata providers keep a key: those closest to it by XOR. Everybody who has the same
 * list gets the same answer. A provider that joins or leaves changes only the keys that it is an
 * owner of.
 */
export class OwnerMap {
  readonly providers: readonly string[]
  readonly #points: readonly Uint32Array[]

  constructor(providers: readonly string[]) {
    // In one order for everybody, because equal distances are decided by it.
    this.providers = [...new Set(providers)].toSorted()
    this.#points = this.providers.map(pointsOf)
  }

  /**
   * Owners of the key with this hash, the closest first; all providers if there are fewer than
   * `count`. Costs 64 operations a provider.
   */
  owners(keyHash: Uint8Array, count = OWNER_COUNT): string[] {
    const key = asBuffer(keyHash).readUInt32BE(0)
    const nearest: Candidate[] = []
    for (const [at, provider] of this.providers.entries()) {
      const distance = distanceTo(key, this.#points[at] ?? new Uint32Array())
      const last = nearest.at(-1)
      if (nearest.length === count && last !== undefined && distance >= last.distance) continue
      const index = nearest.findIndex((other) => distance < other.distance)
      nearest.splice(index === -1 ? nearest.length : index, 0, { provider, distance })
      nearest.length = Math.min(nearest.length, count)
    }
    return nearest.map(({ provider }) => provider)
  }
}

/**
 * Names what a tree node is placed by: its bundle, a subtree of six levels that begins at span 1,
 * 64, 4,096 …, so that a walk meets few owners on its way down and a batch has few to go to.
 */
export function nodeBundle({ blob, version, offset, span }: NodeKey): string {
  const tier = Math.floor(Math.log2(span) / BUNDLE_LEVELS)
  const bundleSpan = 2 ** ((tier + 1) * BUNDLE_LEVELS)
  return `nodes/${blob}/${version}/${tier}/${Math.floor(offset / bundleSpan)}`
}

/** Hash that a named thing, a record or a bundle of nodes, is placed by. */
export function ownerKey(name: string): Uint8Array {
  return blake3(Buffer.from(name))
}

/** How many of `ownerCount` owners are a majority. */
export function majorityOf(ownerCount: number): number {
  return Math.floor(ownerCount / 2) + 1
}

function pointsOf(provider: string): Uint32Array {
  const points = new Uint32Array(POINTS_PER_PROVIDER)
  for (let at = 0; at < POINTS_PER_PROVIDER; at++) {
    if (at % POINTS_PER_HASH !== 0) continue
    const hash = asBuffer(blake3(Buffer.from(`${provider} ${at / POINTS_PER_HASH}`)))
    for (let word = 0; word < POINTS_PER_HASH; word++) {
      points[at + word] = hash.readUInt32BE(word * 4)
    }
  }
  return points
}

function distanceTo(key: number, points: Uint32Array): number {
  let nearest = Number.POSITIVE_INFINITY
  for (const point of points) {
    const distance = (key ^ point) >>> 0
    if (distance < nearest) nearest = distance
  }
  return nearest
}
