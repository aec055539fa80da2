import { equalBytes, isAllZero, MIB } from '../lib/bytes.ts'
import { errorCode, MalformedError } from '../lib/errors.ts'
import { type FileLayer, readFully, readSmallFile } from '../lib/file-layer.ts'
import { toError } from '../lib/to-error.ts'
import { chunkId } from './chunk-id.ts'
import type { SegmentPaths } from './disk-layout.ts'
import {
  DELETION_BYTES,
  decodeDeletions,
  decodeSegmentHeader,
  decodeSegmentIndex,
  RECORD_HEADER_BYTES,
  readRecordHeader,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentRecord
} from './segment-format.ts'

/** An index of 64 Ki records has 2.5 MiB, the deletions of as many 0.5 MiB. */
const MAX_SIDE_FILE_BYTES = 64 * MIB
const WINDOW_BYTES = MIB

/** What was found in a segment. */
export interface LoadedSegment {
  readonly nonce: Uint8Array
  /** In order of their offsets, without the deleted ones; made anew each time. */
  readonly records: Iterable<SegmentRecord>
  /** Offset from which on the records' bytes were hashed: all before are as the index says. */
  readonly verifiedFrom: number
  /** Where the records end. */
  readonly endBytes: number
  /** Where the next deletion goes; 0 if the file has to be made. */
  readonly deadEndBytes: number
  /** Records whose bytes are not theirs, such as those that a crash cut off, or unreadable. */
  readonly wrongCount: number
  /** What the disk said when it could not read further. */
  readonly failure?: unknown
}

/**
 * Finds out what is in a segment: by its index, and by reading and hashing what the index does not
 * tell of.
 *
 * @returns undefined if nothing is in it, as after a power cut in the moment when it was made.
 * @throws {MalformedError} if it is no segment.
 * @throws {unknown} what the disk says if not even the segment's head can be read.
 */
export async function loadSegment(
  files: FileLayer,
  paths: SegmentPaths
): Promise<LoadedSegment | undefined> {
  const [fileBytes = 0] = await files.sizesOf([paths.chunks])
  if (fileBytes < SEGMENT_HEADER_BYTES) return undefined
  const file = await files.open(paths.chunks, 'r')
  try {
    const [head, encodedIndex, encodedDead] = await Promise.all([
      readHead(files, file),
      readSideFile(files, paths.index),
      readSideFile(files, paths.dead)
    ])
    const ofAny = encodedIndex && decodeSegmentIndex(encodedIndex)
    // A head that has gone bad is no loss as long as the index knows what it said.
    const nonce = decodeSegmentHeader(head.bytes) ?? ofAny?.nonce
    if (nonce === undefined) {
      if (head.failure === undefined && (await isBlank(new Window(files, file)))) return undefined
      throw toError(head.failure ?? new MalformedError('segment', paths.chunks))
    }
    const index = ofAny !== undefined && equalBytes(ofAny.nonce, nonce) ? ofAny : undefined
    const dead = decodeDeletions(encodedDead ?? new Uint8Array(), nonce)
    const verifiedFrom = Math.min(index?.endBytes ?? SEGMENT_HEADER_BYTES, fileBytes)
    const scanned = await scan(new Window(files, file), nonce, verifiedFrom, fileBytes)
    const isThere = ({ offset, bytes }: SegmentRecord): boolean =>
      !dead.has(offset) && offset + recordBytes(bytes) <= fileBytes
    const known = index?.records ?? []
    const records = { [Symbol.iterator]: () => filtered([known, scanned.records], isThere) }
    const deadEndBytes = dead.size === 0 ? 0 : alignedUp(encodedDead?.byteLength ?? 0)
    return { ...scanned, nonce, records, verifiedFrom, deadEndBytes }
  } finally {
    await files.close(file)
  }
}

function* filtered(
  parts: readonly Iterable<SegmentRecord>[],
  isThere: (record: SegmentRecord) => boolean
): Generator<SegmentRecord, void> {
  for (const records of parts) for (const record of records) if (isThere(record)) yield record
}

