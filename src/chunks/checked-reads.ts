import { equalBytes, toHex } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import type { ChunkChanges } from './chunk-changes.ts'
import type { ChunkDisk } from './chunk-disk.ts'
import { chunkId, chunkKey } from './chunk-id.ts'
import type { ChunkIndex, IndexEntry } from './chunk-index.ts'
import { ChunkUnreadableError } from './errors.ts'
import type { ChunkId } from './types.ts'

export interface CheckedReadsComponents {
  readonly index: ChunkIndex
  readonly changes: ChunkChanges
  readonly log: Logger
  readonly metrics?: Metrics | undefined
}

export interface CheckedReadsOptions {
  /** Corrupt chunks kept for people to look at; more are removed. */
  readonly maxCorruptFiles: number
}

/** The bytes, or what is wrong with them; undefined if the chunk is not held. */
export type ReadOutcome = Uint8Array | 'corrupt' | 'missing' | undefined

/** What is wrong with a chunk, and what people are told. */
interface Loss {
  readonly condition: 'corrupt' | 'missing'
  readonly reason: string
  /** Whether the disk cannot even read it, so that it is best left where it is. */
  readonly isUnreadable: boolean
}

/**
 * Reads chunks and hashes them when that is due: at the first read, and whenever it is asked for.
 * What is not as it should be leaves the index, so that it is fetched from elsewhere.
 */
export class CheckedReads {
  /** Corrupt chunks that are kept. */
  corruptFiles = 0
  readonly #index: ChunkIndex
  readonly #changes: ChunkChanges
  readonly #log: Logger
  readonly #lostTotal: Counter | undefined
  readonly #maxCorruptFiles: number
  #lostCount = 0

  constructor(components: CheckedReadsComponents, options: CheckedReadsOptions) {
    this.#index = components.index
    this.#changes = components.changes
    this.#log = components.log
    this.#maxCorruptFiles = options.maxCorruptFiles
    this.#lostTotal = components.metrics?.counter('blobswarm_chunks_corrupt_total', {
      help: 'Chunks whose bytes on the disk were lost or not theirs any more'
    })
  }

  /** Chunks that were found lost. */
  get lostCount(): number {
    return this.#lostCount
  }

  /** Reads a chunk that is held; `isDue` hashes it even if that was done before. */
  async read(disk: ChunkDisk, id: ChunkId, isDue: boolean): Promise<ReadOutcome> {
    for (;;) {
      const entry = this.#index.get(id)
      if (entry === undefined) return undefined
      const found = await this.#readAt(disk, id, { entry, isDue })
      const now = this.#index.get(id)
      const isThere = now?.segment === entry.segment && now.offset === entry.offset
      if (found instanceof Uint8Array) {
        if (isThere && !now.isVerified) this.#index.set(id, { ...now, isVerified: true })
        return found
      }
      if (now === undefined || isThere) {
        await this.#drop(disk, id, { entry, loss: found })
        return found.condition
      }
      // Moved or stored anew while it was read.
    }
  }

  async #readAt(
    disk: ChunkDisk,
    id: ChunkId,
    { entry, isDue }: { readonly entry: IndexEntry; readonly isDue: boolean }
  ): Promise<Uint8Array | Loss> {
    let bytes: Uint8Array | undefined
    try {
      bytes = await disk.read(id, entry)
    } catch (error) {
      if (!(error instanceof ChunkUnreadableError)) throw error
      this.#log.error('%e', error)
      return { condition: 'corrupt', reason: 'the disk cannot read it', isUnreadable: true }
    }
    if (bytes === undefined) {
      return { condition: 'missing', reason: 'its file is gone', isUnreadable: false }
    }
    const isDifferent = isDue || !entry.isVerified ? !equalBytes(chunkId(bytes), id) : false
    if (!isDifferent && bytes.byteLength === entry.bytes) return bytes
    return { condition: 'corrupt', reason: 'its bytes are others', isUnreadable: false }
  }

  /** The chunk is no longer held from the moment of the call. */
  async #drop(
    disk: ChunkDisk,
    id: ChunkId,
    { entry, loss }: { readonly entry: IndexEntry; readonly loss: Loss }
  ): Promise<void> {
    const key = chunkKey(id)
    // Two readers may find out at once, and one that is being deleted is no loss.
    if (this.#changes.has(key) || this.#index.delete(id) === undefined) return
    this.#lostCount++
    this.#lostTotal?.add(1)
    const path = disk.pathOf(id, entry)
    this.#log.error('chunk %s in %s is lost: %s', toHex(id), path, loss.reason)
    try {
      await this.#changes.track(key, this.#moveAway(disk, id, { entry, loss }))
    } catch (error) {
      this.#log.error('chunk %s stays in %s: %e', toHex(id), path, error)
    }
  }

  async #moveAway(
    disk: ChunkDisk,
    id: ChunkId,
    { entry, loss }: { readonly entry: IndexEntry; readonly loss: Loss }
  ): Promise<void> {
    const isKept = this.corruptFiles < this.#maxCorruptFiles
    if (!isKept && loss.isUnreadable) return
    if (!isKept) return await disk.remove(id, entry)
    this.corruptFiles++
    try {
      await disk.quarantine(id, entry)
    } catch (error) {
      this.corruptFiles--
      throw error
    }
  }
}
