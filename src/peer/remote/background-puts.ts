import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter, Metrics } from '../../lib/metrics.ts'
import { toError } from '../../lib/to-error.ts'

export interface BackgroundPutsComponents {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics?: Metrics | undefined
}

export interface BackgroundPutsOptions {
  /**
   * Bytes of puts that are going on or wait to be tried again; more are given up.
   *
   * @default 16 MiB
   */
  maxBytes?: number
  /** Tries of one put. @default 3 */
  tries?: number
  /** Pause before the second try, doubled for the next, in milliseconds. @default 1000 */
  pauseMs?: number
}

/** A put that nobody waits for. */
export interface BackgroundPut {
  readonly owner: string
  /** What is put, in the log. */
  readonly what: string
  readonly bytes: number
  /** The first try if it is under way: what it failed with, or undefined. */
  readonly underWay?: Promise<Error | undefined> | undefined
  /** Ends the try that is under way. */
  readonly abandon?: () => void
  attempt(signal: AbortSignal): Promise<void>
  /** Tells whether trying again makes no sense. */
  isFinal(error: Error): boolean
}

/**
 * Finishes puts that are no longer waited for, within bounds. What is given up is counted, not
 * lost: reads repair it.
 */
export class BackgroundPuts {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #givenUp: Counter | undefined
  readonly #maxBytes: number
  readonly #tries: number
  readonly #pauseMs: number
  readonly #stopping = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  #usedBytes = 0

  constructor(components: BackgroundPutsComponents, options: BackgroundPutsOptions = {}) {
    const { maxBytes = 16 * 2 ** 20, tries = 3, pauseMs = 1000 } = options
    const { clock, logger, metrics } = components
    this.#clock = clock
    this.#logger = logger
    this.#givenUp = metrics?.counter('blobswarm_peer_metadata_topups_given_up_total', {
      help: 'Puts to a metadata provider that were given up after a majority had them'
    })
    this.#maxBytes = maxBytes
    this.#tries = tries
    this.#pauseMs = pauseMs
  }

  /** Aborted when the background ends. */
  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  /** Takes over a put. */
  add(put: BackgroundPut): void {
    const { bytes } = put
    if (this.#stopping.signal.aborted || this.#usedBytes + bytes > this.#maxBytes) {
      put.abandon?.()
      this.#giveUp(put, new Error('too much is going on in the background'))
      return
    }
    this.#usedBytes += bytes
    const task = this.#finish(put).finally(() => {
      this.#usedBytes -= bytes
      this.#tasks.delete(task)
    })
    this.#tasks.add(task)
  }

  /** Resolves when nothing is going on. */
  async idle(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks)
  }

  /** Ends everything. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the metadata store has stopped'))
    await this.idle()
  }

  async #finish(put: BackgroundPut): Promise<void> {
    const { signal } = this.#stopping
    let error = await (put.underWay ?? this.#try(put))
    for (let tries = 1; tries < this.#tries && error !== undefined; tries++) {
      if (signal.aborted || put.isFinal(error)) break
      await this.#clock.sleep(this.#pauseMs * 2 ** (tries - 1), { signal }).catch(() => {})
      if (!signal.aborted) error = await this.#try(put)
    }
    if (error !== undefined) this.#giveUp(put, error)
  }

  async #try(put: BackgroundPut): Promise<Error | undefined> {
    try {
      await put.attempt(this.#stopping.signal)
      return undefined
    } catch (error) {
      return toError(error)
    }
  }

  #giveUp({ owner, what }: BackgroundPut, error: Error): void {
    this.#givenUp?.add(1)
    this.#logger.debug('%s not brought to %p: %e', what, owner, error)
  }
}
