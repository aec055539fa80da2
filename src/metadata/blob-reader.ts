import { chunkKey, HASH_CODE, isZeroChunk } from '../chunks/chunk-id.ts'
import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type { ChunkReader } from '../chunks/replica-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { MIB } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { SharedCache } from '../lib/shared-cache.ts'
import { ManifestView } from './manifest-view.ts'
import { pageFetcher } from './page-fetch.ts'
import type { SignedVersionRecord, VersionRecord } from './sealing-types.ts'
import type { Verifier } from './signature-types.ts'
import type { PageStore, RecordStore } from './store-types.ts'
import type { ByteRange } from './types.ts'
import { verifyRecord } from './version-record.ts'

/** Chunks that one read fetches at a time at most, whatever their size. */
const MAX_CHUNKS_AHEAD = 64

export interface BlobReaderComponents {
  readonly metadata: PageStore & RecordStore
  readonly reader: ChunkReader
  readonly verifier: Verifier
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** What chunks are read into, where it is to be had back. @default it is left alone */
  readonly readBuffers?: Pick<ReadBuffers, 'giveBack'> | undefined
}

export interface BlobReaderOptions {
  /** Bytes that one read fetches ahead of its taker, at least one chunk. @default 8 MiB */
  readonly readAheadBytes?: number
  /** Manifests remembered, of about 2 MiB each when read all over. @default 8 */
  readonly maxManifests?: number
}

/** Opens sealed versions for reading. */
export class BlobReader {
  readonly #components: BlobReaderComponents
  readonly #readAheadBytes: number
  readonly #manifests: SharedCache<ManifestView>
  readonly #logger: Logger
  readonly #readBytes: Counter | undefined

  constructor(components: BlobReaderComponents, options: BlobReaderOptions = {}) {
    const { readAheadBytes = 8 * MIB, maxManifests = 8 } = options
    if (!(readAheadBytes > 0)) throw new RangeError(`readAheadBytes ${readAheadBytes}`)
    this.#components = components
    this.#readAheadBytes = readAheadBytes
    this.#manifests = new SharedCache(maxManifests)
    this.#logger = components.logger.forComponent('blobswarm:metadata:blob-reader')
    this.#readBytes = components.metrics?.counter('blobswarm_metadata_read_bytes_total', {
      help: 'Bytes of images handed to readers'
    })
  }

  /**
   * Opens a version, after checking who signed its record.
   *
   * @throws {UntrustedSignatureError} if the record is not a version manager's.
   * @throws {ChunkMismatchError | MalformedError} if record and manifest are not sound.
   * @throws {MetadataMissingError} if the manifest is nowhere.
   */
  async open(signed: SignedVersionRecord, options: AbortOptions = {}): Promise<Snapshot> {
    const { record } = verifyRecord(this.#components.verifier, signed.envelope)
    if (record.hashCode !== HASH_CODE) {
      throw new MalformedError('version record', `hash ${record.hashCode} is not known`)
    }
    const manifest = await this.#manifests.get(
      chunkKey(record.manifestRoot),
      (signal) => this.#load(record, signal),
      options
    )
    if (manifest.bytes !== record.bytes || manifest.chunkBytes !== record.chunkBytes) {
      throw new MalformedError(
        'manifest',
        `${manifest.bytes} bytes, the record says ${record.bytes}`
      )
    }
    const ahead = Math.floor(this.#readAheadBytes / record.chunkBytes)
    const chunksAhead = Math.max(1, Math.min(ahead, MAX_CHUNKS_AHEAD))
    const onRead = (bytes: number): void => this.#readBytes?.add(bytes)
    const { reader, readBuffers } = this.#components
    return new Snapshot({ reader, manifest, record, onRead, readBuffers }, chunksAhead)
  }

  async #load(record: VersionRecord, signal: AbortSignal): Promise<ManifestView> {
    const { metadata, verifier } = this.#components
    const fetchPages = pageFetcher(metadata)
    const components = { fetchPages, records: metadata, verifier, logger: this.#logger }
    return await ManifestView.open(components, record.manifestRoot, { signal })
  }
}

