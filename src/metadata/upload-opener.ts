import { autoChunkBytes } from '../chunks/chunk-size.ts'
import type { AbortOptions } from '../chunks/types.ts'
import { Budget } from '../lib/budget.ts'
import { MIB } from '../lib/bytes.ts'
import type { Counter } from '../lib/metrics.ts'
import type { BlobReader } from './blob-reader.ts'
import { BlobWriter } from './blob-writer.ts'
import { checkNewPath } from './ref.ts'
import type {
  OpenWriteOptions,
  RepositoryComponents,
  RepositoryOptions
} from './repository-types.ts'
import type { BlobDescription } from './types.ts'
import { checkConditions } from './version-requests.ts'

export interface UploadOpenerComponents extends RepositoryComponents {
  readonly blobs: BlobReader
}

/** Finds or makes the blob of a path and opens uploads into it, which share their memory. */
export class UploadOpener {
  readonly #components: UploadOpenerComponents
  readonly #options: RepositoryOptions
  readonly #inFlight: Budget
  readonly #staging: Budget
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
    const { expectedBytes, chunkBytes, replicas = this.#options.replicas ?? 1 } = options
    const create = {
      chunkBytes: chunkBytes ?? this.#chunkBytesFor(expectedBytes),
      replicas,
      sizeHint: expectedBytes
    }
    return await this.#components.namespace.reserve(path, create, options)
  }

  /** Opens an upload into a blob. @throws {TicketConflictError} if another version is newest. */
  async open(
    description: BlobDescription,
    path: string,
    { mode, note, ifNewest, signal }: OpenWriteOptions
  ): Promise<BlobWriter> {
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
      uploadedBytes: this.#uploadedBytes
    }
    const upload = { description, mode, path, note, ifNewest, signal }
    const settings = { stagingFolder, leaseMs }
    return await BlobWriter.open(components, { ...upload, ...settings })
  }

  #chunkBytesFor(expectedBytes: number | undefined): number {
    const { chunkBytes = 'auto' } = this.#options
    return chunkBytes === 'auto' ? autoChunkBytes(expectedBytes) : chunkBytes
  }
}
