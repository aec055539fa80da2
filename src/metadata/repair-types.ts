import type { ChunkSource, MaintainedDirectory } from '../chunks/maintenance-types.ts'
import type { ProviderManager } from '../chunks/provider-manager-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import type { Signer, Verifier } from './signature-types.ts'
import type { HandedOverStore, PageStore, RecordStore } from './store-types.ts'

/** The provider manager, as repair uses it. */
export interface RepairedProviders extends Pick<ProviderManager, 'list' | 'place'> {
  /**
   * Calls back when a provider's condition has changed, or it drains, or has lost chunks.
   *
   * @returns how to stop listening.
   */
  onChange(listener: () => void): () => void
}

/** A metadata provider whose names can be walked through. */
export interface ScannedMetadata {
  readonly id: string
  readonly store: Pick<HandedOverStore, 'scan'>
}

/** An agent that is no provider and may have chunks all the same. */
export interface ChunkHoarder {
  readonly source: ChunkSource
  /** As MaintainedProvider. */
  holds(ids: readonly ChunkId[], options?: AbortOptions): Promise<boolean[]>
}

/** What repair works with. */
export interface RepairerComponents {
  readonly providers: RepairedProviders
  readonly directory: MaintainedDirectory
  /** Every metadata provider there is. */
  readonly metadataProviders: () => readonly ScannedMetadata[]
  readonly metadata: Pick<PageStore, 'getPages'> & RecordStore
  /** Signs location records. */
  readonly signer: Signer
  /** Trusts managers. */
  readonly verifier: Verifier
  readonly clock: Clock
  readonly random: Random
  /**
   * Agents to ask for what no provider has, as many as shall be asked.
   *
   * @default nobody
   */
  readonly hoarders?: (() => readonly ChunkHoarder[]) | undefined
  /** Where a provider is found by the one that shall copy from it. @default it knows */
  readonly addressesOf?: ((id: ProviderId) => readonly string[]) | undefined
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface RepairerOptions {
  /** Copies that each chunk shall have. @default 1 */
  readonly replicas?: number | undefined
  /** From one look to the next while nothing changes, in milliseconds. @default 600_000 */
  readonly everyMs?: number | undefined
  /** How long a change waits for the next one, in milliseconds. @default 1000 */
  readonly settleMs?: number | undefined
  /**
   * How long after a change all is looked at once more: what was being written then has its records
   * by that time. In milliseconds.
   *
   * @default 60_000
   */
  readonly againMs?: number | undefined
  /**
   * How long a provider is only asked about what the records say of it, before it is asked about
   * everything once more: copies that no record names are found then. In milliseconds.
   *
   * @default 86_400_000
   */
  readonly thoroughMs?: number | undefined
  /** How soon a look that failed is tried again at first, in milliseconds. @default 5000 */
  readonly retryMs?: number | undefined
  /**
   * How long after the start a provider that nobody has heard of may still come, and how long one
   * that reports may leave questions unanswered, in milliseconds.
   *
   * @default 300_000
   */
  readonly deadAfterMs?: number | undefined
  /** Groups of chunks that are copied at the same time. @default 16 */
  readonly maxCopies?: number | undefined
  /** Chunks that wait to be copied; the others are found again by the next look. @default 65_536 */
  readonly maxQueued?: number | undefined
  /** How long a provider may take to say what it holds, in milliseconds. @default 15_000 */
  readonly askTimeoutMs?: number | undefined
}

/** Options with their defaults. */
export type RepairSettings = { readonly [K in keyof RepairerOptions]-?: number }

/** What a look finds, less what has been mended since: one for each page and chunk in it. */
export class RepairTally {
  chunks = 0
  underReplicated = 0
  unreachable = 0
  surplus = 0
  /** Pages and metadata providers that could not be read. */
  unread = 0
  /** Copies that there was no time or no room in the queue for. */
  dropped = 0
  failed = 0
  /** Copies that were made. */
  mended = 0
  /** Providers that report and did not answer. */
  unanswered = 0
}
