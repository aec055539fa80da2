import { BlobswarmError } from '../lib/errors.ts'
import type { ProviderId } from './types.ts'

/** Thrown when bytes are not the chunk that their id names; whoever sent them is at fault. */
export class ChunkMismatchError extends BlobswarmError {
  /** Expected and actual id, hexadecimal. */
  readonly expected: string
  readonly actual: string

  constructor(expected: string, actual: string) {
    super(
      `chunk ${expected.slice(0, 16)} expected, got ${actual.slice(0, 16)}`,
      'ERR_CHUNK_MISMATCH'
    )
    this.expected = expected
    this.actual = actual
  }
}

/**
 * Thrown when a store has no room: its quota is used up or the disk is full (`cause` is then
 * ENOSPC).
 */
export class StoreFullError extends BlobswarmError {
  readonly neededBytes: number

  constructor(where: string, neededBytes: number, options?: ErrorOptions) {
    super(`${where} has no room for ${neededBytes} bytes`, 'ERR_STORE_FULL', options)
    this.neededBytes = neededBytes
  }
}

/** Thrown when a data directory was written by a newer format or is in use by another process. */
export class StoreUnusableError extends BlobswarmError {
  constructor(directory: string, reason: string, options?: ErrorOptions) {
    super(`${directory} cannot be used: ${reason}`, 'ERR_STORE_UNUSABLE', options)
  }
}

/** Thrown when chunks are to be stored or deleted where they are only given: an agent's cache. */
export class ReadOnlyStoreError extends BlobswarmError {
  constructor(id: ProviderId) {
    super(`${id} is no provider: it only gives chunks`, 'ERR_STORE_READ_ONLY')
  }
}

/**
 * Thrown when a writer wants more copies than are kept: repair would take the others away again.
 */
export class TooManyReplicasError extends BlobswarmError {
  readonly replicas: number
  readonly maxReplicas: number

  constructor(replicas: number, maxReplicas: number) {
    super(
      `${replicas} copies of each chunk are wanted, the provider manager keeps ${maxReplicas}: ` +
        'storage.replicas is not the same on all agents',
      'ERR_TOO_MANY_REPLICAS'
    )
    this.replicas = replicas
    this.maxReplicas = maxReplicas
  }
}

/** Thrown when the disk under a store fails in a way that is not "full". */
export class StoreFailedError extends BlobswarmError {
  constructor(what: string, options: ErrorOptions) {
    super(`${what} failed`, 'ERR_STORE_FAILED', options)
  }
}

/** Thrown when the disk cannot give the bytes of one chunk; others may be well. */
export class ChunkUnreadableError extends BlobswarmError {
  constructor(chunk: string, where: string, options: ErrorOptions) {
    super(`chunk ${chunk.slice(0, 16)} in ${where} cannot be read`, 'ERR_CHUNK_UNREADABLE', options)
  }
}

/** Thrown when there is no provider that could take a chunk. */
export class NoProviderError extends BlobswarmError {
  constructor(reason: string) {
    super(`no provider for new chunks: ${reason}`, 'ERR_NO_PROVIDER')
  }
}

/** Thrown when the provider manager has never heard of a provider, or has forgotten it. */
export class UnknownProviderError extends BlobswarmError {
  readonly provider: ProviderId

  constructor(provider: ProviderId) {
    super(`provider ${provider.slice(0, 100)} is not known`, 'ERR_UNKNOWN_PROVIDER')
    this.provider = provider
  }
}

/** Thrown when fewer providers acknowledged a chunk than the write quorum. */
export class NotEnoughReplicasError extends BlobswarmError {
  readonly acknowledged: number
  readonly wanted: number

  constructor(chunk: string, acknowledged: number, wanted: number, options?: ErrorOptions) {
    super(
      `chunk ${chunk.slice(0, 16)} reached ${acknowledged} of ${wanted} providers`,
      'ERR_NOT_ENOUGH_REPLICAS',
      options
    )
    this.acknowledged = acknowledged
    this.wanted = wanted
  }
}

/** Thrown when no provider could give a chunk. */
export class ChunkUnavailableError extends BlobswarmError {
  readonly chunk: string
  readonly asked: readonly ProviderId[]

  constructor(chunk: string, asked: readonly ProviderId[], options?: ErrorOptions) {
    super(
      `chunk ${chunk.slice(0, 16)} is not available from any of ${asked.length} providers`,
      'ERR_CHUNK_UNAVAILABLE',
      options
    )
    this.chunk = chunk
    this.asked = asked
  }
}

/**
 * Thrown when chunks of an upload may not be there any more, so that no version may name them; the
 * upload has to be done again.
 */
export class ChunkLeaseLostError extends BlobswarmError {
  constructor(reason: string) {
    super(`chunks of an upload are not safe: ${reason}`, 'ERR_CHUNK_LEASE_LOST')
  }
}

/** Thrown when a collection is no longer the one that is open: it is begun anew some other time. */
export class CollectionEndedError extends BlobswarmError {
  constructor(collection: string) {
    super(`collection ${collection.slice(0, 40)} has ended`, 'ERR_COLLECTION_ENDED')
  }
}
