import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Range } from '../lib/range-set.ts'
import type { WriteMode } from './blob-writer-types.ts'
import type { KeptUploads } from './kept-uploads.ts'
import type { FileEntry, Namespace } from './namespace-types.ts'
import type { Ref } from './ref.ts'
import type { Signer, Verifier } from './signature-types.ts'
import type { MetadataStore } from './store-types.ts'
import type { ByteRange, Version } from './types.ts'
import type { VersionManager } from './version-manager-types.ts'

export interface RepositoryComponents {
  readonly versions: VersionManager
  readonly namespace: Namespace
  readonly metadata: MetadataStore
  readonly writer: ChunkWriter
  readonly reader: ChunkReader
  readonly signer: Signer
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** What chunks are read into, where it is to be had back. @default it is left alone */
  readonly readBuffers?: Pick<ReadBuffers, 'giveBack'> | undefined
  /** Keeps broken uploads, so that they can be continued. @default none is kept */
  readonly keptUploads?: KeptUploads | undefined
}

export interface RepositoryOptions {
  /** Folder for temporary files of uploads; it must exist. */
  readonly stagingFolder: string
  /** Memory of all uploads together, at least 32 MiB. @default 96 MiB */
  readonly uploadBudgetBytes?: number | undefined
  /** Copies of each chunk of new blobs. @default 1 */
  readonly replicas?: number | undefined
  /** Chunk size of new blobs; `auto` goes by the announced size. @default 'auto' */
  readonly chunkBytes?: number | 'auto' | undefined
  /** Bytes that a reader fetches ahead. @default 8 MiB */
  readonly readAheadBytes?: number | undefined
  /**
   * How long providers keep what nothing refers to yet, in milliseconds; the same everywhere.
   *
   * @default 900_000
   */
  readonly leaseMs?: number | undefined
}

export interface OpenWriteOptions extends AbortOptions {
  readonly mode: WriteMode
  /** What the client announced, in bytes: a hint for chunk size and tree. */
  readonly expectedBytes?: number | undefined
  /** Of a new blob. @default as the repository's options say */
  readonly chunkBytes?: number | undefined
  readonly replicas?: number | undefined
  /** Text that stays with the version. */
  readonly note?: string | undefined
  /** Refuses the version with a TicketConflictError unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
  /** Chunks that may be on their way to providers. @default as many as there is memory for */
  readonly maxUnderWay?: number | undefined
  /** Keeps the upload when it breaks, for the same user. Not for appending. @default not kept */
  readonly restart?: RestartOptions | undefined
}

/** How an upload can be continued, or which one is. */
export interface RestartOptions {
  readonly user: string
  /**
   * Ranges of bytes of the file that the broken upload of this user to this path has stored, and
   * that are not written again; in ascending order, without overlaps.
   *
   * @default begins anew, in place of any broken upload
   */
  readonly continuing?: readonly Range[] | undefined
}

export interface CreateOptions extends AbortOptions {
  readonly chunkBytes?: number | undefined
  readonly replicas?: number | undefined
  readonly note?: string | undefined
}

/** A range of a version that is to appear in another file. */
export interface MergeRequest extends ByteRange {
  /** Where the bytes are; what lies past its end is left out. */
  readonly from: string | Ref
  /** File that gets another version; made if there is none. */
  readonly to: string
  /** Where the range begins in it. */
  readonly at: number
}

export interface MergeOptions extends CreateOptions {
  /** Refuses the version with a TicketConflictError unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
}

/** A version by the path that named it. */
export interface NamedVersion {
  readonly path: string
  readonly version: Version
  readonly bytes: number
}

/** Two versions and where they differ. */
export interface VersionDiff {
  readonly before: NamedVersion
  readonly after: NamedVersion
  /** In order; can be walked once. */
  readonly ranges: AsyncGenerator<ByteRange, void>
}

/** A file in one of its versions. */
export interface FileStatus extends FileEntry {
  readonly chunkBytes: number
  readonly replicas: number
  /** True if the reference named the version. */
  readonly isFixed: boolean
}
