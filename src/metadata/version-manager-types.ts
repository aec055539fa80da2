import type { AbortOptions } from '../lib/abort-options.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { SignedTicket, TicketRequest } from './ticket-types.ts'
import type { BlobDescription, BlobId, Version, VersionRef, VersionSummary } from './types.ts'

/** Asks for a new blob. */
export interface CreateBlobRequest {
  readonly chunkBytes: number
  readonly replicas: number
  /** Expected size; fixes the tree span at first, so that growth is rare. */
  readonly sizeHint?: number | undefined
}

/** Asks to keep a version from collection for a time. */
export interface HoldRequest extends VersionRef {
  /** Peer id of who holds it; the version manager checks it against the connection. */
  readonly holder: string
  /** What for, such as `pull /a/b`; together with the holder it names the hold. */
  readonly purpose: string
  /** How long without renewal, at most 7 days. */
  readonly forMs: number
}

/** Hands out tickets, publishes in order, seals. Every answer is durable before it is given. */
export interface VersionManager {
  createBlob(request: CreateBlobRequest, options?: AbortOptions): Promise<BlobDescription>
  describe(blob: BlobId, options?: AbortOptions): Promise<BlobDescription | undefined>
  /**
   * → assigned.
   *
   * @throws {UnknownBlobError | TicketConflictError | SizeConflictError | MetadataLimitError}
   */
  assign(request: TicketRequest, options?: AbortOptions): Promise<SignedTicket>
  /** Extends the lease. @throws {TicketConflictError} if it was fenced already. */
  renew(blob: BlobId, version: Version, options?: AbortOptions): Promise<number>
  /**
   * assigned → committed, once all nodes are stored; published with the longest finished prefix.
   */
  commit(blob: BlobId, version: Version, options?: AbortOptions): Promise<void>
  /** As `commit` and then `waitPublished`, in one request where the version manager is elsewhere. */
  finish(blob: BlobId, version: Version, options?: AbortOptions): Promise<VersionSummary>
  /** Resolves when the version is published. */
  waitPublished(blob: BlobId, version: Version, options?: AbortOptions): Promise<VersionSummary>
  /**
   * Newest published version that is not retired, in a clone without one its version 0; undefined if
   * there is none.
   */
  latest(blob: BlobId, options?: AbortOptions): Promise<VersionSummary | undefined>
  /**
   * Record of the newest version that can be read and is sealed already; nothing is sealed for it.
   * What is new beyond it is unknown.
   */
  sealed(blob: BlobId, options?: AbortOptions): Promise<SignedVersionRecord | undefined>
  /** Newest assigned version and size, what an append is cut on. */
  newest(blob: BlobId, options?: AbortOptions): Promise<{ version: Version; bytes: number }>
  /** Versions that can be read, oldest first, a clone's version 0 among them. */
  history(blob: BlobId, options?: AbortOptions): Promise<VersionSummary[]>
  /** Seals the version if nobody has yet. @throws {UnknownVersionError} if it is not published. */
  record(blob: BlobId, version: Version, options?: AbortOptions): Promise<SignedVersionRecord>
  /**
   * published → retired: hidden from now on, collected later.
   *
   * @throws {VersionPinnedError}
   */
  retire(blob: BlobId, version: Version, options?: AbortOptions): Promise<void>
  /**
   * Keeps a version from collection, also when it or its path is removed meanwhile. Again renews.
   *
   * @returns when it ends, milliseconds since the epoch.
   * @throws {UnknownVersionError | MetadataLimitError | RangeError}
   */
  hold(request: HoldRequest, options?: AbortOptions): Promise<number>
  /** Ends a hold; one that is not there is fine. */
  release(hold: Omit<HoldRequest, 'forMs'>, options?: AbortOptions): Promise<void>
  /** Pins a version or lets go of it again. @throws {UnknownVersionError} */
  setPinned(ref: VersionRef, isPinned: boolean, options?: AbortOptions): Promise<void>
}
