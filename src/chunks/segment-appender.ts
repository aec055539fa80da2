import { KIB } from '../lib/bytes.ts'
import { type FileLayer, syncFolder, writeFully, writePartsFully } from '../lib/file-layer.ts'
import { GroupCommit } from '../lib/group-commit.ts'
import type { Logger } from '../lib/logger.ts'
import { secureBytes } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import type { ChunkPlace } from './chunk-disk.ts'
import { isFullDisk } from './disk-errors.ts'
import type { DiskLayout } from './disk-layout.ts'
import { Segment, writeSegmentIndex } from './segment.ts'
import {
  type BatchRoom,
  bufferBytesOf,
  countOfBatch,
  encodeBatch,
  type PendingRecord
} from './segment-batch.ts'
import {
  encodeSegmentHeader,
  NONCE_BYTES,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentRecord
} from './segment-format.ts'
import type { ChunkId } from './types.ts'

/** A full index has 2.5 MiB then. */
const MAX_RECORDS = 64 * KIB

export interface SegmentAppenderComponents {
  readonly files: FileLayer
  readonly layout: DiskLayout
  readonly log: Logger
  /** Told of each new segment before anything is in it. */
  readonly onOpened: (segment: Segment) => void
  /** Told when a segment is sealed. */
  readonly onSealed: (segment: Segment) => void
}

export interface SegmentAppenderOptions {
  /** Number of the next segment. */
  readonly nextNumber: number
  /** Whether records are on the disk when they are acknowledged. */
  readonly isDurable: boolean
  /** Length of a segment, above which only a single record may take it. */
  readonly segmentBytes: number
}

/** A segment that takes records, open for writing. */
interface Filling {
  readonly segment: Segment
  readonly file: number
  /** For the index. */
  records: SegmentRecord[]
  isNameDurable: boolean
  /** Why nothing more may be written or flushed: what a failed flush left is not known. */
  failure: Error | undefined
  /** Batches that are being written, or are not acknowledged yet: the file is needed. */
  underWay: number
}

/**
 * Writes records one after the other, so that what is acknowledged is always a prefix of the
 * segment, and flushes many at once: while one flush runs, records are written for the next. A
 * segment whose write or flush failed is left as it is, and another one begun.
 */
export class SegmentAppender {
  readonly #components: SegmentAppenderComponents
  readonly #options: SegmentAppenderOptions
  readonly #flushes: GroupCommit<Filling>
  readonly #pending: PendingRecord[] = []
  /** What runs beside the writing: flushes and seals. */
  readonly #running = new Set<Promise<void>>()
  #writing: Promise<void> | undefined
  #filling: Filling | undefined
  #nextNumber: number
  /** Where batches are put together, one after the other: fresh memory would cost more than that. */
  #batchBuffer = Buffer.alloc(0)

  constructor(components: SegmentAppenderComponents, options: SegmentAppenderOptions) {
    this.#components = components
    this.#options = options
    this.#nextNumber = options.nextNumber
    this.#flushes = new GroupCommit((filling) => this.#flush(filling))
  }

