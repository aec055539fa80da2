import type { Collected } from '../chunks/provider-types.ts'
import type { ChunkId, ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { SignedVersionRecord } from './sealing-types.ts'
import type { AssignedVersion } from './ticket-types.ts'
import type { BlobId, Version, VersionRef } from './types.ts'

/** A blob as collection sees it, all blobs at one moment. */
export interface BlobRoots {
  readonly blob: BlobId
  readonly chunkBytes: number
  /** Newest published version; nodes of later ones are not looked at. */
  readonly published: Version
  /**
   * Versions whose manifests stay: those that can be read or are held, and the newest published
   * one, on which the next stands. Sorted; empty for a blob that nobody can reach any more.
   */
  readonly manifests: readonly Version[]
  /**
   * Those of them that are not sealed yet. What they are made from is among the roots, here or in
   * the blob that this one was cloned from: leaf lists, and the manifest that they begin with.
   */
  readonly unsealed: readonly Version[]
  /** Versions whose trees stay: those, what clones stand on, and bases of tickets. Sorted. */
  readonly trees: readonly Version[]
  /** Leaf lists of versions in flight, and of published ones that are not sealed yet. */
  readonly leafLists: readonly ChunkId[]
}

/** What collection asks of the version manager, beside `record`. */
export interface CollectedVersions {
  /** When its state began, milliseconds since the epoch; 0 if nobody knows. */
  beganMs(options?: AbortOptions): Promise<number>
  /**
   * Retires what no policy keeps any more, and everything of blobs that no path names.
   *
   * @param isDryRun only say what would be retired.
   */
  applyRetention(
    request: { readonly isDryRun: boolean },
    options?: AbortOptions
  ): Promise<readonly VersionRef[]>
  /** What must stay, at this moment, as if `retired` were retired already. */
  roots(retired: readonly VersionRef[], options?: AbortOptions): Promise<readonly BlobRoots[]>
  /** What versions `from` to `to`, both included, wrote. */
  assigned(
    blob: BlobId,
    range: { readonly from: Version; readonly to: Version },
    options?: AbortOptions
  ): Promise<readonly AssignedVersion[]>
  /** Paths that name one of the blobs now. */
  pathsOf(blobs: readonly BlobId[], options?: AbortOptions): Promise<readonly string[]>
  /** Seals the version if nobody has yet, also one that is retired but stays for others. */
  recordOf(ref: VersionRef, options?: AbortOptions): Promise<SignedVersionRecord>
  /**
   * Forgets blobs of which nothing is left anywhere; those that somebody has come to need meanwhile
   * stay.
   */
  forget(blobs: readonly BlobId[], options?: AbortOptions): Promise<void>
}

/**
 * What a collection found and did. Copies are counted one by one; bytes of chunks are as stored. A
 * dry run says the same as the collection right after it, but does not know the bytes of nodes, pages
 * and records, and says 0.
 */
export interface CollectionReport {
  readonly isDryRun: boolean
  readonly retiredVersions: number
  readonly forgottenBlobs: number
  readonly chunks: Collected
  readonly nodes: Collected
  readonly pages: Collected
  readonly records: Collected
  /** Chunks of versions that stay, each counted once. */
  readonly liveChunks: number
  /** Providers that could not be asked; what they keep is collected another time. */
  readonly missed: readonly ProviderId[]
  readonly seconds: number
}
