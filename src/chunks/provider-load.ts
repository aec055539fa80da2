import type { Clock } from '../lib/clock.ts'
import type { ProviderId } from './types.ts'

export interface ProviderLoadOptions {
  /**
   * How long a provider that failed here is used only if there is nobody else, in milliseconds.
   *
   * @default 30_000
   */
  readonly avoidMs?: number | undefined
}

/** Failures of one provider within this time are one piece of news. */
const SAME_NEWS_MS = 1000

/**
 * What a writer knows of providers from its own work: the bytes on their way to each, and who has
 * failed. One that takes less than the others gets less, and one that has stalled nothing.
 */
export class ProviderLoad {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #avoidMs: number
  // These grow by one entry for each provider that a chunk was ever written to.
  readonly #inFlight = new Map<ProviderId, { bytes: number }>()
  readonly #failedAt = new Map<ProviderId, number>()
  /** Of all that are in `#inFlight`. */
  #totalBytes = 0

  constructor(clock: Pick<Clock, 'monotonic'>, options: ProviderLoadOptions = {}) {
    const { avoidMs = 30_000 } = options
    this.#clock = clock
    this.#avoidMs = avoidMs
  }

  /** Notes that bytes are on their way. @returns what notes that they are not any more. */
  begin(id: ProviderId, bytes: number): () => void {
    const record = this.#inFlight.get(id) ?? { bytes: 0 }
    this.#inFlight.set(id, record)
    record.bytes += bytes
    this.#totalBytes += bytes
    return () => {
      record.bytes -= bytes
      if (this.#inFlight.get(id) === record) this.#totalBytes -= bytes
    }
  }

  /**
   * Notes that a provider has failed, and is to be avoided for a while. What is on its way to it
   * says nothing about the others any more.
   *
   * @returns whether it has not failed just before.
   */
  fail(id: ProviderId): boolean {
    const now = this.#clock.monotonic()
    const isNews = now - this.#lastFailureOf(id) > SAME_NEWS_MS
    if (isNews) this.#failedAt.set(id, now)
    this.#totalBytes -= this.#inFlight.get(id)?.bytes ?? 0
    this.#inFlight.delete(id)
    return isNews
  }

  /** Tells whether the provider has ever failed here. */
  hasFailed(id: ProviderId): boolean {
    return this.#failedAt.has(id)
  }

  /** The most bytes in flight to any of these; Infinity if one is avoided. */
  costOf(ids: readonly ProviderId[]): number {
    let cost = 0
    for (const id of ids) {
      if (this.#isAvoided(id)) return Infinity
      cost = Math.max(cost, this.#inFlight.get(id)?.bytes ?? 0)
    }
    return cost
  }

  /** Bytes in flight to a provider on average. */
  get averageBytes(): number {
    return this.#totalBytes / Math.max(1, this.#inFlight.size)
  }

  #isAvoided(id: ProviderId): boolean {
    return (
      this.#failedAt.size > 0 && this.#clock.monotonic() - this.#lastFailureOf(id) < this.#avoidMs
    )
  }

  #lastFailureOf(id: ProviderId): number {
    return this.#failedAt.get(id) ?? -Infinity
  }
}
