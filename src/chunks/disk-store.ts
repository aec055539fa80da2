import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { Budget } from '../lib/budget.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import { type FileLayer, systemFiles } from '../lib/file-layer.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import { CheckedReads, type ReadOutcome } from './checked-reads.ts'
import { ChunkChanges } from './chunk-changes.ts'
import type { ChunkPlace } from './chunk-disk.ts'
import { checkChunkId, chunkKey, isZeroChunk } from './chunk-id.ts'
import { ChunkIndex } from './chunk-index.ts'
import { SEGMENT_BYTES } from './chunk-segments.ts'
import { DiskHealth } from './disk-health.ts'
import { DiskIntake } from './disk-intake.ts'
import type { DiskFormat } from './disk-layout.ts'
import { DiskRoom } from './disk-room.ts'
import { StoreFailedError, StoreFullError, StoreUnusableError } from './errors.ts'
import type { ReadBuffers } from './read-buffers.ts'
import { StoreFolder } from './store-folder.ts'
import type {
  ChunkCondition,
  DeleteOptions,
  Durability,
  PutOptions,
  ReservingStore,
  SpaceReservation
} from './store-types.ts'
import type { ChunkId } from './types.ts'

export interface DiskStoreComponents {
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** @default the machine's file system */
  readonly files?: FileLayer | undefined
  /** Where chunks are read into. @default fresh memory for each */
  readonly readBuffers?: ReadBuffers | undefined
  /** @default the machine's clock */
  readonly clock?: Pick<Clock, 'monotonic'> | undefined
  /** Tells how many bytes the disk has free. @default unknown: only the quota counts, and what the disk says */
  readonly freeBytes?: (() => Promise<number>) | undefined
  /** Bytes kept elsewhere that count against this quota too. @default 0 */
  readonly otherBytes?: (() => number) | undefined
  /**
   * Frees space for so many bytes, here or where `otherBytes` are, by giving up what can be had
   * again. Asked when a put finds no room; returns whether it is worth to look again.
   *
   * @default nothing is given up
   */
  readonly makeRoom?: ((bytes: number) => Promise<boolean>) | undefined
}

export interface DiskStoreOptions {
  /** Folder that belongs to this store alone; made if it is not there. */
  readonly directory: string
  /** When a put resolves. @default 'fsync' */
  readonly durability?: Durability | undefined
  /** How chunks lie on the disk if the store is new. @default 'segments' */
  readonly format?: DiskFormat | undefined
  /** Length of a segment. @default 64 MiB */
  readonly segmentBytes?: number | undefined
  /** Bytes of chunks held at most. @default Infinity */
  readonly quotaBytes?: number | undefined
  /**
   * Whether the quota counts deleted chunks until their space has come back. A put then waits for
   * that.
   *
   * @default false
   */
  readonly countsDead?: boolean | undefined
  /** Bytes of the disk that chunks leave free for others. @default 0 */
  readonly reserveBytes?: number | undefined
  /** Puts and deletes that touch the disk at the same time. @default 32 */
  readonly maxWrites?: number | undefined
  /** Gets that touch the disk at the same time. @default 32 */
  readonly maxReads?: number | undefined
  /** Corrupt chunks kept for people to look at; more are removed. @default 64 */
  readonly maxCorruptFiles?: number | undefined
}

type State = 'new' | 'running' | 'stopped'

/** Keeps chunks on a disk, and what it has in memory. */
export class DiskStore implements ReservingStore {
  readonly #options: DiskStoreOptions
  readonly #folder: StoreFolder
  readonly #room: DiskRoom
  readonly #intake: DiskIntake
  readonly #health: DiskHealth
  readonly #writes: Budget
  readonly #readSlots: Budget
  readonly #reads: CheckedReads
  readonly #index = new ChunkIndex()
  readonly #changes = new ChunkChanges()
  #state: State = 'new'

  constructor(components: DiskStoreComponents, options: DiskStoreOptions) {
    const { quotaBytes = Infinity, maxCorruptFiles = 64, directory } = options
    const { maxWrites = 32, maxReads = 32, reserveBytes = 0 } = options
    const { freeBytes = async () => Infinity, clock = systemClock, metrics } = components
    const { files = systemFiles, readBuffers } = components
    this.#options = options
    const log = components.logger.forComponent('blobswarm:chunks:disk-store')
    const leftBytes = async (): Promise<number> => await this.#room.look()
    this.#folder = new StoreFolder(
      { files, index: this.#index, log, metrics, readBuffers, leftBytes },
      options
    )
    this.#health = new DiskHealth({ files, log, clock }, directory, this.#folder.layout.tmp)
    this.#room = new DiskRoom(freeBytes, reserveBytes, (left) => this.#noteLeft(left))
    const { otherBytes = () => 0, makeRoom } = components
    const intake = {
      room: this.#room,
      health: this.#health,
      usedBytes: () => this.usedBytes + otherBytes(),
      reclaim: async () => await this.reclaim(),
      makeRoom
    }
    this.#intake = new DiskIntake(intake, directory, quotaBytes)
    this.#writes = new Budget(maxWrites, 'maxWrites')
    this.#readSlots = new Budget(maxReads, 'maxReads')
    this.#reads = new CheckedReads(
      { index: this.#index, changes: this.#changes, log, metrics },
      { maxCorruptFiles }
    )
    this.#showOn(metrics)
  }

  get chunkCount(): number {
    return this.#index.count
  }

  get storedBytes(): number {
    return this.#index.bytes
  }

  /** Bytes that count against the quota. */
  get usedBytes(): number {
    return this.#index.bytes + this.#countedDeadBytes
  }

  get lostCount(): number {
    return this.#reads.lostCount
  }

