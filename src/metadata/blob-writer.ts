import type { WriteBlockOptions } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Logger } from '../lib/logger.ts'
import { type Range, RangeSet } from '../lib/range-set.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type {
  BlobWriterComponents,
  BlobWriterOptions,
  PublishOptions,
  WriteProgress
} from './blob-writer-types.ts'
import { coveredRanges } from './claimed-leaves.ts'
import { UploadAbortedError } from './errors.ts'
import { ExtentWriter } from './extent-writer.ts'
import type { ManifestView } from './manifest-view.ts'
import { maxReplacedBytes, VersionPublisher, verifyReplacedEnd } from './publishing.ts'
import type { BlobDescription, VersionSummary } from './types.ts'

type WriterState =
  | { readonly name: 'open' | 'publishing' | 'published' }
  | { readonly name: 'failed'; readonly error: Error }

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
 * write ──► extent writer ──► leaf list ──► publish: ticket, tree nodes, commit
 * ```
 *
 * Until there is a ticket, the leases of what is stored already are renewed, and right before it
 * what has lost copies since gets them back (chunk-leases.ts).
 */
export class BlobWriter {
  readonly #components: BlobWriterComponents
  readonly #options: BlobWriterOptions
  readonly #appendedAt: number | undefined
  readonly #extents: ExtentWriter
  readonly #logger: Logger
  /** What `checkpoint` has noted, in bytes of the blob. */
  readonly #noted = new RangeSet()
  #noting: Promise<void> = Promise.resolve()
  #state: WriterState = { name: 'open' }

  private constructor(
    components: BlobWriterComponents,
    options: BlobWriterOptions,
    start: WriterStart
  ) {
    const { description, stagingFolder, leaseMs, notes, continuing, maxUnderWay } = options
    const { parent, appendedAt } = start
    this.#components = components
    this.#options = options
    this.#appendedAt = appendedAt
    this.#logger = components.logger.forComponent(LOG)
    const where = { stagingFolder, parent, baseOffset: appendedAt }
    const cutting = { description, ...where, leaseMs, maxUnderWay }
    const restarting = { continuing, isNoted: notes !== undefined }
    const logged = { ...components, logger: this.#logger }
    this.#extents = new ExtentWriter(logged, { ...cutting, ...restarting })
    notes?.onTakenOver((error) => this.#extents.fail(error))
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
    const parent = await openParent(components, options.description, options)
    return new BlobWriter(components, options, { parent, appendedAt: newest?.bytes })
  }

  /** Aborted, with the reason, when the upload has failed. */
  get signal(): AbortSignal {
    return this.#extents.signal
  }

  /** What has been done so far; a copy. */
  get progress(): WriteProgress {
    return this.#extents.progress
  }

  /**
   * Takes a block at an offset (in an append: from the end of the newest version). Blocks may come
   * in any order and several calls may be open; where blocks overlap the later call wins. Resolves
   * when there is room for more, which is the back-pressure. The array belongs to the writer from
   * then on, unless it is only lent.
   *
   * @throws {Error} what ended the upload, in every call from then on.
   * @throws {RangeError} for an offset that cannot be.
   * @throws {BlobTooLargeError} if the block ends beyond what a version may have that replaces everything.
   */
  async write(offset: number, bytes: Uint8Array, options: WriteBlockOptions = {}): Promise<void> {
    this.#checkOpen()
    const { mode, description } = this.#options
    if (mode === 'replace') verifyReplacedEnd(offset + bytes.byteLength, description)
    await this.#extents.write(offset, bytes, options)
  }

  /**
   * Takes a block at once by copying it; the array stays the caller's. Otherwise like `write`.
   *
   * @returns false if it took nothing: `write` waits for room, or says why.
   */
  tryWrite(offset: number, bytes: Uint8Array): boolean {
    const { mode, description } = this.#options
    const end = offset + bytes.byteLength
    if (mode === 'replace' && end > maxReplacedBytes(description)) return false
    return this.#state.name === 'open' && this.#extents.tryWrite(offset, bytes)
  }

  /** Makes the version at least this long, with zeros where nothing is written. */
  extendTo(bytes: number): void {
    this.#checkOpen()
    this.#extents.extendTo(bytes)
  }

  /**
   * Waits until the whole chunks that were written are stored, and writes that down, so that the
   * upload can be continued from there after a crash of this process. Only of an upload that is
   * opened with notes; not while it is published.
   *
   * @returns everything that stands in the notes by this writer, in bytes of the blob.
   * @throws {Error} what ended the upload before.
   * @throws {UploadJournalError}
   */
  async checkpoint(): Promise<Iterable<Range>> {
    this.#checkOpen()
    const noting = this.#noting.then(async () => await this.#note())
    this.#noting = noting.catch(() => {}) // the caller is told
    await noting
    return this.#noted
  }

  /**
   * Ends the upload like `abort`, but keeps what is noted, for one that continues it.
   */
  async suspend(): Promise<void> {
    await this.#noting
    await this.#end(new UploadAbortedError('broken, and kept as far as it is noted'))
    this.#options.notes?.suspend()
  }

  /**
   * Reads what the version will hold of its own, from an offset of the blob to its end, gaps as
   * zeros. After the last `write`, before `publish`.
   *
   * @yields bytes that belong to the taker.
   * @throws {Error} what ended the upload; a ChunkUnavailableError.
   */
  async *readBack(offset: number, options: AbortOptions = {}): AsyncGenerator<Uint8Array, void> {
    this.#checkOpen()
    yield* this.#extents.readBack(this.#components.reader, offset, options)
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
    const signal = anySignal([options.signal, this.#extents.signal])
    try {
      await this.#extents.finish({ signal })
      const summary = await this.#publishStored({ ...options, signal })
      this.#state = { name: 'published' }
      await this.#options.notes?.remove()
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
    await this.#noting
    await this.#end(new UploadAbortedError('aborted by its writer'))
    await this.#options.notes?.remove()
  }

  async #note(): Promise<void> {
    const { notes, description } = this.#options
    if (notes === undefined) return
    const stored = await this.#extents.storedSince()
    if (stored.fragmentCount === 0 || !(await notes.add(stored))) return
    for (const { start, end } of coveredRanges(stored, description.chunkBytes)) {
      this.#noted.add(start, end)
    }
  }

  async #publishStored(options: PublishOptions): Promise<VersionSummary> {
    const { description, mode, note, path } = this.#options
    const publisher = new VersionPublisher({ ...this.#components, logger: this.#logger })
    const leaves = await this.#extents.build(options)
    const write = {
      description,
      leaves,
      // A write that its caller gave up may still have been taken.
      endBytes: Math.max(this.#extents.endBytes, leaves.endBytes(description.chunkBytes)),
      truncates: mode === 'replace',
      appendedAt: this.#appendedAt,
      ifNewest: options.ifNewest ?? this.#options.ifNewest,
      path,
      note
    }
    return await publisher.publish(write, { ...options, leases: this.#extents.leases })
  }

  #checkOpen(): void {
    if (this.#state.name === 'failed') throw this.#state.error
    if (this.#state.name !== 'open') throw new TypeError(`the upload is ${this.#state.name}`)
    this.#extents.signal.throwIfAborted()
  }

  async #end(error: Error): Promise<void> {
    if (this.#state.name === 'open' || this.#state.name === 'publishing') {
      this.#state = { name: 'failed', error }
    }
    await this.#extents.stop(error)
  }
}

/** Opens the version that a writer compares what it writes with; undefined if there is none. */
export async function openParent(
  { versions, blobs, logger }: Pick<BlobWriterComponents, 'versions' | 'blobs' | 'logger'>,
  { blob }: Pick<BlobDescription, 'blob'>,
  { signal }: AbortOptions
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
