import { chunkId, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import { Chunker, type PartialChunk } from '../chunks/chunker.ts'
import type { AbortOptions, ChunkWriter } from '../chunks/types.ts'
import type { Budget } from '../lib/budget.ts'
import { concatBytes, isAllZero } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { BlobReader } from './blob-reader.ts'
import { ChunkPlacer } from './chunk-placer.ts'
import { UploadAbortedError } from './errors.ts'
import { type LeafList, LeafListBuilder } from './leaf-list.ts'
import type { ManifestView } from './manifest-view.ts'
import { type PublishVersionOptions, VersionPublisher } from './publishing.ts'
import type {
  BlobDescription,
  MetadataStore,
  Signer,
  Version,
  VersionManager,
  VersionSummary
} from './types.ts'

/**
 * What an upload does to the content before it. `replace`: the version is exactly what is written, gaps
 * read as zeros. `patch`: what is written goes over the newest version. `append`: offsets count from the
 * end of the newest version.
 */
export type WriteMode = 'replace' | 'patch' | 'append'

export interface BlobWriterComponents {
  readonly versions: VersionManager
  readonly metadata: MetadataStore
  readonly writer: ChunkWriter
  /** Opens the version that is written over, to find out which chunks it has already. */
  readonly blobs: BlobReader
  readonly signer: Signer
  readonly clock: Clock
  readonly logger: LoggerFactory
  /** Memory for chunks on their way to the providers, shared by all uploads. */
  readonly inFlight: Budget
  /** Memory for chunks that are not whole yet, shared by all uploads; beyond it they go to a file. */
  readonly staging: Budget
}

export interface BlobWriterOptions {
  readonly description: BlobDescription
  readonly mode: WriteMode
  /** Folder for the file that takes what the staging memory cannot; it must exist. */
  readonly stagingFolder: string
  /** Condition: the version is refused unless this path still names the blob then. */
  readonly path?: string | undefined
  /** Condition: the version is refused unless this one is the newest then. */
  readonly ifNewest?: Version | undefined
  /** Text that stays with the version, at most 1,024 bytes. */
  readonly note?: string | undefined
  /** Copies that a chunk which is there already must have to be left alone. @default replicas of the blob */
  readonly writeQuorum?: number | undefined
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

type WriterState =
  | { readonly name: 'open' | 'publishing' | 'published' }
  | { readonly name: 'failed'; readonly error: Error }

interface WriterStart {
  readonly parent: ManifestView | undefined
  /** For an append: the size that it is cut on. */
  readonly appendedAt: number | undefined
}

/**
 * One upload: blocks in any order become one new version of a blob. Nothing of it can be seen before
 * `publish` has resolved. The first failure ends it for good.
 *
 * ```text
 * write ──► chunker ──► id ──► zeros? ──► same in parent? ──► already at providers? ──► ChunkWriter
 *                        └───────────────► leaf list ──► publish: ticket, tree nodes, commit
 * ```
 */
export class BlobWriter {
  readonly #components: BlobWriterComponents
  readonly #options: BlobWriterOptions
  readonly #appendedAt: number | undefined
  readonly #chunker: Chunker
  readonly #placer: ChunkPlacer
  readonly #leaves = new LeafListBuilder()
  readonly #logger: Logger
  readonly #ended = new AbortController()
  readonly #progress = { receivedBytes: 0, storedBytes: 0, reusedBytes: 0, zeroBytes: 0 }
  #state: WriterState = { name: 'open' }
  #endBytes: number

  private constructor(
    components: BlobWriterComponents,
    options: BlobWriterOptions,
    start: WriterStart
  ) {
    const { description, writeQuorum = description.replicas } = options
    this.#components = components
    this.#options = options
    this.#appendedAt = start.appendedAt
    this.#endBytes = start.appendedAt ?? 0
    this.#logger = components.logger.forComponent('blobswarm:metadata:blob-writer')
    const { signal } = this.#ended
    const placing = {
      writer: components.writer,
      parent: start.parent,
      signal,
      logger: this.#logger
    }
    this.#placer = new ChunkPlacer(placing, writeQuorum)
  }

  /**
   * Opens an upload.
   *
   * @throws {UnknownBlobError} if the blob does not exist.
   */
  static async open(
    components: BlobWriterComponents,
    options: BlobWriterOptions & AbortOptions
  ): Promise<BlobWriter> {
    const { versions } = components
    const { blob } = options.description
    const isAppend = options.mode === 'append'
    const appendedAt = isAppend ? (await versions.newest(blob, options)).bytes : undefined
    const parent = await openParent(components, options)
    return new BlobWriter(components, options, { parent, appendedAt })
  }

  /** What has been done so far; a copy. */
  get progress(): WriteProgress {
    return { ...this.#progress }
  }
}
