import type { AbortOptions } from '../lib/abort-options.ts'
import type { ChunkId } from './types.ts'

/**
 * When a store may say that it has a chunk: after it is on disk, or in memory (the paper's
 * setting).
 */
export type Durability = 'fsync' | 'memory'

/** Space in a store that is promised to bytes which are about to come. */
export interface SpaceReservation {
  readonly bytes: number
  /** Gives back what was not used. Harmless when called twice. */
  release(): void
}

/** How a chunk is put into a store. */
export interface PutOptions extends AbortOptions {
  /**
   * Space that the store has promised to these bytes; the put releases it when it ends.
   *
   * @default none: the put reserves for itself
   */
  readonly reservation?: SpaceReservation | undefined
}

/** When a chunk is deleted. */
export interface DeleteOptions {
  /**
   * Asked at the moment from which on `has` would say no, when nothing else happens to the chunk;
   * true leaves it as it is.
   *
   * @default never
   */
  readonly isKept?: (() => boolean) | undefined
}

/**
 * Content-addressed chunks on this machine. What it has is known without waiting; bytes are read on
 * demand and verified on the first read after a start.
 */
export interface ChunkStore {
  /** Chunks held, without the zero chunk. */
  readonly chunkCount: number
  /** Bytes held. */
  readonly storedBytes: number
  /** Tells whether the chunk is held; always true for the zero chunk. */
  has(id: ChunkId): boolean
  /**
   * Stores a chunk and resolves when it is as durable as the store was told to make it. The caller
   * has hashed the bytes and must not change them before it resolves. A chunk that is held already
   * costs nothing. Concurrent puts of one chunk share one write.
   *
   * @returns true if the chunk was not held before.
   * @throws {StoreFullError} if the quota or the disk has no room; nothing is left behind.
   */
  put(id: ChunkId, bytes: Uint8Array, options?: PutOptions): Promise<boolean>
  /**
   * Reads a whole chunk. The array belongs to the taker.
   *
   * @returns undefined if the chunk is not held (or was found corrupt, and is then no longer held).
   * @throws {RangeError} for the zero chunk, whose length the id does not tell.
   */
  get(id: ChunkId, options?: AbortOptions): Promise<Uint8Array | undefined>
  /** Length of a chunk in bytes; undefined if it is not held, and for the zero chunk. */
  lengthOf(id: ChunkId): number | undefined
  /**
   * Forgets a chunk and frees its space.
   *
   * @returns false if it was not held, or was to be kept.
   */
  delete(id: ChunkId, options?: DeleteOptions): Promise<boolean>
  /** Ids of the chunks held, in no order: of all, or of those whose first byte is this one. */
  ids(firstByte?: number): Iterable<ChunkId>
  /** Makes ready: takes the lock, reads the index, removes what a crash left. Called once. */
  start(): Promise<void>
  /** Finishes what runs and releases the directory. */
  stop(): Promise<void>
}

/** How a chunk was found on its disk. */
export type ChunkCondition = 'intact' | 'corrupt' | 'missing'

/** A store whose chunks can be read and hashed again, whenever they were last. */
export interface CheckableStore extends ChunkStore {
  /** Chunks found corrupt, missing or unreadable since it was started. @default 0 */
  readonly lostCount?: number
  /** Whether its disk takes writes at present. @default true */
  readonly isWritable?: boolean
  /**
   * Verifies a chunk; what is corrupt or missing is no longer held.
   *
   * @returns undefined if the chunk was not held.
   * @throws {StoreFailedError} if the disk cannot read it.
   */
  check(id: ChunkId, options?: AbortOptions): Promise<ChunkCondition | undefined>
}

/** A store that promises space before the bytes come, and knows whether its disk takes writes. */
export interface ReservingStore extends CheckableStore {
  /** False after a write has failed for another reason than lack of room, until one succeeds. */
  readonly isWritable: boolean
  /** Chunks that were lost since the start: corrupt, missing, or on a bad part of the disk. */
  readonly lostCount: number
  /**
   * Promises space to a chunk that is about to come, so that whoever sends it need not send it in
   * vain. Pass the promise to `put`, or release it.
   *
   * @throws {StoreFullError} if the quota or the disk has no room.
   * @throws {StoreFailedError} if the disk takes no writes at present.
   */
  reserve(bytes: number): Promise<SpaceReservation>
}
