import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { SignedEnvelope } from './signature-types.ts'
import type { BlobDescription, BlobId, ChunkRange, Version, VersionRef } from './types.ts'

/**
 * The sealed form of a published version: all that a deployer needs besides a few manifest pages.
 * Travels signed.
 */
export interface VersionRecord {
  readonly blob: BlobId
  readonly version: Version
  readonly bytes: number
  readonly chunkBytes: number
  /** Multihash code of the algorithm that names chunks and pages (0x1e, BLAKE3). */
  readonly hashCode: number
  readonly manifestRoot: ChunkId
  readonly parent: VersionRef | undefined
  readonly timeMs: number
  readonly note: string
}

/** A version record and the form in which it travels. */
export interface SignedVersionRecord {
  readonly record: VersionRecord
  readonly envelope: SignedEnvelope
}

/**
 * A published version that is to get its manifest; all that the record says is in here, so
 * sealing is deterministic.
 */
export interface SealRequest {
  readonly description: BlobDescription
  readonly version: Version
  readonly bytes: number
  /** True if it starts from nothing. */
  readonly truncates: boolean
  /** Chunks that its ticket allowed it to write; what its leaf list says of others is ignored. */
  readonly ranges: readonly ChunkRange[]
  readonly leafList: ChunkId
  /** When it was published. */
  readonly timeMs: number
  readonly note: string
  /** The version below, or in a clone's first version the source; undefined when there is none. */
  readonly parent: VersionRef | undefined
  /** Record of `parent`; undefined when there is no parent or the version truncates. */
  readonly parentRecord: SignedVersionRecord | undefined
}

/** Gives published versions their manifests. */
export interface Sealer {
  /** Stores manifest, locations and signed record, and returns the record; twice gives the same. */
  seal(request: SealRequest, options?: AbortOptions): Promise<SignedVersionRecord>
}

/**
 * Where the chunks of one manifest page are: a hint. A higher sequence replaces a lower one.
 * Travels signed.
 */
export interface LocationRecord {
  readonly page: ChunkId
  readonly sequence: number
  /** One replica set per chunk of the page, empty for the zero chunk. */
  readonly replicas: readonly (readonly ProviderId[])[]
}
