import type { IndexEntry } from './chunk-index.ts'
import type { ChunkId } from './types.ts'

/** Where a chunk lies; what the numbers mean is up to the layout. */
export interface ChunkPlace {
  readonly segment: number
  readonly offset: number
}

/**
 * Chunks on a disk in one of the layouts. It has the store's index in common with the store: it
 * fills it at the start and may move a chunk to another place in it. Whoever calls sees to it that
 * nothing else happens to the same chunk at the same time.
 */
export interface ChunkDisk {
  /** Bytes on the disk that belong to no chunk any more and will be given back. */
  readonly deadBytes: number
  /** Removes what a crash left and puts all chunks that are there into the index, unverified. */
  load(): Promise<void>
  /**
   * Writes a chunk and resolves when it is as durable as was asked for. It is not in the index yet:
   * whoever calls puts it there at once.
   *
   * @throws {StoreFullError | StoreFailedError} and leaves nothing that counts as a chunk.
   */
  write(id: ChunkId, bytes: Uint8Array): Promise<ChunkPlace>
  /**
   * Reads a chunk's bytes, fewer if there are not so many. Takes hold of its place in the moment of
   * the call.
   *
   * @returns undefined if its file is gone.
   * @throws {ChunkUnreadableError} if the disk cannot give these bytes.
   * @throws {StoreFailedError}
   */
  read(id: ChunkId, entry: IndexEntry): Promise<Uint8Array | undefined>
  /** Frees a chunk's space, which has left the index. @throws {StoreFailedError} */
  remove(id: ChunkId, entry: IndexEntry): Promise<void>
  /**
   * Keeps what a chunk that has left the index has become for people to look at, and frees its
   * place. @throws {StoreFailedError}
   */
  quarantine(id: ChunkId, entry: IndexEntry): Promise<void>
  /** Begins to give back space that it would leave for later if there were enough. */
  makeRoom(): void
  /** Gives back what space it can, and resolves when it has. Harmless when called twice. */
  reclaim(): Promise<void>
  /** The file that a chunk is in, for people. */
  pathOf(id: ChunkId, place: ChunkPlace): string
  /** Ends what runs in the background and closes all files. */
  close(): Promise<void>
}
