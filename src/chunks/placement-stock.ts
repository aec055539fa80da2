import { abortable } from '../lib/abortable.ts'
import { KIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { AbortOptions, ProviderId, ProviderManager } from './types.ts'

export interface PlacementStockComponents {
  readonly providers: Pick<ProviderManager, 'place'>
  readonly clock: Clock
}

export interface PlacementStockOptions {
  readonly replicas: number
  /** Placements asked for in one call at most. */
  readonly maxStock: number
  /** Time after which placements in stock are worth nothing, in milliseconds. */
  readonly maxAgeMs: number
}

interface Shelf {
  placements: ProviderId[][]
  filledAt: number
  /** How many to ask for next: more each time, so that a small upload claims little. */
  nextCount: number
  filling: Promise<void> | undefined
}

const FIRST_COUNT = 8
const SMALLEST_SIZE = 64 * KIB

/**
 * Placements for new chunks, asked for by the dozen, each used once: a large upload asks the
 * provider manager seldom, and never twice at the same time for chunks of about the same size.
 */
export class PlacementStock {
  readonly #providers: PlacementStockComponents['providers']
  readonly #clock: Clock
  readonly #options: PlacementStockOptions
  /** By chunk size rounded up to a power of two; one for each that there is. */
  readonly #shelves = new Map<number, Shelf>()

  constructor(components: PlacementStockComponents, options: PlacementStockOptions) {
    this.#providers = components.providers
    this.#clock = components.clock
    this.#options = options
  }

  /**
   * Takes a placement, at least one provider.
   *
   * @throws {NoProviderError} if no provider can take a chunk.
   */
  async take(chunkBytes: number, options: AbortOptions = {}): Promise<ProviderId[]> {
    const shelf = this.#shelfFor(chunkBytes)
    for (;;) {
      options.signal?.throwIfAborted()
      const isFresh = this.#clock.monotonic() - shelf.filledAt <= this.#options.maxAgeMs
      const placement = isFresh ? shelf.placements.pop() : undefined
      if (placement !== undefined) return placement
      shelf.filling ??= this.#fill(shelf, sizeClassOf(chunkBytes))
      await abortable(shelf.filling, options.signal)
    }
  }

  /** Forgets placements on a provider that has failed. */
  drop(failed: ProviderId): void {
    for (const shelf of this.#shelves.values()) {
      shelf.placements = shelf.placements.filter((placement) => !placement.includes(failed))
    }
  }

  async #fill(shelf: Shelf, chunkBytes: number): Promise<void> {
    const { replicas, maxStock } = this.#options
    try {
      const placed = await this.#providers.place({ count: shelf.nextCount, chunkBytes, replicas })
      shelf.placements = placed.filter((placement) => placement.length > 0)
      shelf.filledAt = this.#clock.monotonic()
      shelf.nextCount = Math.min(maxStock, shelf.nextCount * 2)
    } finally {
      shelf.filling = undefined
    }
  }

  #shelfFor(chunkBytes: number): Shelf {
    const size = sizeClassOf(chunkBytes)
    const shelf = this.#shelves.get(size) ?? {
      placements: [],
      filledAt: -Infinity,
      nextCount: Math.min(FIRST_COUNT, this.#options.maxStock),
      filling: undefined
    }
    this.#shelves.set(size, shelf)
    return shelf
  }
}

function sizeClassOf(chunkBytes: number): number {
  return Math.max(SMALLEST_SIZE, 2 ** Math.ceil(Math.log2(Math.max(1, chunkBytes))))
}
