import type { ChunkBuffers } from '../chunks/chunk-buffers.ts'
import type { ChunkReader, ChunkWriter } from '../chunks/replica-types.ts'
import type { Budget } from '../lib/budget.ts'
import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Counter } from '../lib/metrics.ts'
import type { BlobReader } from './blob-reader.ts'
import type { UploadNotes } from './kept-upload.ts'
import type { LeafList } from './leaf-list.ts'
import type { PublishVersionOptions } from './publishing.ts'
import type { Signer } from './signature-types.ts'
import type { MetadataStore } from './store-types.ts'
import type { BlobDescription, Version } from './types.ts'
import type { VersionManager } from './version-manager-types.ts'

/**
 * What an upload does to the content before it. `replace`: the version is exactly what is written,
 * gaps read as zeros. `patch`: what is written goes over the newest version. `append`: offsets
 * count from the end of the newest version.
 */
export type WriteMode = 'replace' | 'patch' | 'append'

export interface BlobWriterComponents {
  readonly versions: VersionManager
  readonly metadata: MetadataStore
  readonly writer: ChunkWriter
  /** Reads back what is stored, before it is published. */
  readonly reader: ChunkReader
  /** Opens the version that is written over, to find out which chunks it has already. */
  readonly blobs: BlobReader
  readonly signer: Signer
  readonly clock: Clock
  readonly logger: LoggerFactory
  /** Memory for chunks on their way to the providers, shared by all uploads. */
  readonly inFlight: Budget
  /**
   * Memory for chunks that are not whole yet, shared by all uploads; beyond it they go to a file.
   */
  readonly staging: Budget
  /** Buffers for chunks, shared by all uploads. @default some of its own */
  readonly buffers?: ChunkBuffers | undefined
  /** Counts what became of the bytes; label `kind`: stored, reused or zero. */
  readonly uploadedBytes?: Counter | undefined
}

export interface BlobWriterOptions {
  readonly description: BlobDescription
  readonly mode: WriteMode
  /** Folder for the file that takes what the staging memory cannot; it must exist. */
  readonly stagingFolder: string
  /** Chunks that may be on their way to providers. @default as many as there is memory for */
  readonly maxUnderWay?: number | undefined
  /** Condition: the version is refused unless this path still names the blob then. */
  readonly path?: string | undefined
  /** Condition: the version is refused unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
  /** Text that stays with the version, at most 1,024 bytes. */
  readonly note?: string | undefined
  /**
   * How long providers keep what nothing refers to yet, in milliseconds; the same everywhere.
   *
   * @default 900_000
   */
  readonly leaseMs?: number | undefined
  /** Where what is stored is written down, so that the upload can be continued after it broke. */
  readonly notes?: UploadNotes | undefined
  /** What the upload that this one continues has stored. */
  readonly continuing?: LeafList | undefined
}

/** How far an upload is, in bytes. */
export interface WriteProgress {
  /** Taken from the caller. */
  readonly receivedBytes: number
  /** Of whole chunks: moved to providers, found there already, and zeros. */
  readonly storedBytes: number
  readonly reusedBytes: number
  readonly zeroBytes: number
}

export interface PublishOptions extends PublishVersionOptions {
  /** Condition: refused unless this version is the newest. @default as the upload was opened */
  readonly ifNewest?: Version | undefined
}
