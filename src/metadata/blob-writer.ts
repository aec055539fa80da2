import { chunkId, ZERO_CHUNK_ID } from '../chunks/chunk-id.ts'
import { Chunker } from '../chunks/chunker.ts'
import type { AbortOptions } from '../chunks/types.ts'
import { concatBytes, isAllZero } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type {
  BlobWriterComponents,
  BlobWriterOptions,
  PublishOptions,
  WriteProgress
} from './blob-writer-types.ts'
import { ChunkLeases } from './chunk-leases.ts'
import { ChunkPlacer } from './chunk-placer.ts'
import { UploadAbortedError } from './errors.ts'
import { LeafListBuilder } from './leaf-list.ts'
import type { ManifestView } from './manifest-view.ts'
import { VersionPublisher } from './publishing.ts'
import type { VersionSummary } from './types.ts'

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
 *
 * Until there is a ticket, the leases of what is stored already are renewed, and right before it
 * what has lost copies since gets them back (chunk-leases.ts).
 */
export class BlobWriter {
  readonly #components: BlobWriterComponents
  readonly #options: BlobWriterOptions
  readonly #appendedAt: number | undefined
  readonly #chunker: Chunker
  readonly #placer: ChunkPlacer
  readonly #leaves = new LeafListBuilder()
  readonly #leases: ChunkLeases
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
    const { description, stagingFolder, leaseMs } = options
    const { writer, inFlight, staging, clock } = components
    const { parent, appendedAt } = start
    this.#components = components
    this.#options = options
    this.#appendedAt = appendedAt
    this.#endBytes = appendedAt ?? 0
    this.#logger = components.logger.forComponent(LOG)
    const { blob: stripe, replicas } = description
    const placing = { writer, parent, stripe, signal: this.#ended.signal, logger: this.#logger }
    this.#placer = new ChunkPlacer(placing, replicas)
    const chunks = this.#leaves
    const onLost = (error: Error): void => this.#fail(error)
    const leasing = { chunks, writer, clock, logger: this.#logger, onLost }
    this.#leases = new ChunkLeases(leasing, { leaseMs })
    this.#leases.start()
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
    const { chunkBytes, blob: stripe } = description
    await this.#leases.ensure(options)
    await this.#leases.makeWhole({ chunkBytes, stripe, signal: options.signal })
    const leaves = this.#leaves.build()
    this.#leases.freeze()
    const write = {
      description,
      leaves,
      // A write that its caller gave up may still have been taken.
      endBytes: Math.max(this.#endBytes, leaves.endBytes(chunkBytes)),
      truncates: mode === 'replace',
      appendedAt: this.#appendedAt,
      ifNewest: options.ifNewest ?? this.#options.ifNewest,
      path,
      note
    }
    return await publisher.publish(write, { ...options, leases: this.#leases })
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
  #fail(error: Error): void {
    if (this.#state.name !== 'open' && this.#state.name !== 'publishing') return
    this.#state = { name: 'failed', error }
    this.#ended.abort(error)
  }

  async #end(error: Error): Promise<void> {
    this.#fail(error)
    await this.#leases.stop()
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
    // Not the latest one, which may have to be sealed first: no writer waits for that.
    const record = await versions.sealed(blob, { signal })
    if (record === undefined) return undefined
    return (await blobs.open(record, { signal })).manifest
  } catch (error) {
    signal?.throwIfAborted()
    // It would only save work; the version is right without it.
    logger.forComponent(LOG).info('no version to compare %s with: %e', blob, error)
    return undefined
  }
}
