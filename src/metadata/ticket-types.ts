import type { ChunkId } from '../chunks/types.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobId, ChunkRange, Version, VersionRef } from './types.ts'

/** What is known of a version that was assigned: enough to decide which tree nodes it owns. */
export interface AssignedVersion {
  readonly version: Version
  /** Chunks it rewrites: sorted, disjoint, at most 4,096. */
  readonly ranges: readonly ChunkRange[]
  /** Size of the blob as of this version, in bytes. */
  readonly bytes: number
  /** Tree span in chunks as of this version and the one before. */
  readonly span: number
  readonly previousSpan: number
  /** True if everything at and past its end is cut off (STOR over an older version). */
  readonly truncates: boolean
}

/** Root of the newest published version below a ticket. */
export interface RootRef extends VersionRef {
  readonly span: number
}

/**
 * What the version manager hands a writer; travels signed. Weaving is a pure function of it and
 * the leaf list.
 */
export interface Ticket extends AssignedVersion {
  readonly blob: BlobId
  readonly chunkBytes: number
  readonly writer: string
  /**
   * Root of the writer's leaf list (see leaf-list-codec.ts), stored as pages before the ticket was
   * asked for.
   */
  readonly leafList: ChunkId
  /** Versions assigned and not yet published below this one, oldest first. */
  readonly inFlight: readonly AssignedVersion[]
  /** undefined when nothing was published yet. */
  readonly base: RootRef | undefined
  /**
   * Milliseconds since the epoch; a commit after it may find the version already rolled forward.
   */
  readonly leaseUntilMs: number
}

/** What a writer says to get a ticket. */
export interface TicketRequest {
  readonly blob: BlobId
  /** Peer id of who writes; the version manager checks it against the connection. */
  readonly writer: string
  readonly ranges: readonly ChunkRange[]
  /**
   * End of what is written in bytes; the new size if `truncates`, else the size becomes at least
   * this.
   */
  readonly endBytes: number
  readonly truncates: boolean
  readonly leafList: ChunkId
  /**
   * The pages of the leaf list, where it is short (MAX_LEAF_PAGES, MAX_LEAF_PAGE_BYTES together) and
   * not stored yet: the version manager stores them first, which saves a request.
   */
  readonly leafPages?: readonly Uint8Array[] | undefined
  /** Refused with a conflict unless the newest assigned version is this one. */
  readonly ifNewest?: Version | undefined
  /** Refused with a conflict unless the newest assigned size is this (append). */
  readonly ifBytes?: number | undefined
  /** Refused with a conflict unless this path still names the blob. */
  readonly path?: string | undefined
  readonly note?: string | undefined
}

/** A ticket and the form in which it travels. */
export interface SignedTicket {
  readonly ticket: Ticket
  readonly envelope: SignedEnvelope
}

/** Stands beside nodes that are put: the ticket they follow from, and the putter's signature. */
export interface NodeProof {
  readonly ticket: SignedEnvelope
  /** By the putter over the digests of the batch's nodes. */
  readonly nodes: SignedEnvelope
}
