import { abortable } from '../lib/abortable.ts'
import { Budget } from '../lib/budget.ts'
import { equalBytes, toHex } from '../lib/bytes.ts'
import { DirectoryLock } from '../lib/directory-lock.ts'
import { NotRunningError } from '../lib/errors.ts'
import { type FileLayer, systemFiles } from '../lib/file-layer.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { ChunkFiles } from './chunk-files.ts'
import { checkChunkId, chunkId, chunkKey, isZeroChunk } from './chunk-id.ts'
import { ChunkIndex, type IndexEntry } from './chunk-index.ts'
import { DiskLayout } from './disk-layout.ts'
import { DiskRoom } from './disk-room.ts'
import { StoreFullError, StoreUnusableError } from './errors.ts'
import type {
  AbortOptions,
  CheckableStore,
  ChunkCondition,
  ChunkId,
  DeleteOptions,
  Durability
} from './types.ts'

export interface DiskStoreComponents {
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** @default the machine's file system */
  readonly files?: FileLayer | undefined
  /** Tells how many bytes the disk has free. @default unknown: only the quota counts, and what the disk says */
  readonly freeBytes?: (() => Promise<number>) | undefined
}

export interface DiskStoreOptions {
  /** Folder that belongs to this store alone; made if it is not there. */
  readonly directory: string
  /** When a put resolves. @default 'fsync' */
  readonly durability?: Durability | undefined
  /** Bytes of chunks held at most. @default Infinity */
  readonly quotaBytes?: number | undefined
  /** Bytes of the disk that chunks leave free for others. @default 0 */
  readonly reserveBytes?: number | undefined
  /** Puts and deletes that touch the disk at the same time. @default 32 */
  readonly maxWrites?: number | undefined
  /** Gets that touch the disk at the same time. @default 32 */
  readonly maxReads?: number | undefined
  /** Corrupt chunks kept for people to look at; more are removed. @default 64 */
  readonly maxCorruptFiles?: number | undefined
}

/** The bytes, or what is wrong with them; undefined if the chunk is not held. */
type ReadOutcome = Uint8Array | 'corrupt' | 'missing' | undefined

type State = 'new' | 'running' | 'stopped'

/** Keeps chunks on a disk, one file each, and what it has in memory. */
export class DiskStore implements CheckableStore {
  readonly #layout: DiskLayout
  readonly #files: FileLayer
  readonly #chunkFiles: ChunkFiles
  readonly #log: Logger
  readonly #corruptTotal: Counter | undefined
  readonly #quotaBytes: number
  readonly #room: DiskRoom
  readonly #maxCorruptFiles: number
  readonly #writes: Budget
  readonly #reads: Budget
  readonly #index = new ChunkIndex()
  /**
   * The put, delete or removal that a chunk is in; whatever changes the chunk next waits for it.
   */
  readonly #changing = new Map<string, Promise<unknown>>()
  #state: State = 'new'
  #lock: DirectoryLock | undefined
  #reservedBytes = 0
  #corruptFiles = 0

