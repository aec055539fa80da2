import { GIB, MIB } from '../lib/bytes.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import { errorCode } from '../lib/errors.ts'
import { type FileLayer, readFully, syncFolder, writeFully } from '../lib/file-layer.ts'
import type { Logger } from '../lib/logger.ts'
import { OpenFiles } from '../lib/open-files.ts'
import type { ChunkDisk, ChunkPlace } from './chunk-disk.ts'
import type { ChunkIndex, IndexEntry } from './chunk-index.ts'
import { shortHex, translateDiskError, translateReadError } from './disk-errors.ts'
import type { DiskLayout, SegmentPaths } from './disk-layout.ts'
import { ReadBuffers } from './read-buffers.ts'
import { Segment, writeSegmentIndex } from './segment.ts'
import { SegmentAppender } from './segment-appender.ts'
import { SegmentCompactor } from './segment-compactor.ts'
import { SegmentDeletions } from './segment-deletions.ts'
import { RECORD_HEADER_BYTES } from './segment-format.ts'
import { type LoadedSegment, loadSegment } from './segment-load.ts'
import type { ChunkId } from './types.ts'

/** Length of a segment unless the options say something else. */
export const SEGMENT_BYTES = 64 * MIB

const LOADS_AT_A_TIME = 4
/** Offsets have 32 bits, and a segment may end with a record of 16 MiB. */
const MAX_SEGMENT_BYTES = GIB

export interface ChunkSegmentsComponents {
  readonly files: FileLayer
  readonly layout: DiskLayout
  readonly index: ChunkIndex
  readonly log: Logger
  /** Where chunks are read into. @default fresh memory for each */
  readonly buffers?: ReadBuffers | undefined
  /** Told of chunks that were copied so that others' space comes back. */
  readonly onMoved?: ((bytes: number) => void) | undefined
}

export interface ChunkSegmentsOptions {
  /** Whether a chunk is on the disk when its write resolves. */
  readonly isDurable: boolean
  /** Whether what is found may be in memory only, and has to be flushed. @default false */
  readonly isUnflushed?: boolean | undefined
  /** Length of a segment. @default 64 MiB */
  readonly segmentBytes?: number | undefined
  /** Tells how many bytes the disk still has room for. @default always enough */
  readonly leftBytes?: (() => Promise<number>) | undefined
}

/**
 * Chunks in segments: files to which chunks are appended, one flush for many. A deleted chunk's
 * space comes back when its segment is compacted.
 */
export class ChunkSegments implements ChunkDisk {
  readonly #files: FileLayer
  readonly #layout: DiskLayout
  readonly #index: ChunkIndex
  readonly #log: Logger
  readonly #options: Required<ChunkSegmentsOptions>
  readonly #segments = new Map<number, Segment>()
  readonly #open: OpenFiles
  readonly #buffers: ReadBuffers
  readonly #deletions: SegmentDeletions
  readonly #compactor: SegmentCompactor
  #appender: SegmentAppender | undefined