interface SnapshotParts {
  readonly reader: ChunkReader
  readonly manifest: ManifestView
  readonly record: VersionRecord
  readonly onRead: (bytes: number) => void
  readonly readBuffers: Pick<ReadBuffers, 'giveBack'> | undefined
}

/**
 * One version, open for reading; what it shows never changes. Holds nothing that has to be closed.
 */
export class Snapshot {
  readonly record: VersionRecord
  readonly #parts: SnapshotParts
  readonly #chunksAhead: number

  constructor(parts: SnapshotParts, chunksAhead: number) {
    this.record = parts.record
    this.#parts = parts
    this.#chunksAhead = chunksAhead
  }

  get bytes(): number {
    return this.record.bytes
  }

  /** The manifest, for who wants chunks rather than bytes. */
  get manifest(): ManifestView {
    return this.#parts.manifest
  }

  /**
   * Reads a range in order, chunk by chunk, while the next chunks are fetched. Ends at the end of
   * the version. A taker that stops early leaves nothing running.
   *
   * @yields verified bytes, in arrays that belong to the taker.
   * @throws {ChunkUnavailableError} if a chunk is nowhere.
   * @throws {RangeError} for a range that cannot be.
   */
  async *read(range: ByteRange, options: AbortOptions = {}): AsyncGenerator<Uint8Array, void> {
    const { chunkBytes, bytes } = this.record
    checkRange(range)
    const start = Math.min(range.offset, bytes)
    const end = Math.min(range.offset + range.length, bytes)
    const stopped = new AbortController()
    const { signal: outer } = options
    const signal = outer === undefined ? stopped.signal : AbortSignal.any([outer, stopped.signal])
    const ahead: Promise<Uint8Array>[] = []
    let next = Math.floor(start / chunkBytes)
    try {
      for (let index = next; index * chunkBytes < end; index++) {
        for (; next * chunkBytes < end && ahead.length < this.#chunksAhead; next++) {
          ahead.push(this.#fetchQuietly(next, signal))
        }
        signal.throwIfAborted()
        const chunk = (await ahead[0]) ?? new Uint8Array(0)
        void ahead.shift()
        const from = Math.max(0, start - index * chunkBytes)
        const piece = chunk.subarray(from, Math.min(chunkBytes, end - index * chunkBytes))
        this.#parts.onRead(piece.byteLength)
        yield piece
      }
    } finally {
      stopped.abort()
      await Promise.allSettled(ahead)
    }
  }

  /** Takes back an array that `read` has yielded: nobody looks at it any more, it is used again. */
  giveBack(bytes: Uint8Array): void {
    this.#parts.readBuffers?.giveBack(bytes)
  }

  /**
   * Reads a whole chunk, verified; zeros for a zero chunk. The array belongs to the taker.
   *
   * @throws {ChunkUnavailableError} if it is nowhere.
   * @throws {RangeError} if there is no such chunk.
   */
  async readChunk(index: number, options: AbortOptions = {}): Promise<Uint8Array> {
    const { reader, manifest } = this.#parts
    const length = manifest.chunkLength(index)
    const id = await manifest.chunkId(index, options)
    if (isZeroChunk(id)) return new Uint8Array(length)
    const bytes = await reader.read(id, await manifest.replicas(index, options), options)
    if (bytes.byteLength !== length) {
      throw new MalformedError(`chunk ${index}`, `${bytes.byteLength} bytes in place of ${length}`)
    }
    return bytes
  }

  /** As `readChunk`; a failure that nobody waits for yet is kept until somebody does. */
  #fetchQuietly(index: number, signal: AbortSignal): Promise<Uint8Array> {
    const fetched = this.readChunk(index, { signal })
    fetched.catch(() => {})
    return fetched
  }
}

/** @throws {RangeError} for a range that cannot be; its length may be infinite. */
export function checkRange({ offset, length }: ByteRange): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || !(length >= 0)) {
    throw new RangeError(`range of ${length} bytes at ${offset}`)
  }
}