  constructor(components: DiskStoreComponents, options: DiskStoreOptions) {
    const { durability = 'fsync', quotaBytes = Infinity, maxCorruptFiles = 64 } = options
    const { maxWrites = 32, maxReads = 32, reserveBytes = 0 } = options
    const { freeBytes = async () => Infinity } = components
    if (!(quotaBytes > 0)) throw new RangeError(`quotaBytes must be above 0, not ${quotaBytes}`)
    this.#files = components.files ?? systemFiles
    this.#layout = new DiskLayout(options.directory)
    this.#chunkFiles = new ChunkFiles(this.#files, this.#layout, durability)
    this.#log = components.logger.forComponent('blobswarm:chunks:disk-store')
    this.#quotaBytes = quotaBytes
    this.#room = new DiskRoom(freeBytes, reserveBytes)
    this.#maxCorruptFiles = maxCorruptFiles
    this.#writes = new Budget(maxWrites, 'maxWrites')
    this.#reads = new Budget(maxReads, 'maxReads')
    const { metrics } = components
    this.#corruptTotal = metrics?.counter('blobswarm_chunks_corrupt_total', {
      help: 'Chunks whose bytes on the disk were lost or not theirs any more'
    })
    metrics?.gauge('blobswarm_chunks_stored_bytes', {
      help: 'Bytes of chunks on the disk',
      read: () => this.storedBytes
    })
  }

  get chunkCount(): number {
    return this.#index.count
  }

  get storedBytes(): number {
    return this.#index.bytes
  }

  has(id: ChunkId): boolean {
    checkChunkId(id)
    return isZeroChunk(id) || this.#index.has(id)
  }

  async put(id: ChunkId, bytes: Uint8Array, options: AbortOptions = {}): Promise<boolean> {
    options.signal?.throwIfAborted()
    checkChunkId(id)
    const key = chunkKey(id)
    for (;;) {
      this.#checkRunning()
      if (this.has(id)) return false
      const change = this.#changing.get(key)
      if (change === undefined) break
      await abortable(settled(change), options.signal)
    }
    return await this.#track(key, this.#write(id, bytes, options))
  }

  async get(id: ChunkId, options: AbortOptions = {}): Promise<Uint8Array | undefined> {
    options.signal?.throwIfAborted()
    this.#checkRunning()
    checkChunkId(id)
    if (isZeroChunk(id)) throw new RangeError('the zero chunk has no length of its own')
    const outcome = await this.#readInTurn(id, false, options)
    return typeof outcome === 'object' ? outcome : undefined
  }

  async check(id: ChunkId, options: AbortOptions = {}): Promise<ChunkCondition | undefined> {
    options.signal?.throwIfAborted()
    this.#checkRunning()
    checkChunkId(id)
    const outcome = await this.#readInTurn(id, true, options)
    return typeof outcome === 'object' ? 'intact' : outcome
  }

  lengthOf(id: ChunkId): number | undefined {
    checkChunkId(id)
    return this.#index.get(id)?.bytes
  }

  async delete(id: ChunkId, options: DeleteOptions = {}): Promise<boolean> {
    checkChunkId(id)
    const key = chunkKey(id)
    for (;;) {
      this.#checkRunning()
      const change = this.#changing.get(key)
      if (change === undefined) break
      await settled(change)
    }
    if (!this.#index.has(id)) return false
    return await this.#track(key, this.#remove(id, options))
  }

  ids(firstByte?: number): Iterable<ChunkId> {
    return this.#index.ids(firstByte)
  }

  /**
   * @throws {StoreUnusableError} if another process uses the folder, a newer version wrote it, or
   * it cannot be made ready.
   */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new TypeError(`start: the store is ${this.#state}`)
    this.#state = 'running'
    try {
      await this.#takeLock()
      await this.#layout.prepare(this.#files)
      await this.#chunkFiles.clearTemporary()
      this.#corruptFiles = await this.#chunkFiles.quarantinedCount()
      for await (const found of this.#chunkFiles.scan()) {
        for (const { id, bytes } of found) this.#index.set(id, { bytes, isVerified: false })
      }
    } catch (error) {
      await this.stop()
      if (error instanceof StoreUnusableError) throw error
      throw new StoreUnusableError(this.#layout.directory, 'it cannot be read', { cause: error })
    }
  }

  async stop(): Promise<void> {
    this.#state = 'stopped'
    // Having all slots means that nothing runs; those that waited before have run or were refused.
    for (const budget of [this.#writes, this.#reads]) {
      await budget.acquire(budget.total)
      budget.release(budget.total)
    }
    await this.#lock?.release()
    this.#lock = undefined
  }

  async #takeLock(): Promise<void> {
    const attempt = await DirectoryLock.tryTake(this.#layout.lock)
    if (!attempt.isTaken) {
      throw new StoreUnusableError(this.#layout.directory, `process ${attempt.heldByPid} uses it`)
    }
    this.#lock = attempt.lock
  }

  async #write(id: ChunkId, bytes: Uint8Array, options: AbortOptions): Promise<boolean> {
    await this.#writes.acquire(1, options)
    const length = bytes.byteLength
    this.#reservedBytes += length
    try {
      this.#checkRunning()
      if (this.#index.bytes + this.#reservedBytes > this.#quotaBytes) {
        throw new StoreFullError(`${this.#layout.directory} (quota)`, length)
      }
      await this.#writeIfRoom(id, bytes)
      this.#index.set(id, { bytes: length, isVerified: true })
      return true
    } finally {
      this.#reservedBytes -= length
      this.#writes.release(1)
    }
  }

  async #writeIfRoom(id: ChunkId, bytes: Uint8Array): Promise<void> {
    const length = bytes.byteLength
    if (!(await this.#room.take(length))) {
      throw new StoreFullError(`${this.#layout.directory} (its disk is full)`, length)
    }
    try {
      await this.#chunkFiles.write(id, bytes)
    } finally {
      this.#room.done(length)
    }
  }

  async #readInTurn(id: ChunkId, isDue: boolean, options: AbortOptions): Promise<ReadOutcome> {
    if (!this.#index.has(id)) return undefined
    await this.#reads.acquire(1, options)
    try {
      return await this.#read(id, isDue)
    } finally {
      this.#reads.release(1)
    }
  }

  /** Reads and, if it is due, verifies a chunk; what is not as it should be is dropped. */
  async #read(id: ChunkId, isDue: boolean): Promise<ReadOutcome> {
    this.#checkRunning()
    const entry = this.#index.get(id)
    if (entry === undefined) return undefined
    const bytes = await this.#chunkFiles.read(id, entry.bytes)
    if (bytes === undefined) {
      await this.#dropCorrupt(id, 'its file is gone')
      return 'missing'
    }
    const isDifferent = isDue || !entry.isVerified ? !equalBytes(chunkId(bytes), id) : false
    if (isDifferent || bytes.byteLength !== entry.bytes) {
      await this.#dropCorrupt(id, 'its bytes are others')
      return 'corrupt'
    }
    if (!entry.isVerified && this.#index.has(id)) {
      this.#index.set(id, { bytes: entry.bytes, isVerified: true })
    }
    return bytes
  }

  /** The chunk is no longer held from the moment of the call. */
  async #dropCorrupt(id: ChunkId, reason: string): Promise<void> {
    const key = chunkKey(id)
    // Two readers may find out at once, and one that is being deleted is no loss.
    if (this.#changing.has(key) || this.#index.delete(id) === undefined) return
    this.#corruptTotal?.add(1)
    this.#log.error('chunk %s in %s is lost: %s', toHex(id), this.#layout.directory, reason)
    try {
      await this.#track(key, this.#moveAway(id))
    } catch (error) {
      this.#log.error('corrupt chunk %s stays where it is: %e', toHex(id), error)
    }
  }

  async #moveAway(id: ChunkId): Promise<void> {
    if (this.#corruptFiles >= this.#maxCorruptFiles) return await this.#chunkFiles.remove(id)
    this.#corruptFiles++
    await this.#chunkFiles.quarantine(id)
  }

  async #remove(id: ChunkId, { isKept }: DeleteOptions): Promise<boolean> {
    await this.#writes.acquire(1)
    try {
      if (isKept?.() === true) return false
      const entry = this.#index.delete(id)
      await this.#removeFile(id, entry)
      return entry !== undefined
    } finally {
      this.#writes.release(1)
    }
  }

  async #removeFile(id: ChunkId, entry: IndexEntry | undefined): Promise<void> {
    try {
      await this.#chunkFiles.remove(id)
    } catch (error) {
      if (entry !== undefined) this.#index.set(id, entry)
      throw error
    }
  }

  async #track<T>(key: string, change: Promise<T>): Promise<T> {
    this.#changing.set(key, change)
    try {
      return await change
    } finally {
      this.#changing.delete(key)
    }
  }

  #checkRunning(): void {
    if (this.#state !== 'running') throw new NotRunningError(`store ${this.#layout.directory}`)
  }
}

/** Waits until a change is over, however it ended. */
async function settled(change: Promise<unknown>): Promise<void> {
  await Promise.allSettled([change])
}
