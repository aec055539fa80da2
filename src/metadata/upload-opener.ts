import { ChunkBuffers } from '../chunks/chunk-buffers.ts'
import { autoChunkBytes, DEFAULT_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import type { Counter } from '../lib/metrics.ts'
import type { BlobReader } from './blob-reader.ts'
import { BlobWriter, openParent } from './blob-writer.ts'
import type { BlobWriterOptions } from './blob-writer-types.ts'
import { ExtentWriter, type ExtentWriterOptions } from './extent-writer.ts'
import { checkNewPath } from './ref.ts'
import type {
  OpenWriteOptions,
  RepositoryComponents,
  RepositoryOptions
} from './repository-types.ts'
import { SmallUpload, type UploadedKind } from './small-upload.ts'
import { StripedWriter } from './striped-writer.ts'
import type { BlobDescription } from './types.ts'
import type { Upload } from './upload.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'
import { checkConditions } from './version-requests.ts'

/** Chunks that are larger are not worth holding in memory. */
const MAX_SMALL_BYTES = DEFAULT_CHUNK_BYTES

/** What of an upload is written here. */
export type OpenExtentsOptions = Pick<
  ExtentWriterOptions,
  'baseOffset' | 'continuing' | 'isNoted' | 'maxUnderWay'
>

export interface UploadOpenerComponents extends RepositoryComponents {
  readonly blobs: BlobReader
}

/** Finds or makes the blob of a path and opens uploads into it, which share their memory. */
export class UploadOpener {
  readonly #components: UploadOpenerComponents
  readonly #options: RepositoryOptions
  readonly #inFlight: Budget
  readonly #staging: Budget
  readonly #small: Budget
  readonly #buffers: ChunkBuffers
  readonly #uploadedBytes: Counter | undefined

  constructor(components: UploadOpenerComponents, options: RepositoryOptions) {
    const { uploadBudgetBytes = 96 * MIB } = options
    if (!(uploadBudgetBytes >= 32 * MIB)) {
      throw new RangeError(`uploadBudgetBytes ${uploadBudgetBytes}, at least 32 MiB`)
    }
    this.#components = components
    this.#options = options
    // Two budgets, because chunks that are not whole yet free theirs only when more data comes,
    // which must not have to wait for them.
    this.#inFlight = new Budget(uploadBudgetBytes / 2, 'memory of uploads in flight')
    this.#staging = new Budget(uploadBudgetBytes / 2, 'memory of uploads being cut')
    this.#small = new Budget(uploadBudgetBytes / 8, 'memory of small uploads')
    this.#buffers = new ChunkBuffers(uploadBudgetBytes)
    this.#uploadedBytes = components.metrics?.counter('blobswarm_metadata_uploaded_bytes_total', {
      help: 'Bytes of uploads by what became of them: stored, reused, zero',
      labels: ['kind']
    })
  }

  /** Gives the blob of a path, making one that is invisible if there is none. */
  async reserve(
    path: string,
    options: Pick<OpenWriteOptions, 'expectedBytes' | 'chunkBytes' | 'replicas'> & AbortOptions
  ): Promise<BlobDescription> {
    checkNewPath(path)
    return await this.#components.namespace.reserve(path, this.#createRequest(options), options)
  }

  /**
   * Opens an upload that may turn out short to a path that names nothing yet; undefined if it cannot,
   * or the path names something.
   *
   * @param openLarge opens the upload that it becomes if it does not.
   * @throws {NotDirectoryError | IsDirectoryError | InvalidPathError}
   */
  async openSmall(
    path: string,
    options: OpenWriteOptions,
    openLarge: () => Promise<Upload>
  ): Promise<SmallUpload | undefined> {
    checkNewPath(path)
    const { mode, expectedBytes = 0, ifNewest, note, restart } = options
    const create = this.#createRequest(options)
    const isContinued = (restart?.continuing?.length ?? 0) > 0
    if (mode !== 'replace' || ifNewest !== undefined || isContinued) return undefined
    if (create.chunkBytes > MAX_SMALL_BYTES || expectedBytes > create.chunkBytes) return undefined
    const { namespace, writer, signer } = this.#components
    if (!(await namespace.isFree(path, options))) return undefined
    const count = (kind: UploadedKind, bytes: number): void =>
      this.#uploadedBytes?.add(bytes, { kind })
    const components = { namespace, writer, signer, held: this.#small, count, openLarge }
    return new SmallUpload(components, { path, create, note })
  }

  /** Opens an upload into a blob. @throws {TicketConflictError} if another version is newest. */
  async open(
    description: BlobDescription,
    path: string,
    options: OpenWriteOptions & Pick<BlobWriterOptions, 'notes' | 'continuing'>
  ): Promise<BlobWriter> {
    const { mode, note, ifNewest, notes, continuing, maxUnderWay, signal } = options
    if (ifNewest !== undefined) {
      // The ticket asks again; this spares the client from sending everything in vain.
      const newest = await this.#components.versions.newest(description.blob, { signal })
      checkConditions({ ifNewest }, newest)
    }
    const { stagingFolder, leaseMs } = this.#options
    const components = {
      ...this.#components,
      inFlight: this.#inFlight,
      staging: this.#staging,
      buffers: this.#buffers,
      uploadedBytes: this.#uploadedBytes
    }
    const upload = { description, mode, path, note, ifNewest, signal }
    const settings = { stagingFolder, leaseMs, notes, continuing, maxUnderWay }
    return await BlobWriter.open(components, { ...upload, ...settings })
  }

  /** Opens an upload whose blocks are taken by others, with `openExtents` there. */
  async openStriped(
    description: BlobDescription,
    path: string,
    options: OpenWriteOptions & Pick<BlobWriterOptions, 'notes' | 'continuing'>
  ): Promise<StripedWriter> {
    const { mode, note, ifNewest, notes, continuing, signal } = options
    const continued =
      continuing && (await this.openExtents(description, { baseOffset: 0, continuing, signal }))
    const upload = { description, mode, path, note, ifNewest, notes, signal }
    return await StripedWriter.open(this.#components, { ...upload, continued })
  }

  /** Opens this agent's part of an upload that is published elsewhere. */
  async openExtents(
    description: BlobDescription,
    options: OpenExtentsOptions & AbortOptions
  ): Promise<ExtentWriter> {
    const { signal, ...extents } = options
    const { stagingFolder, leaseMs } = this.#options
    const logger = this.#components.logger.forComponent('blobswarm:metadata:stripe')
    const components = {
      ...this.#components,
      logger,
      inFlight: this.#inFlight,
      staging: this.#staging,
      buffers: this.#buffers,
      uploadedBytes: this.#uploadedBytes
    }
    const parent = await openParent(this.#components, description, { signal })
    const cutting = { description, stagingFolder, leaseMs, parent }
    return new ExtentWriter(components, { ...cutting, ...extents })
  }

  #createRequest({
    expectedBytes: sizeHint,
    chunkBytes = this.#chunkBytesFor(sizeHint),
    replicas = this.#options.replicas ?? 1
  }: Pick<OpenWriteOptions, 'expectedBytes' | 'chunkBytes' | 'replicas'>): CreateBlobRequest {
    return { chunkBytes, replicas, sizeHint }
  }

  #chunkBytesFor(expectedBytes: number | undefined): number {
    const { chunkBytes = 'auto' } = this.#options
    return chunkBytes === 'auto' ? autoChunkBytes(expectedBytes) : chunkBytes
  }
}
