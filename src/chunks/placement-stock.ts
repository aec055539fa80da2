import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { KIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { ProviderLoad } from './provider-load.ts'
import type { ProviderManager } from './provider-manager-types.ts'
import type { ProviderId } from './types.ts'

export interface PlacementStockComponents {
  readonly providers: Pick<ProviderManager, 'place'>
  readonly clock: Clock
  /** How busy the providers are with what comes from here. */
  readonly load: ProviderLoad
}

export interface PlacementStockOptions {
  /** Placements asked for in one call at most. */
  readonly maxStock: number
  /** Time after which placements in stock are worth nothing, in milliseconds. */
  readonly maxAgeMs: number
}

/** What a placement is wanted for. */
export interface WantedPlacement {
  readonly chunkBytes: number
  /** New copies. */
  readonly replicas: number
  readonly stripe?: string | undefined
  readonly beside?: readonly ProviderId[] | undefined
}

interface Shelf {
  placements: ProviderId[][]
  filledAt: number
  /** How many to ask for next: more each time, so that a small upload claims little. */
  nextCount: number
  /** Whether one was taken since that was not too slow. */
  hasServed: boolean
  filling: Promise<void> | undefined
}

const FIRST_COUNT = 8
const SMALLEST_SIZE = 64 * KIB

/** Shelves at the same time; the longest unused one is cleared away. */
const MAX_SHELVES = 256

/** Placements that one choice looks at where one of them is as good as the average … */
const LOOKED_AT = 16
/** … and where none is. */
const MAX_LOOKED_AT = 128

/** A provider with more bytes in flight than so many times the average is too slow … */
const TOO_SLOW = 2
/** … but not because of as few chunks. */
const FREE_CHUNKS = 4

/** A stock of nothing but slow providers is exchanged for another no more often than this. */
const EXCHANGE_MS = 1000

/**
 * Placements for new chunks, asked for by the hundred, each used once: a large upload asks the
 * provider manager seldom, and never twice at the same time for chunks of about the same size.
 * Among those in stock the one is taken whose providers have the least to do.
 */
export class PlacementStock {
  readonly #components: PlacementStockComponents
  readonly #options: PlacementStockOptions
  /** By chunk size rounded up to a power of two, and what else is wanted; in order of use. */
  readonly #shelves = new Map<string, Shelf>()

  constructor(components: PlacementStockComponents, options: PlacementStockOptions) {
    this.#components = components
    this.#options = options
  }

  /**
   * Takes a placement, at least one provider.
   *
   * @throws {NoProviderError} if no provider can take a chunk.
   * @throws {StoreFullError} if all that could are full.
   */
  async take(wanted: WantedPlacement, options: AbortOptions = {}): Promise<ProviderId[]> {
    const shelf = this.#shelfFor(wanted)
    for (;;) {
      options.signal?.throwIfAborted()
      const ageMs = this.#components.clock.monotonic() - shelf.filledAt
      if (ageMs <= this.#options.maxAgeMs) {
        const mayBeSlow = !shelf.hasServed && ageMs <= EXCHANGE_MS
        const placement = this.#choose(shelf, wanted.chunkBytes, mayBeSlow)
        if (placement !== undefined) return placement
      }
      shelf.filling ??= this.#fill(shelf, wanted)
      await abortable(shelf.filling, options.signal)
    }
  }

  /** Forgets placements on a provider that has failed, is full or takes no more chunks. */
  drop(unfit: ProviderId): void {
    for (const shelf of this.#shelves.values()) {
      shelf.placements = shelf.placements.filter((placement) => !placement.includes(unfit))
    }
  }

  /**
   * Takes the best of a few from the shelf.
   *
   * @param mayBeSlow whether one that is too slow is better than none.
   */
  #choose(shelf: Shelf, chunkBytes: number, mayBeSlow: boolean): ProviderId[] | undefined {
    const { placements } = shelf
    const { load } = this.#components
    const freeBytes = FREE_CHUNKS * chunkBytes
    const good = Math.max(load.averageBytes, freeBytes)
    let best = -1
    let lowest = Infinity
    const end = placements.length - 1
    for (let at = end; at >= Math.max(0, end - MAX_LOOKED_AT + 1); at--) {
      if (end - at >= LOOKED_AT && lowest <= good) break
      const cost = load.costOf(placements[at] ?? [])
      if (best < 0 || cost < lowest) [best, lowest] = [at, cost]
      if (lowest === 0) break
    }
    const isSlow = lowest > Math.max(TOO_SLOW * load.averageBytes, freeBytes)
    if (best < 0 || (isSlow && !mayBeSlow)) return undefined
    if (!isSlow) shelf.hasServed = true
    const chosen = placements[best]
    const last = placements.pop()
    if (best < placements.length && last !== undefined) placements[best] = last
    return chosen
  }

  async #fill(shelf: Shelf, wanted: WantedPlacement): Promise<void> {
    const { providers, clock } = this.#components
    const chunkBytes = sizeClassOf(wanted.chunkBytes)
    try {
      const placed = await providers.place({ ...wanted, count: shelf.nextCount, chunkBytes })
      shelf.placements = placed.filter((placement) => placement.length > 0)
      shelf.filledAt = clock.monotonic()
      shelf.hasServed = false
      shelf.nextCount = Math.min(this.#options.maxStock, shelf.nextCount * 2)
    } finally {
      shelf.filling = undefined
    }
    this.#clearAway(shelf.filledAt)
  }

  /** Empties shelves whose uploads have ended. */
  #clearAway(now: number): void {
    for (const [key, { filling, filledAt }] of this.#shelves) {
      const isOld = now - filledAt > this.#options.maxAgeMs
      if (isOld && filling === undefined) this.#shelves.delete(key)
    }
  }

  #shelfFor({ chunkBytes, replicas, stripe, beside = [] }: WantedPlacement): Shelf {
    const key = [sizeClassOf(chunkBytes), replicas, beside.toSorted().join(','), stripe].join('/')
    const shelf = this.#shelves.get(key) ?? {
      placements: [],
      filledAt: -Infinity,
      nextCount: Math.min(FIRST_COUNT, this.#options.maxStock),
      hasServed: false,
      filling: undefined
    }
    this.#shelves.delete(key)
    this.#shelves.set(key, shelf)
    const [longestUnused] = this.#shelves.keys()
    if (this.#shelves.size > MAX_SHELVES && longestUnused !== undefined) {
      this.#shelves.delete(longestUnused)
    }
    return shelf
  }
}

function sizeClassOf(chunkBytes: number): number {
  return Math.max(SMALLEST_SIZE, 2 ** Math.ceil(Math.log2(Math.max(1, chunkBytes))))
}
