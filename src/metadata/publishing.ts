import type { ChunkId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { withDeadline } from '../lib/deadline.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { ChunkLeases } from './chunk-leases.ts'
import { BlobTooLargeError, UploadAbortedError } from './errors.ts'
import { MAX_REPLACED_CHUNKS } from './geometry.ts'
import type { LeafList } from './leaf-list.ts'
import { encodeLeafList } from './leaf-list-codec.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import type { Signer } from './signature-types.ts'
import type { MetadataStore, Page } from './store-types.ts'
import type { SignedTicket, TicketRequest } from './ticket-types.ts'
import { proveNodes } from './tickets.ts'
import { weaveNodes } from './tree-write.ts'
import type { BlobDescription, Version, VersionSummary } from './types.ts'
import type { VersionManager } from './version-manager-types.ts'
import { MAX_LEAF_PAGE_BYTES, MAX_LEAF_PAGES } from './version-requests.ts'

/** Leaf-list pages that are stored together, 1.6 MiB of them. */
const PAGES_PER_BATCH = 32

/** Batches of nodes that are stored at the same time. */
const NODE_BATCHES = 3

/** Times that an append is cut again because others were faster. */
const MAX_APPEND_TRIES = 64

/** What a writer asks of the version manager. */
export type PublishedVersions = Pick<
  VersionManager,
  'assign' | 'renew' | 'finish' | 'newest' | 'waitPublished'
>

export interface PublisherComponents {
  readonly versions: PublishedVersions
  readonly metadata: MetadataStore
  readonly signer: Signer
  readonly clock: Clock
  readonly logger: Logger
}

export interface PublisherOptions {
  /**
   * How long a writer that failed after its ticket waits for the version manager to finish its
   * version in its place. @default 60000
   */
  readonly rollForwardMs?: number
}

/** Size that a version may have that replaces everything, in bytes. */
export function maxReplacedBytes({ chunkBytes }: Pick<BlobDescription, 'chunkBytes'>): number {
  return chunkBytes * MAX_REPLACED_CHUNKS
}

/** @throws {BlobTooLargeError} if a version that replaces everything cannot end there. */
export function verifyReplacedEnd(end: number, description: BlobDescription): void {
  const most = maxReplacedBytes(description)
  if (end > most) throw new BlobTooLargeError(end, most)
}

/** A leaf list as a ticket request names it. */
type NamedList = Pick<TicketRequest, 'leafList' | 'leafPages'>

/** A version whose chunks are stored. */
export interface StoredWrite {
  readonly description: BlobDescription
  readonly leaves: LeafList
  /** End of what is written. */
  readonly endBytes: number
  readonly truncates: boolean
  /** For an append: the size that the leaf list was cut on. */
  readonly appendedAt?: number | undefined
  readonly ifNewest?: Version | undefined
  readonly path?: string | undefined
  readonly note?: string | undefined
}

export interface PublishVersionOptions extends AbortOptions {
  /** Asked right before the ticket; false ends the upload, and nothing of it is ever seen. */
  readonly isStillWanted?: (() => boolean) | undefined
  /** Keeps the chunks from collection until there is a ticket; stopped then. */
  readonly leases?: Pick<ChunkLeases, 'ensure' | 'stop'> | undefined
}

/**
 * Brings stored chunks into a new version: leaf list → ticket → tree nodes → commit → published.
 */
export class VersionPublisher {
  readonly #components: PublisherComponents
  readonly #rollForwardMs: number

  constructor(components: PublisherComponents, options: PublisherOptions = {}) {
    const { rollForwardMs = 60_000 } = options
    this.#components = components
    this.#rollForwardMs = rollForwardMs
  }

  /**
   * Publishes a write, and resolves when the version can be read. Once there is a ticket the
   * version manager finishes the version even if this writer cannot; that is waited for.
   *
   * @throws {UploadAbortedError} if `isStillWanted` says no.
   * @throws {TicketConflictError} if a condition does not hold.
   * @throws {BlobTooLargeError} if it replaces everything and has too many chunks.
   */
  async publish(write: StoredWrite, options: PublishVersionOptions = {}): Promise<VersionSummary> {
    if (write.truncates) verifyReplacedEnd(write.endBytes, write.description)
    const { leaves, signed } = await this.#assign(write, options)
    const { blob, version } = signed.ticket
    const { versions, logger } = this.#components
    try {
      await options.leases?.stop()
      await this.#weave(signed, leaves, options)
      return await versions.finish(blob, version, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      logger.info('version %d of %s is left to be rolled forward: %e', version, blob, error)
      return await this.#waitRolledForward(signed, toError(error), options)
    }
  }

  /**
   * Asks for a ticket; for an append again and again, each time cut on the size that is newest
   * then.
   */
  async #assign(
    write: StoredWrite,
    options: PublishVersionOptions
  ): Promise<{ signed: SignedTicket; leaves: LeafList }> {
    const { versions } = this.#components
    const { chunkBytes, blob } = write.description
    let { leaves, endBytes, appendedAt } = write
    for (let tries = 1; ; tries++) {
      const list = await this.#putLeafList(leaves, options)
      await options.leases?.ensure(options)
      if (options.isStillWanted?.() === false) throw new UploadAbortedError('it is not wanted now')
      try {
        const request = this.#request(write, { leaves, list, endBytes, ifBytes: appendedAt })
        return { signed: await versions.assign(request, options), leaves }
      } catch (error) {
        const isOutrun = errorCode(error) === 'ERR_SIZE_CONFLICT' && tries < MAX_APPEND_TRIES
        if (!isOutrun) throw error
        // It may be the size that this was cut on again: others have made it smaller and larger.
        const { bytes } = await versions.newest(blob, options)
        const delta = bytes - (write.appendedAt ?? 0)
        leaves = shifted(write.leaves, delta, chunkBytes)
        endBytes = write.endBytes + delta
        appendedAt = bytes
      }
    }
  }

  #request(
    { description, truncates, ifNewest, path, note }: StoredWrite,
    cut: { leaves: LeafList; list: NamedList; endBytes: number; ifBytes: number | undefined }
  ): TicketRequest {
    const { leaves, list, endBytes, ifBytes } = cut
    const writer = this.#components.signer.peerId
    const ranges = leaves.ranges()
    const { blob } = description
    return { blob, writer, ranges, endBytes, truncates, ...list, ifNewest, ifBytes, path, note }
  }

  /** Stores the leaf list, unless it is short enough to go with the request. */
  async #putLeafList(leaves: LeafList, options: AbortOptions): Promise<NamedList> {
    const { metadata } = this.#components
    let batch: Page[] = []
    let leafList: ChunkId | undefined
    let stored = 0
    for (const page of encodeLeafList(leaves)) {
      batch.push(page)
      leafList = page.id
      if (batch.length < PAGES_PER_BATCH) continue
      await metadata.putPages(batch, options)
      stored += batch.length
      batch = []
    }
    if (leafList === undefined) throw new TypeError('a leaf list without a root')
    const byteCount = batch.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    if (stored === 0 && batch.length <= MAX_LEAF_PAGES && byteCount <= MAX_LEAF_PAGE_BYTES) {
      return { leafList, leafPages: batch.map(({ bytes }) => bytes) }
    }
    if (batch.length > 0) await metadata.putPages(batch, options)
    return { leafList }
  }

  /** Stores the nodes of the version, keeping the lease alive meanwhile. */
  async #weave(signed: SignedTicket, leaves: LeafList, options: AbortOptions): Promise<void> {
    const { metadata, signer } = this.#components
    const lease = new LeaseKeeper(this.#components, signed.ticket)
    lease.start()
    try {
      await forEachConcurrently(
        weaveNodes(signed.ticket, leaves, metadata, options),
        NODE_BATCHES,
        async (nodes, signal) => {
          await metadata.putNodes(nodes, proveNodes(signer, signed.envelope, nodes), { signal })
        },
        options
      )
    } finally {
      await lease.stop()
    }
  }

  /** @throws {Error} `cause` if the version is not finished by somebody else in time. */
  async #waitRolledForward(
    { ticket }: SignedTicket,
    cause: Error,
    { signal }: AbortOptions
  ): Promise<VersionSummary> {
    const { versions, clock } = this.#components
    const leaseMs = Math.max(0, ticket.leaseUntilMs - clock.now())
    const timeoutMs = leaseMs + this.#rollForwardMs
    return await withDeadline(
      (deadline) => versions.waitPublished(ticket.blob, ticket.version, deadline),
      { clock, timeoutMs, timedOut: () => cause, signal }
    )
  }
}

function shifted(leaves: LeafList, deltaBytes: number, chunkBytes: number): LeafList {
  return deltaBytes === 0 ? leaves : leaves.shifted(deltaBytes, chunkBytes)
}
