import type { AbortOptions } from '../lib/abort-options.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode, NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { loadTicketLeafList } from './leaf-list-codec.ts'
import { pageFetcher } from './page-fetch.ts'
import type { Signer } from './signature-types.ts'
import type { MetadataStore } from './store-types.ts'
import type { NodeProof, Ticket } from './ticket-types.ts'
import { proveNodes, signTicket } from './tickets.ts'
import type { KeyedNode } from './tree-types.ts'
import { weaveNodes } from './tree-write.ts'
import type { BlobId, Version, VersionRef } from './types.ts'
import type { VersionRow } from './version-rows.ts'

/** What is asked of the version manager. */
export interface OpenVersions {
  /** Versions that are assigned or fenced. */
  open(): Iterable<VersionRow>
  /** When the lease of a version ends, on the monotonic clock. */
  leaseEnd(ref: VersionRef): number
  /** assigned → fenced, durably. @returns a ticket from what is known now. */
  fence(blob: BlobId, version: Version): Promise<Ticket>
  commit(blob: BlobId, version: Version): Promise<void>
}

export interface RollForwardComponents {
  readonly versions: OpenVersions
  readonly metadata: MetadataStore
  readonly signer: Signer
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics?: Metrics | undefined
}

export interface RollForwardOptions {
  /** Versions that are finished at the same time. @default 2 */
  readonly concurrency?: number
  /** Pause after a failure, doubled with each further one up to 32 times. @default 1000 */
  readonly retryMs?: number
}

interface Attempt {
  readonly failures: number
  readonly notBeforeMs: number
}

/** Batches of nodes that are stored at the same time. */
const NODE_BATCHES = 3
const MAX_DOUBLINGS = 5
/** Failures in a row after which an operator should look. */
const ALARMING_FAILURES = 3
/** Shortest pause between two looks at the leases. */
const MIN_PAUSE_MS = 10

/**
 * Finishes versions whose writers have not committed by the end of their lease: loads the leaf
 * list that the ticket names, weaves the same nodes as the writer would have, and commits.
 * Harmless when the writer was only slow.
 */
export class RollForward {
  readonly #components: RollForwardComponents
  readonly #concurrency: number
  readonly #retryMs: number
  readonly #rolledForward: Counter | undefined
  readonly #stopped = new AbortController()
  readonly #running = new Map<string, Promise<void>>()
  readonly #failed = new Map<string, Attempt>()
  #cancel: Cancel | undefined
  #dueMs = Number.POSITIVE_INFINITY

  constructor(components: RollForwardComponents, options: RollForwardOptions = {}) {
    const { concurrency = 2, retryMs = 1000 } = options
    this.#components = components
    this.#concurrency = concurrency
    this.#retryMs = retryMs
    this.#rolledForward = components.metrics?.counter(
      'blobswarm_metadata_versions_rolled_forward_total',
      { help: 'Versions finished in the place of their writers' }
    )
  }

  /** Notes that a lease ends at `leaseEndMs` of the monotonic clock. */
  expect(leaseEndMs: number): void {
    if (leaseEndMs >= this.#dueMs) return
    this.#schedule(leaseEndMs)
  }

  /** Looks for leases that have run out, and begins to finish those versions. */
  check(): void {
    if (this.#stopped.signal.aborted) return
    const { versions, clock } = this.#components
    const nowMs = clock.monotonic()
    let nextMs = Number.POSITIVE_INFINITY
    for (const row of versions.open()) {
      const key = `${row.blob}/${row.version}`
      if (this.#running.has(key)) continue
      const leaseEndMs = row.condition === 'fenced' ? nowMs : versions.leaseEnd(row) + 1
      const dueMs = Math.max(leaseEndMs, this.#failed.get(key)?.notBeforeMs ?? 0)
      if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs)
      else if (this.#running.size < this.#concurrency) this.#begin(key, row)
      // When one of those that run ends, there is another look.
    }
    this.#schedule(nextMs)
  }

  /** Gives up what runs; a later run begins it again. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NotRunningError('version manager'))
    this.#cancel?.()
    await Promise.allSettled(this.#running.values())
  }

  #schedule(atMs: number): void {
    this.#cancel?.()
    this.#cancel = undefined
    this.#dueMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) return
    const { clock } = this.#components
    this.#cancel = clock.schedule(
      () => {
        this.#dueMs = Number.POSITIVE_INFINITY
        this.check()
      },
      Math.max(MIN_PAUSE_MS, atMs - clock.monotonic())
    )
  }

  #begin(key: string, { blob, version }: VersionRow): void {
    const { clock, logger } = this.#components
    const run = async (): Promise<void> => {
      try {
        await this.#finish(blob, version)
        this.#failed.delete(key)
        this.#rolledForward?.add(1)
        logger.info('version %d of %s was rolled forward', version, blob)
      } catch (error) {
        if (this.#stopped.signal.aborted) return
        const failures = (this.#failed.get(key)?.failures ?? 0) + 1
        const pauseMs = this.#retryMs * 2 ** Math.min(failures - 1, MAX_DOUBLINGS)
        this.#failed.set(key, { failures, notBeforeMs: clock.monotonic() + pauseMs })
        // Metadata providers may only be out of reach for a moment, as they are right after a start.
        const level = failures < ALARMING_FAILURES ? 'info' : 'error'
        logger[level]('version %d of %s cannot be rolled forward: %e', version, blob, error)
      } finally {
        this.#running.delete(key)
        this.check()
      }
    }
    this.#running.set(key, run())
  }

  async #finish(blob: BlobId, version: Version): Promise<void> {
    const { versions, metadata, signer, logger } = this.#components
    const { signal } = this.#stopped
    const ticket = await versions.fence(blob, version)
    const onMalformed = (error: Error): void =>
      logger.error('leaf list of version %d of %s is ignored: %e', version, blob, error)
    const fetchPages = pageFetcher(metadata)
    const leaves = await loadTicketLeafList(ticket.leafList, fetchPages, onMalformed, { signal })
    const { envelope } = signTicket(signer, ticket)
    const onMisfit = ({ index }: { readonly index: number }, reason: string): void =>
      logger.error('chunk %d of version %d of %s is left out: %s', index, version, blob, reason)
    await forEachConcurrently(
      weaveNodes(ticket, leaves, metadata, { signal, onMisfit }),
      NODE_BATCHES,
      async (nodes, batchSignal) => {
        await this.#put(nodes, proveNodes(signer, envelope, nodes), { signal: batchSignal })
      },
      { signal }
    )
    await versions.commit(blob, version)
  }

  /**
   * Stores nodes. Where a dishonest writer has stored others before it died, those stay: they follow
   * from its ticket too, so nobody's version is spoilt but its own, and no other must wait for it.
   */
  async #put(nodes: KeyedNode[], proof: NodeProof, options: AbortOptions): Promise<void> {
    const { metadata, logger } = this.#components
    try {
      await metadata.putNodes(nodes, proof, options)
    } catch (error) {
      if (errorCode(error) !== 'ERR_NODE_CONFLICT') throw error
      if (nodes.length === 1) {
        logger.error('a writer stored nodes that are not those of its leaf list: %e', error)
        return
      }
      const middle = nodes.length >>> 1
      await this.#put(nodes.slice(0, middle), proof, options)
      await this.#put(nodes.slice(middle), proof, options)
    }
  }
}