/** No more than the head: of most segments nothing else is read at a start. */
async function readHead(
  files: FileLayer,
  file: number
): Promise<{ readonly bytes: Uint8Array; readonly failure?: unknown }> {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
  try {
    await readFully(files, file, bytes)
    return { bytes }
  } catch (failure) {
    if (errorCode(failure) === undefined) throw failure
    return { bytes: new Uint8Array(), failure }
  }
}

/** Whether nothing was ever written, as far as a window reaches. */
async function isBlank(window: Window): Promise<boolean> {
  const start = await window.readUpTo(WINDOW_BYTES)
  return isAllZero(start)
}

interface Scanned extends Pick<LoadedSegment, 'endBytes' | 'wrongCount' | 'failure'> {
  readonly records: readonly SegmentRecord[]
}

async function scan(
  window: Window,
  nonce: Uint8Array,
  from: number,
  fileBytes: number
): Promise<Scanned> {
  const records: SegmentRecord[] = []
  let endBytes = from
  let wrongCount = 0
  try {
    while (endBytes + RECORD_HEADER_BYTES <= fileBytes) {
      const header = await window.read(endBytes, RECORD_HEADER_BYTES)
      const record = header && readRecordHeader(header, nonce, endBytes)
      if (record === undefined || endBytes + recordBytes(record.bytes) > fileBytes) break
      if (await isIntact(window, record)) records.push(record)
      else wrongCount++
      endBytes += recordBytes(record.bytes)
    }
    return { records, endBytes, wrongCount }
  } catch (failure) {
    return { records, endBytes, wrongCount, failure }
  }
}

/** Whether a record's bytes can be read, and are its own. */
async function isIntact(window: Window, { id, offset, bytes }: SegmentRecord): Promise<boolean> {
  try {
    const found = await window.read(offset + RECORD_HEADER_BYTES, bytes)
    return found !== undefined && equalBytes(chunkId(found), id)
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return false // a bad part of the disk: what lies behind it may be well
  }
}

/** @returns undefined if there is none that can be read: it only saves work. */
async function readSideFile(files: FileLayer, path: string): Promise<Uint8Array | undefined> {
  const [size] = await files.sizesOf([path])
  if (size === undefined || size > MAX_SIDE_FILE_BYTES) return undefined
  try {
    return await readSmallFile(files, path, size)
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}

/** Reads a file from front to back in large pieces. */
class Window {
  readonly #files: FileLayer
  readonly #file: number
  #offset = 0
  #bytes: Uint8Array = new Uint8Array()

  constructor(files: FileLayer, file: number) {
    this.#files = files
    this.#file = file
  }

  /** @returns a view that the next call may change; undefined if the file ends before. */
  async read(offset: number, length: number): Promise<Uint8Array | undefined> {
    const isThere =
      offset >= this.#offset && offset + length <= this.#offset + this.#bytes.byteLength
    if (!isThere) await this.#fillAround(offset, length)
    const at = offset - this.#offset
    return at + length <= this.#bytes.byteLength ? this.#bytes.subarray(at, at + length) : undefined
  }

  /** @returns the beginning of the file. */
  async readUpTo(length: number): Promise<Uint8Array> {
    await this.#fill(0, length)
    return this.#bytes
  }

  /** Reads more than is asked for, but not if that meets a bad part of the disk. */
  async #fillAround(offset: number, length: number): Promise<void> {
    try {
      await this.#fill(offset, Math.max(length, WINDOW_BYTES))
    } catch (error) {
      if (errorCode(error) === undefined) throw error
      await this.#fill(offset, length)
    }
  }

  async #fill(offset: number, length: number): Promise<void> {
    const bytes = new Uint8Array(length)
    const came = await readFully(this.#files, this.#file, bytes, offset)
    this.#offset = offset
    this.#bytes = bytes.subarray(0, came)
  }
}

function alignedUp(bytes: number): number {
  return Math.ceil(bytes / DELETION_BYTES) * DELETION_BYTES
}