  constructor(components: ChunkSegmentsComponents, options: ChunkSegmentsOptions) {
    const { isDurable, isUnflushed = false, segmentBytes = SEGMENT_BYTES } = options
    const { leftBytes = async () => Infinity } = options
    if (!(segmentBytes > 0 && segmentBytes <= MAX_SEGMENT_BYTES)) {
      throw new RangeError(`segments of ${segmentBytes} bytes`)
    }
    this.#files = components.files
    this.#layout = components.layout
    this.#index = components.index
    this.#log = components.log
    this.#options = { isDurable, isUnflushed, segmentBytes, leftBytes }
    this.#open = new OpenFiles(this.#files)
    this.#buffers = components.buffers ?? new ReadBuffers(0)
    this.#deletions = new SegmentDeletions(this.#files)
    this.#compactor = new SegmentCompactor({
      index: this.#index,
      log: this.#log,
      onMoved: components.onMoved,
      minDeadBytes: Math.min(MIB, segmentBytes / 4),
      all: () => this.#segments.values(),
      isShort: async () => (await leftBytes()) < this.deadBytes,
      recordsOf: async ({ paths }) => (await loadSegment(this.#files, paths))?.records ?? [],
      read: async (id, entry) => await this.read(id, entry),
      append: async (id, bytes) => await this.#running.append(id, bytes, { isDurable: true }),
      discard: async (place, bytes) => await this.#kill(place, bytes),
      noteDead: async (segment, offsets) => {
        await Promise.all(offsets.map(async (at) => await this.#deletions.add(segment, at)))
      },
      retire: (segment) => this.#running.retire(segment),
      drop: async (segment) => await this.#drop(segment)
    })
  }

  get deadBytes(): number {
    let bytes = 0
    for (const segment of this.#segments.values()) bytes += segment.deadBytes
    return bytes
  }

  async load(): Promise<void> {
    const names = await this.#files.list(this.#layout.segments)
    const numbers = new Set(names.flatMap((name) => this.#layout.segmentOf(name) ?? []))
    const ordered = Array.from(numbers).toSorted((one, other) => one - other)
    await forEachConcurrently(ordered, LOADS_AT_A_TIME, async (number) => this.#load(number))
    if (this.#options.isDurable) await syncFolder(this.#files, this.#layout.segments)
    this.#appender = new SegmentAppender(
      {
        files: this.#files,
        layout: this.#layout,
        log: this.#log,
        onOpened: (segment) => void this.#segments.set(segment.number, segment),
        onSealed: (segment) => this.#compactor.consider(segment)
      },
      { ...this.#options, nextNumber: (ordered.at(-1) ?? 0) + 1 }
    )
    await this.#resume()
    for (const segment of this.#segments.values()) this.#compactor.consider(segment)
  }

  async write(id: ChunkId, bytes: Uint8Array): Promise<ChunkPlace> {
    try {
      return await this.#running.append(id, bytes)
    } catch (error) {
      const { directory } = this.#layout
      const neededBytes = bytes.byteLength
      throw translateDiskError(`writing chunk ${shortHex(id)}`, error, { directory, neededBytes })
    }
  }

  async read(id: ChunkId, entry: IndexEntry): Promise<Uint8Array | undefined> {
    const segment = this.#segments.get(entry.segment)
    if (segment === undefined) return undefined
    try {
      return await this.#open.use(segment.paths.chunks, async (file) => {
        const bytes = this.#buffers.take(entry.bytes)
        const at = entry.offset + RECORD_HEADER_BYTES
        const came = await readFully(this.#files, file, bytes, at)
        return came === entry.bytes ? bytes : bytes.subarray(0, came)
      })
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw translateReadError(id, this.pathOf(id, entry), error)
    }
  }

  async remove(id: ChunkId, entry: IndexEntry): Promise<void> {
    try {
      await this.#kill(entry, entry.bytes)
    } catch (error) {
      const { directory } = this.#layout
      throw translateDiskError(`removing chunk ${shortHex(id)}`, error, { directory })
    }
  }

  async quarantine(id: ChunkId, entry: IndexEntry): Promise<void> {
    const bytes = await this.read(id, entry)
    if (bytes !== undefined) {
      const file = await this.#files.open(this.#layout.corruptPathOf(id), 'w')
      try {
        await writeFully(this.#files, file, bytes)
      } finally {
        await this.#files.close(file)
      }
    }
    await this.remove(id, entry)
  }

  makeRoom(): void {
    this.#compactor.makeRoom()
  }

  async reclaim(): Promise<void> {
    await this.#compactor.reclaim()
  }

  pathOf(_id: ChunkId, { segment, offset }: ChunkPlace): string {
    return `${this.#layout.segmentPaths(segment).chunks} at ${offset}`
  }

  async close(): Promise<void> {
    await this.#compactor.stop()
    await this.#appender?.close()
    await this.#open.close()
  }

  get #running(): SegmentAppender {
    if (this.#appender === undefined) throw new TypeError('the segments are not loaded')
    return this.#appender
  }

  async #load(number: number): Promise<void> {
    const paths = this.#layout.segmentPaths(number)
    const loaded = await this.#tryLoad(number, paths)
    if (loaded === undefined) return
    const { endBytes, verifiedFrom, wrongCount, failure } = loaded
    const segment = new Segment(number, { paths, nonce: loaded.nonce, state: 'sealed' })
    segment.endBytes = endBytes
    segment.deadEndBytes = loaded.deadEndBytes
    segment.isDamaged = failure !== undefined
    this.#segments.set(number, segment)
    this.#take(segment, loaded)
    if (wrongCount > 0) this.#log.info('%s: %d chunks were cut off', paths.chunks, wrongCount)
    if (failure !== undefined) {
      this.#log.error('%s cannot be read to its end: %e', paths.chunks, failure)
    }
    const isIndexed = endBytes === verifiedFrom
    if (this.#options.isDurable && (this.#options.isUnflushed || !isIndexed)) {
      await this.#flush(paths.chunks)
    }
    if (isIndexed || segment.isDamaged) return
    await writeSegmentIndex({ files: this.#files, log: this.#log }, segment, loaded.records)
  }

  /** @returns undefined if there is nothing in it, or it cannot be read. */
  async #tryLoad(number: number, paths: SegmentPaths): Promise<LoadedSegment | undefined> {
    try {
      const loaded = await loadSegment(this.#files, paths)
      if (loaded === undefined) await this.#unlink(number)
      return loaded
    } catch (error) {
      // Its chunks are not held, so that they are fetched from elsewhere; the others are.
      this.#log.error('%s cannot be read and is left as it is: %e', paths.chunks, error)
      return undefined
    }
  }

  /** Of two places of a chunk the later one counts. */
  #take(segment: Segment, { records, verifiedFrom }: LoadedSegment): void {
    for (const { id, offset, bytes } of records) {
      const held = this.#index.get(id)
      const isOlder = held !== undefined && isBefore({ segment: segment.number, offset }, held)
      if (isOlder) continue
      if (held !== undefined) this.#segments.get(held.segment)?.removeLive(held)
      const isVerified = offset >= verifiedFrom
      this.#index.set(id, { bytes, isVerified, segment: segment.number, offset })
      segment.addLive({ bytes })
    }
  }

  /** The last segment takes more records, if it has room and is well. */
  async #resume(): Promise<void> {
    const last = Array.from(this.#segments.values()).toSorted((a, b) => b.number - a.number)[0]
    if (last === undefined || last.isDamaged) return
    if (last.endBytes >= this.#options.segmentBytes) return
    const loaded = await loadSegment(this.#files, last.paths)
    if (loaded === undefined) return
    last.state = 'filling'
    await this.#running.resume(last, loaded.records)
  }

  async #flush(path: string): Promise<void> {
    const file = await this.#files.open(path, 'r+')
    try {
      await this.#files.fsync(file)
    } finally {
      await this.#files.close(file)
    }
  }

  /** Counts a record as dead and notes it on the disk. */
  async #kill(place: ChunkPlace, bytes: number): Promise<void> {
    const segment = this.#segments.get(place.segment)
    if (segment === undefined) return
    segment.removeLive({ bytes })
    try {
      await this.#deletions.add(segment, place.offset)
    } catch (error) {
      segment.addLive({ bytes })
      throw error
    }
    this.#compactor.consider(segment)
  }

  async #drop(segment: Segment): Promise<void> {
    segment.state = 'removed'
    try {
      await this.#open.forget(segment.paths.chunks)
      await this.#files.unlink(segment.paths.chunks)
    } catch (error) {
      segment.state = 'sealed'
      throw error
    }
    this.#segments.delete(segment.number)
    await this.#unlink(segment.number)
  }

  /** Removes what there is of a segment. */
  async #unlink(number: number): Promise<void> {
    const { chunks, index, dead } = this.#layout.segmentPaths(number)
    for (const path of [chunks, index, dead]) {
      try {
        await this.#files.unlink(path)
      } catch (error) {
        if (errorCode(error) !== 'ENOENT') this.#log.info('%s stays: %e', path, error)
      }
    }
  }
}

function isBefore(one: ChunkPlace, other: ChunkPlace): boolean {
  if (one.segment !== other.segment) return one.segment < other.segment
  return one.offset < other.offset
}
