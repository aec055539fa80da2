import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { LruCache } from '../lib/lru-cache.ts'
import { toError } from '../lib/to-error.ts'
import { signPathRecord } from './path-record.ts'
import type { Signer } from './signature-types.ts'
import type { RecordStore } from './store-types.ts'
import type { BlobId, Version } from './types.ts'

export interface PathPublisherComponents {
  readonly metadata: Pick<RecordStore, 'putRecords'>
  readonly signer: Signer
  readonly clock: Pick<Clock, 'now'>
  readonly logger: Logger
  readonly pathOf: (blob: BlobId) => string | undefined
  /** Newest version of a blob that is published; undefined if there is none. */
  readonly newest: (blob: BlobId) => Version | undefined
}

/** Paths that are being told to the metadata providers at the same time; beyond that they are left for later. */
const MAX_RUNNING = 64
/** What was told last is remembered, so that it is not told again. */
const REMEMBERED_BYTES = 1_048_576

/** Tells the metadata providers what paths stand for, in the background: a hint for when nobody else can. */
export class PathPublisher {
  readonly #components: PathPublisherComponents
  readonly #told = new LruCache<string>(REMEMBERED_BYTES)
  readonly #running = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  #lastMs = 0

  constructor(components: PathPublisherComponents) {
    this.#components = components
  }

  /** Somebody asked for a version of the blob, or it has a new one. */
  note(blob: BlobId): void {
    const path = this.#components.pathOf(blob)
    const version = this.#components.newest(blob)
    if (path === undefined || version === undefined || this.#stopping.signal.aborted) return
    const what = `${blob}/${version}`
    if (this.#told.get(path) === what || this.#running.size >= MAX_RUNNING) return
    this.#told.set(path, what, path.length + what.length)
    const task = this.#put(path, blob, version)
    this.#running.add(task)
    task.finally(() => this.#running.delete(task)).catch(() => {}) // it logs its failure
  }

  /** Gives up what is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the version manager stops'))
    await Promise.all(this.#running)
  }

  async #put(path: string, blob: BlobId, version: Version): Promise<void> {
    const { metadata, signer, clock, logger } = this.#components
    this.#lastMs = Math.max(this.#lastMs + 1, Math.floor(clock.now()))
    try {
      const record = signPathRecord(signer, { path, blob, version, sequence: this.#lastMs })
      await metadata.putRecords([record], { signal: this.#stopping.signal })
    } catch (error) {
      this.#told.delete(path)
      logger.debug('what %s stands for is not told: %e', path, toError(error))
    }
  }
}
