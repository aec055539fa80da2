import { DirectoryLock } from '../lib/directory-lock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { FileLayer } from '../lib/file-layer.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import type { ChunkDisk } from './chunk-disk.ts'
import { ChunkFiles } from './chunk-files.ts'
import type { ChunkIndex } from './chunk-index.ts'
import { ChunkSegments } from './chunk-segments.ts'
import { type DiskFormat, DiskLayout } from './disk-layout.ts'
import { StoreUnusableError } from './errors.ts'
import type { ReadBuffers } from './read-buffers.ts'
import type { Durability } from './store-types.ts'

export interface StoreFolderComponents {
  readonly files: FileLayer
  /** Filled with what is there. */
  readonly index: ChunkIndex
  readonly log: Logger
  readonly metrics?: Metrics | undefined
  readonly readBuffers?: ReadBuffers | undefined
  /** Bytes that chunks may still take of the disk. */
  readonly leftBytes: () => Promise<number>
}

export interface StoreFolderOptions {
  readonly directory: string
  /** @default 'fsync' */
  readonly durability?: Durability | undefined
  /** What a new store gets. @default 'segments' */
  readonly format?: DiskFormat | undefined
  readonly segmentBytes?: number | undefined
}

/** The folder of a store, which belongs to it from `open` to `close`, and the chunks in it. */
export class StoreFolder {
  readonly layout: DiskLayout
  readonly #components: StoreFolderComponents
  readonly #options: StoreFolderOptions
  readonly #movedBytes: Counter | undefined
  #lock: DirectoryLock | undefined
  #disk: ChunkDisk | undefined

  constructor(components: StoreFolderComponents, options: StoreFolderOptions) {
    this.layout = new DiskLayout(options.directory)
    this.#components = components
    this.#options = options
    this.#movedBytes = components.metrics?.counter('blobswarm_chunks_moved_bytes_total', {
      help: 'Bytes of chunks that were copied so that the space of deleted ones came back'
    })
  }

  /** The chunks. @throws {NotRunningError} unless it is open. */
  get disk(): ChunkDisk {
    if (this.#disk === undefined) throw new NotRunningError(`store ${this.layout.directory}`)
    return this.#disk
  }

  /** Bytes on the disk that belong to no chunk any more; 0 unless it is open. */
  get deadBytes(): number {
    return this.#disk?.deadBytes ?? 0
  }

  /**
   * Takes the folder, makes it ready and fills the index. What it has taken when it fails is given back by `close`.
   *
   * @returns how many corrupt chunks are kept in it.
   * @throws {StoreUnusableError} if another process uses the folder, or a newer version wrote it.
   */
  async open(): Promise<number> {
    const { files } = this.#components
    await this.#takeLock()
    const format = await this.layout.prepare(files, this.#options.format)
    await this.layout.clearTemporary(files)
    const corruptFiles = (await files.list(this.layout.corrupt)).length
    await this.#load(format)
    return corruptFiles
  }

  /** Begins to give back the space of deleted chunks; nothing unless it is open. */
  makeRoom(): void {
    this.#disk?.makeRoom()
  }

  /** Gives back the space of deleted chunks. @returns whether some came back. */
  async reclaim(): Promise<boolean> {
    const before = this.deadBytes
    if (before === 0) return false
    await this.#disk?.reclaim()
    return this.deadBytes < before
  }

  /** Closes all files and gives the folder back. */
  async close(): Promise<void> {
    try {
      await this.#disk?.close()
    } finally {
      this.#disk = undefined
      await this.#lock?.release()
      this.#lock = undefined
    }
  }

  async #takeLock(): Promise<void> {
    const attempt = await DirectoryLock.tryTake(this.layout.lock)
    if (!attempt.isTaken) {
      throw new StoreUnusableError(this.layout.directory, `process ${attempt.heldByPid} uses it`)
    }
    this.#lock = attempt.lock
  }

  async #load(format: DiskFormat): Promise<void> {
    const { files, index, log, readBuffers, leftBytes } = this.#components
    const { durability = 'fsync', segmentBytes } = this.#options
    const { layout } = this
    const isDurable = durability === 'fsync'
    const isUnflushed = await layout.isUnflushed(files)
    if (!isDurable && !isUnflushed) await layout.noteUnflushed(files, true)
    const onMoved = (bytes: number): void => this.#movedBytes?.add(bytes)
    const components = { files, layout, index, log, buffers: readBuffers, onMoved }
    const options = { isDurable, isUnflushed, segmentBytes, leftBytes }
    const disk =
      format === 'segments'
        ? new ChunkSegments(components, options)
        : new ChunkFiles(components, options)
    this.#disk = disk
    await disk.load()
    if (isDurable && isUnflushed) await layout.noteUnflushed(files, false)
  }
}
