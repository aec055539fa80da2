import { MIN_CHUNK_BYTES } from '../chunks/chunk-size.ts'
import type { Clock } from '../lib/clock.ts'
import type { Random } from '../lib/random.ts'
import { newBlobId } from './blob-id.ts'
import type { BlobId } from './types.ts'
import type { CreateBlobRequest } from './version-manager-types.ts'

export interface NewBlobsComponents {
  readonly clock: Pick<Clock, 'now'>
  readonly random: Random
}

export interface NewBlobsOptions {
  /** Public key of the cluster's authority, which goes into blob ids. @default no bytes */
  readonly clusterId?: Uint8Array | undefined
  /** Smallest chunk size of a new blob. @default MIN_CHUNK_BYTES */
  readonly minChunkBytes?: number | undefined
}

/** Says which blobs may be made, and gives them ids. */
export class NewBlobs {
  readonly #components: NewBlobsComponents
  readonly #clusterId: Uint8Array
  readonly #minChunkBytes: number

  constructor(components: NewBlobsComponents, options: NewBlobsOptions = {}) {
    const { clusterId = new Uint8Array(), minChunkBytes = MIN_CHUNK_BYTES } = options
    this.#components = components
    this.#clusterId = clusterId
    this.#minChunkBytes = minChunkBytes
  }

  /** Checks what is asked for. @throws {RangeError} for a blob that must not be made. */
  check({ chunkBytes }: CreateBlobRequest): void {
    if (chunkBytes >= this.#minChunkBytes) return
    throw new RangeError(`a chunk cannot have ${chunkBytes} bytes`)
  }

  /** Gives an id that no blob has. */
  newId(): BlobId {
    const { clock, random } = this.#components
    return newBlobId(this.#clusterId, clock.now(), random)
  }
}
