import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import { CollectionMetrics } from './collection-metrics.ts'
import { CollectionRun, type CollectionRunComponents } from './collection-run.ts'
import type { CollectionReport } from './collection-types.ts'

/** What the collector works with. */
export interface CollectorComponents extends Omit<CollectionRunComponents, 'logger'> {
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

export interface CollectorOptions {
  /** Versions whose manifests are read at the same time. @default 4 */
  readonly maxReads?: number | undefined
  /** Providers, and metadata providers, that are worked on at the same time. @default 8 */
  readonly maxStores?: number | undefined
}

/** How far a collection is. */
export interface CollectionProgress {
  readonly phase: 'marking' | 'sweeping'
  /** Chunks that stay, as far as is known. */
  readonly liveChunks: number
  /** Chunks deleted, in a dry run found. */
  readonly chunks: number
}

export interface CollectOptions extends AbortOptions {
  readonly onProgress?: ((progress: CollectionProgress) => void) | undefined
}

export interface CollectRequest {
  /** Only find out; nothing is retired or deleted. */
  readonly isDryRun: boolean
}

/** A collection that runs, and who waits for it. */
interface Running {
  readonly isDryRun: boolean
  readonly report: Promise<CollectionReport>
  readonly abort: AbortController
  readonly listeners: Set<(progress: CollectionProgress) => void>
  waiting: number
}

/**
 * Frees what no version that stays, no writer and no clone can reach: chunks, pages, records and
 * tree nodes. One collection runs at a time. It ends early only when everybody who waits for it has
 * gone.
 */
export class Collector {
  readonly #components: CollectorComponents
  readonly #options: Required<{ [K in keyof CollectorOptions]: number }>
  readonly #logger: Logger
  readonly #metrics: CollectionMetrics
  readonly #stopped = new AbortController()
  #running: Running | undefined

  constructor(components: CollectorComponents, options: CollectorOptions = {}) {
    const { maxReads = 4, maxStores = 8 } = options
    if (!(maxReads >= 1) || !(maxStores >= 1)) {
      throw new RangeError(`${maxReads} reads, ${maxStores} stores at a time`)
    }
    this.#components = components
    this.#options = { maxReads, maxStores }
    this.#logger = components.logger.forComponent('blobswarm:metadata:collection')
    this.#metrics = new CollectionMetrics(components.metrics)
  }

  /**
   * Collects. If a collection of the same kind is under way, it is joined: its report is as good,
   * but garbage that came about meanwhile may be left for the next one.
   *
   * @throws {RootUnreadableError} if what must stay cannot be read; nothing was deleted then.
   */
  async collect(request: CollectRequest, options: CollectOptions = {}): Promise<CollectionReport> {
    const { signal, onProgress } = options
    for (;;) {
      this.#stopped.signal.throwIfAborted()
      signal?.throwIfAborted()
      const running = this.#running
      if (running === undefined) break
      if (running.isDryRun === request.isDryRun && !running.abort.signal.aborted) {
        return await this.#join(running, options)
      }
      await abortable(Promise.allSettled([running.report]), signal)
    }
    const abort = new AbortController()
    const listeners = new Set<(progress: CollectionProgress) => void>()
    const running: Running = {
      isDryRun: request.isDryRun,
      report: this.#run(request.isDryRun, AbortSignal.any([abort.signal, this.#stopped.signal]), {
        onProgress: (progress) => {
          for (const listener of listeners) listener(progress)
        }
      }),
      abort,
      listeners,
      waiting: 0
    }
    this.#running = running
    const forget = (): void => {
      this.#running = undefined
    }
    running.report.then(forget, forget)
    return await this.#join(running, { signal, onProgress })
  }

  /** Ends the collection that runs, and refuses others. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NotRunningError('collector'))
    await Promise.allSettled([this.#running?.report])
  }

  async #join(running: Running, { signal, onProgress }: CollectOptions): Promise<CollectionReport> {
    if (onProgress !== undefined) running.listeners.add(onProgress)
    running.waiting++
    try {
      return await abortable(running.report, signal)
    } finally {
      if (onProgress !== undefined) running.listeners.delete(onProgress)
      if (--running.waiting === 0) running.abort.abort(new NotRunningError('collection'))
    }
  }

  async #run(
    isDryRun: boolean,
    signal: AbortSignal,
    { onProgress }: Required<Pick<CollectOptions, 'onProgress'>>
  ): Promise<CollectionReport> {
    const run = new CollectionRun(
      { ...this.#components, logger: this.#logger },
      { ...this.#options, isDryRun, onProgress }
    )
    try {
      const report = await run.run({ signal })
      this.#logger.info('collection: %j', report)
      if (!isDryRun) this.#metrics.note(report)
      return report
    } catch (error) {
      if (!signal.aborted) {
        this.#metrics.noteFailure()
        this.#logger.error('the collection failed: %e', error)
      }
      throw error
    }
  }
}
