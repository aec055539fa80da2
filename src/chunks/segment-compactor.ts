import { equalBytes } from '../lib/bytes.ts'
import { forEachConcurrently } from '../lib/concurrently.ts'
import type { Logger } from '../lib/logger.ts'
import type { ChunkPlace } from './chunk-disk.ts'
import { chunkId } from './chunk-id.ts'
import type { ChunkIndex, IndexEntry } from './chunk-index.ts'
import { ChunkUnreadableError } from './errors.ts'
import type { Segment } from './segment.ts'
import type { SegmentRecord } from './segment-format.ts'
import type { ChunkId } from './types.ts'

/** Share of a segment that is dead when it is worth to copy the rest. */
const DEAD_SHARE = 1 / 2
/** The same while the disk is short of room. */
const DEAD_SHARE_WHEN_SHORT = 1 / 8
/** Records that are moved at the same time: enough to share flushes, few beside those of writers. */
const MOVES_AT_A_TIME = 8

/** What the compactor does with segments, done by who owns them. */
export interface CompactedSegments {
  readonly index: ChunkIndex
  readonly log: Logger
  /** Dead bytes for which a segment that is still being filled is given up. */
  readonly minDeadBytes: number
  /** Told of bytes that were copied. */
  readonly onMoved?: ((bytes: number) => void) | undefined
  /** All segments. */
  all(): Iterable<Segment>
  /** Whether the disk has so little room that giving some back is worth more work than usual. */
  isShort(): Promise<boolean>
  /** The records that a sealed segment has, dead ones perhaps among them. */
  recordsOf(segment: Segment): Promise<Iterable<SegmentRecord>>
  read(id: ChunkId, entry: IndexEntry): Promise<Uint8Array | undefined>
  /** Writes a chunk once more; durable whatever the store was told. */
  append(id: ChunkId, bytes: Uint8Array): Promise<ChunkPlace>
  /** A copy that was made for nothing. */
  discard(place: ChunkPlace, bytes: number): Promise<void>
  /** Notes on the disk that records are dead, so that a start does not find them. */
  noteDead(segment: Segment, offsets: readonly number[]): Promise<void>
  /** Has a segment that is being filled sealed. */
  retire(segment: Segment): void
  /** Deletes a segment of which nothing is live. */
  drop(segment: Segment): Promise<void>
}

/**
 * Gives back the space of deleted chunks: a segment of which half is dead has the rest copied to
 * the end and is deleted. One segment at a time, beside everything else.
 */
export class SegmentCompactor {
  readonly #segments: CompactedSegments
  readonly #queue = new Set<Segment>()
  readonly #stopping = new AbortController()
  #running: Promise<void> | undefined
  #isRoomWanted = false
  /** Somebody waits for whatever can be given back. */
  #isAllWanted = false

  constructor(segments: CompactedSegments) {
    this.#segments = segments
  }