  /** Goes on with a segment that an earlier process left. */
  async resume(segment: Segment, records: Iterable<SegmentRecord>): Promise<void> {
    const file = await this.#components.files.open(segment.paths.chunks, 'r+')
    this.#filling = {
      segment,
      file,
      records: Array.from(records),
      isNameDurable: true,
      failure: undefined,
      underWay: 0
    }
  }

  /**
   * Writes a record and resolves when it is durable, if that is asked for. Its bytes count as live
   * in its segment from the time when they are written.
   */
  async append(
    id: ChunkId,
    bytes: Uint8Array,
    options: { readonly isDurable?: boolean } = {}
  ): Promise<ChunkPlace> {
    const { isDurable = this.#options.isDurable } = options
    const { promise, resolve, reject } = Promise.withResolvers<ChunkPlace>()
    this.#pending.push({ id, bytes, isDurable, resolve, reject })
    this.#writing ??= this.#write()
    return await promise
  }

  /** Takes no more records into the segment, if it is the one that takes them. */
  retire(segment: Segment): void {
    if (this.#filling?.segment === segment) this.#retire()
  }

  /** Seals the segment for a quick start; nothing may be appended any more. */
  async close(): Promise<void> {
    await this.#writing
    while (this.#running.size > 0) await Promise.all(this.#running)
    const filling = this.#filling
    this.#filling = undefined
    if (filling !== undefined) await this.#close(filling)
  }

  async #write(): Promise<void> {
    // One turn lets everything that is already under way join the first batch.
    await Promise.resolve()
    while (this.#pending.length > 0) {
      let batch: readonly PendingRecord[] = this.#pending.slice(0, 1)
      try {
        const filling = await this.#openFor(recordBytes(batch[0]?.bytes.byteLength ?? 0))
        // It may have been retired since: from here to the write there is no wait.
        if (filling.segment.state !== 'filling') continue
        batch = this.#pending.splice(0, countOfBatch(this.#pending, this.#roomOf(filling)))
        await this.#writeBatch(filling, batch)
      } catch (thrown) {
        const error = toError(thrown)
        if (this.#pending[0] === batch[0]) this.#pending.shift()
        for (const { reject } of batch) reject(error)
      }
    }
    this.#writing = undefined
  }

  /** The segment that takes a record of so many bytes. */
  async #openFor(bytes: number): Promise<Filling> {
    const filling = this.#filling
    if (filling !== undefined) {
      const { segment, records, failure } = filling
      const isEmpty = segment.endBytes === SEGMENT_HEADER_BYTES
      const hasRoom = segment.endBytes + bytes <= this.#options.segmentBytes || isEmpty
      if (hasRoom && records.length < MAX_RECORDS && failure === undefined) return filling
      this.#retire()
    }
    this.#filling = await this.#makeSegment()
    return this.#filling
  }

  async #makeSegment(): Promise<Filling> {
    const { files, layout, onOpened } = this.#components
    const number = this.#nextNumber++
    const nonce = secureBytes(NONCE_BYTES)
    const paths = layout.segmentPaths(number)
    const segment = new Segment(number, { paths, nonce, state: 'filling' })
    const file = await files.open(paths.chunks, 'wx+')
    try {
      await writeFully(files, file, encodeSegmentHeader(nonce))
    } catch (error) {
      await Promise.allSettled([files.close(file), files.unlink(paths.chunks)])
      throw error
    }
    onOpened(segment)
    const records: SegmentRecord[] = []
    return { segment, file, records, isNameDurable: false, failure: undefined, underWay: 0 }
  }

  #roomOf({ segment, records }: Filling): BatchRoom {
    const bytes = this.#options.segmentBytes - segment.endBytes
    return { bytes, records: MAX_RECORDS - records.length }
  }

  async #writeBatch(filling: Filling, pending: readonly PendingRecord[]): Promise<void> {
    const { segment } = filling
    const needed = bufferBytesOf(pending)
    if (this.#batchBuffer.byteLength < needed) this.#batchBuffer = Buffer.allocUnsafeSlow(needed)
    const batch = encodeBatch(this.#batchBuffer, segment, pending)
    filling.underWay++
    try {
      await writePartsFully(this.#components.files, filling.file, batch.parts, segment.endBytes)
    } catch (thrown) {
      // Room may come back, and what follows is written over what got there.
      if (!isFullDisk(thrown)) filling.failure = toError(thrown)
      this.#endBatch(filling)
      throw thrown
    }
    segment.endBytes += batch.bytes
    for (const record of batch.records) segment.addLive(record)
    filling.records.push(...batch.records)
    this.#track(this.#acknowledge(filling, pending, batch.records))
  }

  async #acknowledge(
    filling: Filling,
    pending: readonly PendingRecord[],
    records: readonly SegmentRecord[]
  ): Promise<void> {
    const { segment } = filling
    try {
      if (pending.some(({ isDurable }) => isDurable)) await this.#flushes.add(filling)
      for (const [at, { resolve }] of pending.entries()) {
        resolve({ segment: segment.number, offset: records[at]?.offset ?? 0 })
      }
    } catch (thrown) {
      const failed = new Set(records)
      for (const record of failed) segment.removeLive(record)
      filling.records = filling.records.filter((record) => !failed.has(record))
      for (const { reject } of pending) reject(toError(thrown))
    } finally {
      this.#endBatch(filling)
    }
  }

  #endBatch(filling: Filling): void {
    filling.underWay--
    if (filling.segment.state === 'full') this.#sealWhenDone(filling)
  }

  async #flush(fillings: readonly Filling[]): Promise<void> {
    const { files, layout } = this.#components
    for (const filling of new Set(fillings)) {
      if (filling.failure !== undefined) throw filling.failure
      try {
        await files.fsync(filling.file)
        if (filling.isNameDurable) continue
        await syncFolder(files, layout.segments)
        filling.isNameDurable = true
      } catch (thrown) {
        filling.failure = toError(thrown)
        throw thrown
      }
    }
  }

  #retire(): void {
    const filling = this.#filling
    if (filling === undefined) return
    this.#filling = undefined
    filling.segment.state = 'full'
    this.#sealWhenDone(filling)
  }

  #sealWhenDone(filling: Filling): void {
    if (filling.underWay === 0) this.#track(this.#seal(filling))
  }

  async #seal(filling: Filling): Promise<void> {
    await this.#close(filling)
    filling.segment.state = 'sealed'
    this.#components.onSealed(filling.segment)
  }

  async #close({ segment, file, records }: Filling): Promise<void> {
    const { files, log } = this.#components
    await Promise.allSettled([files.close(file)])
    await writeSegmentIndex({ files, log }, segment, records)
  }

  #track(work: Promise<void>): void {
    this.#running.add(work)
    void work.finally(() => this.#running.delete(work))
  }
}
