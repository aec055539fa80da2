import type { AbortOptions } from '../chunks/types.ts'
import type { Logger } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type {
  BlobWriterComponents,
  BlobWriterOptions,
  PublishOptions,
  WriteProgress
} from './blob-writer-types.ts'
import { UploadAbortedError } from './errors.ts'
import { ExtentWriter } from './extent-writer.ts'
import type { ManifestView } from './manifest-view.ts'
import { VersionPublisher } from './publishing.ts'
import type { VersionSummary } from './types.ts'

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
  #state: WriterState = { name: 'open' }

  private constructor(
    components: BlobWriterComponents,
    options: BlobWriterOptions,
    start: WriterStart
  ) {
    const { description, stagingFolder, leaseMs } = options
    const { parent, appendedAt } = start
    this.#components = components
    this.#options = options
    this.#appendedAt = appendedAt
    this.#logger = components.logger.forComponent(LOG)
    const cutting = { description, stagingFolder, parent, baseOffset: appendedAt, leaseMs }
    this.#extents = new ExtentWriter({ ...components, logger: this.#logger }, cutting)
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
    return this.#extents.progress
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
    await this.#extents.write(offset, bytes, options)
  }

  /** Makes the version at least this long, with zeros where nothing is written. */
  extendTo(bytes: number): void {
    this.#checkOpen()
    this.#extents.extendTo(bytes)
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
    this.#extents.checkOpen()
  }

  async #end(error: Error): Promise<void> {
    if (this.#state.name === 'open' || this.#state.name === 'publishing') {
      this.#state = { name: 'failed', error }
    }
    await this.#extents.stop(error)
  }
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
