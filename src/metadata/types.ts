/** BLAKE3-256 of (authority public key, nonce) as 64 lower-case hex digits. */
export type BlobId = string

/** Snapshot number of a blob: 1, 2, 3 …; 0 is empty, or in a clone the alias of its source. */
export type Version = number

/**
 * Names a version of a blob. In a tree it is the link to a node: offset and span follow from the
 * place where the link stands.
 */
export interface VersionRef {
  readonly blob: BlobId
  readonly version: Version
}

/** Half-open range of chunk indexes, `[start, end)`. */
export interface ChunkRange {
  readonly start: number
  readonly end: number
}

/** Half-open range of bytes, `[offset, offset + length)`. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/** What is fixed when a blob is made. */
export interface BlobDescription {
  readonly blob: BlobId
  readonly chunkBytes: number
  readonly replicas: number
  readonly createdMs: number
}

/** How far a version has come; a retired one is hidden and waits for collection. */
export type VersionCondition = 'assigned' | 'committed' | 'published' | 'retired'

/** A version as the history of its blob shows it. */
export interface VersionSummary {
  readonly version: Version
  readonly bytes: number
  /** When it was published, else assigned; milliseconds since the epoch. */
  readonly timeMs: number
  readonly note: string
  readonly condition: VersionCondition
  /** Kept whatever the policy says, until it is unpinned. */
  readonly isPinned: boolean
}
