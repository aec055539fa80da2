import { chunkId, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import { Chunker } from '../chunks/chunker.ts'
import type { AbortOptions, ChunkWriter } from '../chunks/types.ts'
import type { Budget } from '../lib/budget.ts'
import { concatBytes, isAllZero } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter } from '../lib/metrics.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type { BlobReader } from './blob-reader.ts'
import { ChunkPlacer } from './chunk-placer.ts'
import { UploadAbortedError } from './errors.ts'
import { LeafListBuilder } from './leaf-list.ts'
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
 * What an upload does to the content before it. `replace`: the version is exactly what is written,
 * gaps read as zeros. `patch`: what is written goes over the newest version. `append`: offsets
 * count from the end of the newest version.
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
  /**
   * Memory for chunks that are not whole yet, shared by all uploads; beyond it they go to a file.
   */
  readonly staging: Budget
  /** Counts what became of the bytes; label `kind`: stored, reused or zero. */
  readonly uploadedBytes?: Counter | undefined
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
  /**
   * Copies that a chunk which is there already must have to be left alone. @default replicas of the
   * blob
   */
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

export interface PublishOptions extends PublishVersionOptions {
  /** Condition: refused unless this version is the newest. @default as the upload was opened */
  readonly ifNewest?: Version | undefined
}

type WriterState =
  | { readonly name: 'open' | 'publishing' | 'published' }
  | { readonly name: 'failed'; readonly error: Error }

/** A run of bytes of a chunk. */
interface Piece {
  readonly at: number
  readonly bytes: Uint8Array
}

interface WriterStart {
  readonly parent: ManifestView | undefined
  /** For an append: the size that it is cut on. */
  readonly appendedAt: number | undefined
}

const LOG = 'blobswarm:metadata:blob-writer'

