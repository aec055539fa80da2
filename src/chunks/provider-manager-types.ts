import type { AbortOptions } from '../lib/abort-options.ts'
import type { ProviderId } from './types.ts'

/** What a provider says of itself, with its registration and each heartbeat. */
export interface ProviderReport {
  readonly id: ProviderId
  /** Failure domain, such as a rack; providers of one zone may die together. */
  readonly zone: string
  readonly freeBytes: number
  readonly storedBytes: number
  readonly chunkCount: number
  /** Puts and gets in progress. */
  readonly load: number
  /** Whether it takes no new chunks, because all of its own shall move elsewhere. */
  readonly isDraining: boolean
  /** Version of its program. */
  readonly version: string
  /** How long puts took lately until they were durable, in milliseconds; 0 before the first. */
  readonly latencyMs: number
  /** Chunks that it found corrupt, missing or unreadable since its process began. */
  readonly lostCount: number
}

/** What the provider manager answers to a report. */
export interface ReportAnswer {
  /** Whether the provider shall drain from now on; it remembers that, and reports it. */
  readonly isDraining: boolean
}

/** Whether a provider reports, by what its manager has seen of it. */
export type ProviderCondition = 'live' | 'suspect' | 'dead'

/** `isDraining` is what the provider manager wants, which the provider may not know yet. */
export interface ProviderState extends ProviderReport {
  readonly condition: ProviderCondition
  /** Time of the last heartbeat, milliseconds since the epoch. */
  readonly seenMs: number
}

/** Chunks that shall be placed. */
export interface PlacementRequest {
  /** Number of chunks to place. */
  readonly count: number
  /** Bytes of each. */
  readonly chunkBytes: number
  /** New copies of each, on different providers; those `beside` come on top. */
  readonly replicas: number
  /** Providers that must not be chosen, such as one that has just failed. */
  readonly exclude?: readonly ProviderId[] | undefined
  /** Providers that hold copies already: they are not chosen, and their zones count as taken. */
  readonly beside?: readonly ProviderId[] | undefined
  /**
   * Name of what the chunks belong to, such as a blob. Chunks of one stripe go to the same few
   * providers as long as those have room.
   *
   * @default no stripe: to all providers
   */
  readonly stripe?: string | undefined
}

/** What is wrong with a provider that was used: it did not do as asked, or had no room. */
export type FailureReason = 'failed' | 'full'

/** What is known of a failure. */
export interface FailureOptions extends AbortOptions {
  /** @default 'failed' */
  readonly reason?: FailureReason | undefined
}

/**
 * Knows the providers and where new chunks go. Entry i of a placement lists the providers for chunk
 * i, fewer than `replicas` when there are not that many, none when the space has run out before it.
 */
export interface ProviderManager {
  /** Takes a registration or heartbeat, and says what it wants of the provider. */
  report(report: ProviderReport, options?: AbortOptions): Promise<ReportAnswer>
  /**
   * @throws {NoProviderError} if there is not a single provider that takes chunks.
   * @throws {StoreFullError} if there are some, and all are full.
   */
  place(request: PlacementRequest, options?: AbortOptions): Promise<ProviderId[][]>
  /**
   * Notes that a provider failed, or had no room, while it was used, so that it is not chosen until
   * it reports again; longer if it has often been so.
   */
  reportFailure(id: ProviderId, options?: FailureOptions): Promise<void>
  list(options?: AbortOptions): Promise<ProviderState[]>
  /**
   * Stops, or resumes, placing new chunks on a provider. Repair moves the chunks of a draining one
   * elsewhere. Holds until the opposite is asked for, also when either side restarts.
   *
   * @throws {UnknownProviderError}
   */
  setDraining(id: ProviderId, isDraining: boolean, options?: AbortOptions): Promise<ProviderState>
}
