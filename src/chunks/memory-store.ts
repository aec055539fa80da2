import type { AbortOptions } from '../lib/abort-options.ts'
import { equalBytes } from '../lib/bytes.ts'
import { NotRunningError } from '../lib/errors.ts'
import { checkChunkId, chunkId, chunkIdOfKey, chunkKey, isZeroChunk } from './chunk-id.ts'
import { StoreFullError } from './errors.ts'
import type {
  ChunkCondition,
  DeleteOptions,
  PutOptions,
  ReservingStore,
  SpaceReservation
} from './store-types.ts'
import type { ChunkId } from './types.ts'

export interface MemoryStoreOptions {
  /** Bytes of chunks held at most. @default Infinity */
  readonly quotaBytes?: number
}

/** Keeps chunks in memory, for tests and for caches that may be lost. */
export class MemoryStore implements ReservingStore {
  readonly #quotaBytes: number
  readonly #chunks = new Map<string, Uint8Array>()
  #storedBytes = 0
  #reservedBytes = 0
  #lostCount = 0
  #isRunning = false

  constructor(options: MemoryStoreOptions = {}) {
    const { quotaBytes = Infinity } = options
    if (!(quotaBytes > 0)) throw new RangeError(`quotaBytes must be above 0, not ${quotaBytes}`)
    this.#quotaBytes = quotaBytes
  }

  get chunkCount(): number {
    return this.#chunks.size
  }

  get storedBytes(): number {
    return this.#storedBytes
  }

  get isWritable(): boolean {
    return true
  }

  get lostCount(): number {
    return this.#lostCount
  }

  has(id: ChunkId): boolean {
    checkChunkId(id)
    return isZeroChunk(id) || this.#chunks.has(chunkKey(id))
  }

  async reserve(bytes: number): Promise<SpaceReservation> {
    this.#checkRunning()
    this.#checkRoom(bytes)
    this.#reservedBytes += bytes
    let isReleased = false
    const release = (): void => {
      if (!isReleased) this.#reservedBytes -= bytes
      isReleased = true
    }
    return { bytes, release }
  }

  async put(id: ChunkId, bytes: Uint8Array, options: PutOptions = {}): Promise<boolean> {
    options.reservation?.release() // nothing can come between that and the end
    options.signal?.throwIfAborted()
    this.#checkRunning()
    if (this.has(id)) return false
    this.#checkRoom(bytes.byteLength)
    this.#chunks.set(chunkKey(id), new Uint8Array(bytes))
    this.#storedBytes += bytes.byteLength
    return true
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    options.signal?.throwIfAborted()
    this.#checkRunning()
    checkChunkId(id)
    if (isZeroChunk(id)) throw new RangeError('the zero chunk has no length of its own')
    const bytes = this.#chunks.get(chunkKey(id))
    return bytes === undefined ? undefined : new Uint8Array(bytes)
  }

  async check(id: ChunkId, options: AbortOptions = {}): Promise<ChunkCondition | undefined> {
    options.signal?.throwIfAborted()
    this.#checkRunning()
    const bytes = this.#chunks.get(chunkKey(id))
    if (bytes === undefined) return undefined
    if (equalBytes(chunkId(bytes), id)) return 'intact'
    this.#lostCount++
    await this.delete(id)
    return 'corrupt'
  }

  lengthOf(id: ChunkId): number | undefined {
    checkChunkId(id)
    return this.#chunks.get(chunkKey(id))?.byteLength
  }

  async delete(id: ChunkId, options: DeleteOptions = {}): Promise<boolean> {
    this.#checkRunning()
    checkChunkId(id)
    const bytes = this.#chunks.get(chunkKey(id))
    if (bytes === undefined || options.isKept?.() === true) return false
    this.#chunks.delete(chunkKey(id))
    this.#storedBytes -= bytes.byteLength
    return true
  }

  *ids(firstByte?: number): Generator<ChunkId, void> {
    for (const key of this.#chunks.keys()) {
      if (firstByte === undefined || key.charCodeAt(0) === firstByte) yield chunkIdOfKey(key)
    }
  }

  async start(): Promise<void> {
    this.#isRunning = true
  }

  async stop(): Promise<void> {
    this.#isRunning = false
  }

  #checkRoom(bytes: number): void {
    if (this.#storedBytes + this.#reservedBytes + bytes <= this.#quotaBytes) return
    throw new StoreFullError('the memory store', bytes)
  }

  #checkRunning(): void {
    if (!this.#isRunning) throw new NotRunningError('the memory store')
  }
}