  /** Looks whether a segment, of which something has just died, is worth it. */
  consider(segment: Segment): void {
    const { state, liveBytes, deadBytes } = segment
    const isMostlyDead = deadBytes >= (liveBytes + deadBytes) * DEAD_SHARE
    const isWorthIt = isMostlyDead || liveBytes === 0 || (this.#isAllWanted && deadBytes > 0)
    if (state === 'sealed' && isWorthIt) this.#add(segment)
    else if (state === 'filling' && isMostlyDead && deadBytes >= this.#segments.minDeadBytes) {
      this.#segments.retire(segment)
    }
  }

  /** Goes on, segments with most to give back first, until the disk is not short any more. */
  makeRoom(): void {
    if (this.#stopping.signal.aborted) return
    this.#isRoomWanted = true
    this.#running ??= this.#run()
  }

  /** Gives back all dead bytes but few that are in the segment which is being filled. */
  async reclaim(): Promise<void> {
    if (this.#stopping.signal.aborted) return
    this.#isAllWanted = true
    this.#running ??= this.#run()
    await this.#running
  }

  /** Ends after the moves that are under way. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  #add(segment: Segment): void {
    if (this.#stopping.signal.aborted || (segment.isDamaged && segment.liveBytes > 0)) return
    this.#queue.add(segment)
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    await Promise.resolve()
    for (;;) {
      for (const segment of this.#queue) {
        if (this.#stopping.signal.aborted) break
        // First, so that what dies meanwhile brings it back.
        this.#queue.delete(segment)
        await this.#tryCompact(segment)
      }
      if (this.#stopping.signal.aborted || !(await this.#addForRoom())) break
    }
    this.#isAllWanted = false
    this.#running = undefined
  }

  /** @returns whether there is something to do. */
  async #addForRoom(): Promise<boolean> {
    const isShort = this.#isRoomWanted && (await this.#segments.isShort())
    const most = isShort || this.#isAllWanted ? this.#mostDead() : undefined
    if (most?.state === 'sealed') this.#queue.add(most)
    else {
      this.#isRoomWanted = false
      // When it is sealed it is looked at like any other.
      if (most !== undefined) this.#segments.retire(most)
    }
    return this.#queue.size > 0
  }

  /** The segment with most to give back, if that is a fair part of it. */
  #mostDead(): Segment | undefined {
    const share = this.#isAllWanted ? 0 : DEAD_SHARE_WHEN_SHORT
    const candidates = Array.from(this.#segments.all()).filter(
      ({ state, deadBytes, endBytes, isDamaged }) =>
        !isDamaged &&
        deadBytes > 0 &&
        deadBytes >= endBytes * share &&
        (state === 'sealed' || (state === 'filling' && deadBytes >= this.#segments.minDeadBytes))
    )
    return candidates.toSorted((one, other) => other.deadBytes - one.deadBytes)[0]
  }

  async #tryCompact(segment: Segment): Promise<void> {
    try {
      await this.#compact(segment)
    } catch (error) {
      this.#isRoomWanted = false
      this.#isAllWanted = false
      if (this.#stopping.signal.aborted) return
      this.#segments.log.info('%s is not compacted: %e', segment.paths.chunks, error)
    }
  }

  async #compact(segment: Segment): Promise<void> {
    if (segment.state !== 'sealed') return
    const moved: number[] = []
    try {
      if (segment.liveBytes > 0) await this.#moveAll(segment, moved)
    } finally {
      if (segment.liveBytes === 0) await this.#segments.drop(segment)
      // A chunk that is deleted at its new place shall not be found at the old one.
      else if (moved.length > 0) await this.#segments.noteDead(segment, moved)
    }
    // What could not be moved is left to whoever reads it next; then the segment may go.
    segment.isDamaged = segment.liveBytes > 0
    const fate = segment.isDamaged ? 'kept, for a part of it is bad' : 'compacted'
    this.#segments.log.debug('%s is %s', segment.paths.chunks, fate)
  }

  async #moveAll(segment: Segment, moved: number[]): Promise<void> {
    const records = await this.#segments.recordsOf(segment)
    const live = Iterator.from(records).filter(({ id, offset }) =>
      this.#entryAt(id, segment, offset)
    )
    const move = async (record: SegmentRecord): Promise<void> => {
      if (await this.#move(segment, record)) moved.push(record.offset)
    }
    await forEachConcurrently(live, MOVES_AT_A_TIME, move, { signal: this.#stopping.signal })
  }

  /** @returns whether the chunk is at another place now. */
  async #move(segment: Segment, { id, offset }: SegmentRecord): Promise<boolean> {
    const { index } = this.#segments
    const entry = this.#entryAt(id, segment, offset)
    if (entry === undefined) return false
    const bytes = await this.#readIfPossible(id, entry)
    if (bytes === undefined || !equalBytes(chunkId(bytes), id)) {
      // Its next reader finds out, and the store deals with it.
      const now = this.#entryAt(id, segment, offset)
      if (now !== undefined) index.set(id, { ...now, isVerified: false })
      return false
    }
    const place = await this.#segments.append(id, bytes)
    // No wait between this look and the change: a delete or another put comes before or after.
    if (this.#entryAt(id, segment, offset) === undefined) {
      await this.#segments.discard(place, bytes.byteLength)
      return false
    }
    index.set(id, { ...place, bytes: bytes.byteLength, isVerified: true })
    segment.removeLive(entry)
    this.#segments.onMoved?.(bytes.byteLength)
    return true
  }

  /** @returns undefined if there is nothing, or the disk cannot read it. */
  async #readIfPossible(id: ChunkId, entry: IndexEntry): Promise<Uint8Array | undefined> {
    try {
      return await this.#segments.read(id, entry)
    } catch (error) {
      if (error instanceof ChunkUnreadableError) return undefined
      throw error
    }
  }

  /** What is held at this place, undefined if the chunk is gone or elsewhere. */
  #entryAt(id: ChunkId, segment: Segment, offset: number): IndexEntry | undefined {
    const entry = this.#segments.index.get(id)
    const isHere = entry?.segment === segment.number && entry.offset === offset
    return isHere ? entry : undefined
  }
}