  /** Looks now and then, in the background, whether a disk that took no writes does again. */
  get isWritable(): boolean {
    return this.#state !== 'running' || this.#health.failure === undefined
  }

  has(id: ChunkId): boolean {
    checkChunkId(id)
    return isZeroChunk(id) || this.#index.has(id)
  }

  async reserve(bytes: number): Promise<SpaceReservation> {
    this.#checkRunning()
    this.#intake.checkWritable()
    return await this.#intake.reserve(bytes)
  }

  async put(id: ChunkId, bytes: Uint8Array, options: PutOptions = {}): Promise<boolean> {
    try {
      options.signal?.throwIfAborted()
      checkChunkId(id)
      const key = chunkKey(id)
      for (;;) {
        this.#checkRunning()
        if (this.has(id)) return false
        const change = this.#changes.of(key)
        if (change === undefined) break
        await abortable(change, options.signal)
      }
      return await this.#changes.track(key, this.#write(id, bytes, options))
    } finally {
      options.reservation?.release()
    }
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
      const change = this.#changes.of(key)
      if (change === undefined) break
      await change
    }
    if (!this.#index.has(id)) return false
    return await this.#changes.track(key, this.#remove(id, options))
  }

  ids(firstByte?: number): Iterable<ChunkId> {
    return this.#index.ids(firstByte)
  }

  /** Gives back the space of deleted chunks where that counts. @returns whether some came back. */
  async reclaim(): Promise<boolean> {
    return this.#options.countsDead === true && (await this.#folder.reclaim())
  }

  /**
   * @throws {StoreUnusableError} if another process uses the folder, a newer version wrote it, or
   * it cannot be made ready.
   */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new TypeError(`start: the store is ${this.#state}`)
    this.#state = 'running'
    try {
      this.#reads.corruptFiles = await this.#folder.open()
    } catch (error) {
      await this.stop()
      if (error instanceof StoreUnusableError) throw error
      throw new StoreUnusableError(this.#options.directory, 'it cannot be read', { cause: error })
    }
  }

  async stop(): Promise<void> {
    this.#state = 'stopped'
    // Having all slots means that nothing runs; those that waited before have run or were refused.
    for (const budget of [this.#writes, this.#readSlots]) {
      await budget.acquire(budget.total)
      budget.release(budget.total)
    }
    try {
      await this.#health.stop()
    } finally {
      await this.#folder.close()
    }
  }

  async #write(id: ChunkId, bytes: Uint8Array, options: PutOptions): Promise<boolean> {
    const length = bytes.byteLength
    const isPromised = (options.reservation?.bytes ?? 0) >= length
    // Before it has a slot: making room may need those.
    const own = isPromised ? undefined : await this.#intake.reserve(length)
    try {
      await this.#writes.acquire(1, options)
      try {
        this.#checkRunning()
        const place = await this.#writeNoting(id, bytes)
        this.#index.set(id, { bytes: length, isVerified: true, ...place })
        return true
      } finally {
        this.#writes.release(1)
      }
    } finally {
      own?.release()
    }
  }

  /** Writes, and notes whether the disk takes writes. */
  async #writeNoting(id: ChunkId, bytes: Uint8Array): Promise<ChunkPlace> {
    try {
      const place = await this.#folder.disk.write(id, bytes)
      this.#health.noteSuccess()
      return place
    } catch (error) {
      if (error instanceof StoreFailedError) this.#health.noteFailure(error.cause)
      if (error instanceof StoreFullError) this.#folder.makeRoom()
      throw error
    }
  }

  async #readInTurn(id: ChunkId, isDue: boolean, options: AbortOptions): Promise<ReadOutcome> {
    if (!this.#index.has(id)) return undefined
    await this.#readSlots.acquire(1, options)
    try {
      this.#checkRunning()
      return await this.#reads.read(this.#folder.disk, id, isDue)
    } finally {
      this.#readSlots.release(1)
    }
  }

  async #remove(id: ChunkId, { isKept }: DeleteOptions): Promise<boolean> {
    await this.#writes.acquire(1)
    try {
      if (isKept?.() === true) return false
      const entry = this.#index.delete(id)
      if (entry === undefined) return false
      try {
        await this.#folder.disk.remove(id, entry)
      } catch (error) {
        this.#index.set(id, entry)
        throw error
      }
      await this.#intake.noteDeleted(entry.bytes)
      return true
    } finally {
      this.#writes.release(1)
    }
  }

  /** What is deleted is worth the work of giving it back if there is more of it than room. */
  #noteLeft(leftBytes: number): void {
    if (leftBytes < this.#folder.deadBytes) this.#folder.makeRoom()
  }

  /** Without those of the segment that is being filled or given back just now. */
  get #countedDeadBytes(): number {
    const { countsDead = false, segmentBytes = SEGMENT_BYTES } = this.#options
    return countsDead ? Math.max(0, this.#folder.deadBytes - segmentBytes) : 0
  }

  #showOn(metrics: Metrics | undefined): void {
    metrics?.gauge('blobswarm_chunks_stored_bytes', {
      help: 'Bytes of chunks on the disk',
      read: () => this.storedBytes
    })
    metrics?.gauge('blobswarm_chunks_dead_bytes', {
      help: 'Bytes of deleted chunks on the disk, whose space is still to come back',
      read: () => this.#folder.deadBytes
    })
    metrics?.gauge('blobswarm_chunks_writable', {
      help: '1 while the disk takes writes, 0 after one has failed',
      read: () => (this.isWritable ? 1 : 0)
    })
  }

  #checkRunning(): void {
    if (this.#state !== 'running') throw new NotRunningError(`store ${this.#options.directory}`)
  }
}