/**
 * One upload: blocks in any order become one new version of a blob. Nothing of it can be seen
 * before `publish` has resolved. The first failure ends it for good.
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
    const { description, stagingFolder, writeQuorum = description.replicas } = options
    const { writer, inFlight, staging } = components
    const { parent, appendedAt } = start
    this.#components = components
    this.#options = options
    this.#appendedAt = appendedAt
    this.#endBytes = appendedAt ?? 0
    this.#logger = components.logger.forComponent(LOG)
    const placing = { writer, parent, signal: this.#ended.signal, logger: this.#logger }
    this.#placer = new ChunkPlacer(placing, writeQuorum)
    const { chunkBytes } = description
    this.#chunker = new Chunker(
      {
        onChunk: async ({ index, bytes }) => await this.#takePieces(index, [{ at: 0, bytes }]),
        onPartial: async ({ index, fragments }) => await this.#takePieces(index, fragments),
        inFlight,
        staging
      },
      { chunkBytes, stagingFolder, baseOffset: appendedAt ?? 0 }
    )
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
    const { blob } = options.description
    const isAppend = options.mode === 'append'
    const newest = isAppend ? await components.versions.newest(blob, options) : undefined
    const parent = await openParent(components, options)
    return new BlobWriter(components, options, { parent, appendedAt: newest?.bytes })
  }

  /** What has been done so far; a copy. */
  get progress(): WriteProgress {
    return { ...this.#progress }
  }

  /**
   * Takes a block at an offset (in an append: from the end of the newest version). Blocks may come
   * in any order and several calls may be open; where blocks overlap the later call wins. Resolves
   * when there is room for more, which is the back-pressure. The array belongs to the writer from
   * then on.
   *
   * @throws {Error} what ended the upload, in every call from then on.
   * @throws {RangeError} for an offset that cannot be.
   */
  async write(offset: number, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    this.#checkOpen()
    await this.#chunker.write(offset, bytes, options)
    const end = (this.#appendedAt ?? 0) + offset + bytes.byteLength
    this.#progress.receivedBytes += bytes.byteLength
    if (bytes.byteLength > 0) this.#endBytes = Math.max(this.#endBytes, end)
  }

  /** Makes the version at least this long, with zeros where nothing is written. */
  extendTo(bytes: number): void {
    this.#checkOpen()
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`size ${bytes}`)
    this.#endBytes = Math.max(this.#endBytes, bytes)
  }

  /**
   * Makes everything written durable and visible at once, as one version: open → publishing →
   * published. Once the version has its number it is finished even if this process dies. No write
   * may be under way.
   *
   * @throws {UploadAbortedError} if `isStillWanted` says no.
   * @throws {TicketConflictError} if a condition does not hold (any more).
   * @throws {Error} what ended the upload before.
   */
  async publish(options: PublishOptions = {}): Promise<VersionSummary> {
    this.#checkOpen()
    this.#state = { name: 'publishing' }
    const signal = anySignal([options.signal, this.#ended.signal])
    try {
      await this.#chunker.finish({ signal })
      const summary = await this.#publishStored({ ...options, signal })
      this.#state = { name: 'published' }
      return summary
    } catch (thrown) {
      await this.#end(toError(thrown))
      throw thrown
    }
  }

  /**
   * Drops the upload and frees what it holds; chunks that are stored already are left to
   * collection. Harmless after `publish` and when called twice.
   */
  async abort(): Promise<void> {
    await this.#end(new UploadAbortedError('aborted by its writer'))
  }

  async #publishStored(options: PublishOptions): Promise<VersionSummary> {
    const { description, mode, note, path } = this.#options
    const publisher = new VersionPublisher({ ...this.#components, logger: this.#logger })
    const leaves = this.#leaves.build()
    const write = {
      description,
      leaves,
      // A write that its caller gave up may still have been taken.
      endBytes: Math.max(this.#endBytes, leaves.endBytes(description.chunkBytes)),
      truncates: mode === 'replace',
      appendedAt: this.#appendedAt,
      ifNewest: options.ifNewest ?? this.#options.ifNewest,
      path,
      note
    }
    return await publisher.publish(write, options)
  }

  /**
   * Notes pieces of one chunk in the leaf list, then stores those that are not zeros as one chunk.
   */
  async #takePieces(index: number, pieces: readonly Piece[]): Promise<void> {
    const filled: Piece[] = []
    for (const piece of pieces) {
      if (isAllZero(piece.bytes)) this.#addZeros(index, piece)
      else filled.push(piece)
    }
    if (filled.length === 0) return
    const bytes = joined(filled)
    const id = chunkId(bytes)
    let chunkOffset = 0
    const added = filled.map(({ at, bytes: { byteLength: length } }) => {
      const number = this.#leaves.add(index, { at, length, chunk: id, chunkOffset, replicas: [] })
      chunkOffset += length
      return number
    })
    try {
      const signal = this.#ended.signal
      const { replicas, isNew } = await this.#placer.place(index, { id, bytes }, { signal })
      for (const number of added) this.#leaves.setReplicas(number, replicas)
      this.#count(isNew ? 'stored' : 'reused', bytes.byteLength)
    } catch (error) {
      this.#ended.abort(error) // the other chunks need not be stored any more
      throw error
    }
  }

  #addZeros(index: number, { at, bytes: { byteLength: length } }: Piece): void {
    this.#leaves.add(index, { at, length, chunk: ZERO_CHUNK_ID, chunkOffset: 0, replicas: [] })
    this.#count('zero', length)
  }

  #count(kind: 'stored' | 'reused' | 'zero', bytes: number): void {
    this.#progress[`${kind}Bytes`] += bytes
    this.#components.uploadedBytes?.add(bytes, { kind })
  }

  #checkOpen(): void {
    if (this.#state.name === 'failed') throw this.#state.error
    if (this.#state.name !== 'open') throw new TypeError(`the upload is ${this.#state.name}`)
  }

  /** open, publishing → failed; what was published stays so. */
  async #end(error: Error): Promise<void> {
    if (this.#state.name === 'open' || this.#state.name === 'publishing') {
      this.#state = { name: 'failed', error }
      this.#ended.abort(error)
    }
    await this.#chunker.abort(error)
    await this.#placer.settled()
  }
}

function joined(pieces: readonly Piece[]): Uint8Array {
  const [only] = pieces
  return only !== undefined && pieces.length === 1
    ? only.bytes
    : concatBytes(pieces.map(({ bytes }) => bytes))
}

async function openParent(
  { versions, blobs, logger }: BlobWriterComponents,
  { description: { blob }, signal }: BlobWriterOptions & AbortOptions
): Promise<ManifestView | undefined> {
  try {
    const latest = await versions.latest(blob, { signal })
    if (latest === undefined) return undefined
    const record = await versions.record(blob, latest.version, { signal })
    return (await blobs.open(record, { signal })).manifest
  } catch (error) {
    signal?.throwIfAborted()
    // It would only save work; the version is right without it.
    logger.forComponent(LOG).info('no version to compare %s with: %e', blob, error)
    return undefined
  }
}
