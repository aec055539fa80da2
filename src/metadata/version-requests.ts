import { chunkId } from '../chunks/chunk-id.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { MetadataLimitError, SizeConflictError, TicketConflictError } from './errors.ts'
import { areTicketRanges, chunksOf, joinRanges, MAX_TICKET_RANGES } from './geometry.ts'
import type { Page, PageStore } from './store-types.ts'
import type { TicketRequest } from './ticket-types.ts'
import type { ChunkRange, Version } from './types.ts'
import { MAX_NOTE_BYTES } from './version-record.ts'

const MAX_WRITER_BYTES = 128

/**
 * Checks what a ticket request says, apart from the blob's state.
 *
 * @throws {MetadataLimitError | RangeError}
 */
export function checkRequest({ writer, endBytes, note = '' }: TicketRequest): void {
  checkByteCount(endBytes)
  if (writer === '' || Buffer.byteLength(writer) > MAX_WRITER_BYTES) {
    throw new RangeError('a writer without a name, or with too long a one')
  }
  const noteBytes = Buffer.byteLength(note)
  if (noteBytes > MAX_NOTE_BYTES) {
    throw new MetadataLimitError('bytes of a note', noteBytes, MAX_NOTE_BYTES)
  }
  if (!note.isWellFormed()) throw new RangeError('a note that is not Unicode')
}

/** Longest leaf list that travels in a ticket request, in pages and their bytes together. */
export const MAX_LEAF_PAGES = 8
export const MAX_LEAF_PAGE_BYTES = 16 * 1024

/**
 * Stores the pages that a ticket request brings along, if any, under what they hash to.
 *
 * @throws {MetadataLimitError}
 */
export async function storeLeafPages(
  request: TicketRequest,
  metadata: Pick<PageStore, 'putPages'>,
  options: AbortOptions
): Promise<void> {
  const pages = carriedPages(request)
  if (pages.length > 0) await metadata.putPages(pages, options)
}

/** The pages that a request brings along, under what they hash to. @throws {MetadataLimitError} */
export function carriedPages({ leafPages = [] }: Pick<TicketRequest, 'leafPages'>): Page[] {
  const { length: pageCount } = leafPages
  if (pageCount > MAX_LEAF_PAGES) {
    throw new MetadataLimitError('pages of a leaf list', pageCount, MAX_LEAF_PAGES)
  }
  const byteCount = leafPages.reduce((sum, { byteLength }) => sum + byteLength, 0)
  if (byteCount > MAX_LEAF_PAGE_BYTES) {
    throw new MetadataLimitError('bytes of a leaf list', byteCount, MAX_LEAF_PAGE_BYTES)
  }
  return leafPages.map((bytes) => ({ id: chunkId(bytes), bytes }))
}

/** Checks the conditions of a request. @throws {TicketConflictError | SizeConflictError} */
export function checkConditions(
  { ifNewest, ifBytes }: Pick<TicketRequest, 'ifNewest' | 'ifBytes'>,
  newest: { readonly version: Version; readonly bytes: number }
): void {
  if (ifNewest !== undefined && ifNewest !== newest.version) {
    throw new TicketConflictError(
      `version ${ifNewest} was expected to be the newest, ${newest.version} is`
    )
  }
  if (ifBytes !== undefined && ifBytes !== newest.bytes) {
    throw new SizeConflictError(ifBytes, newest.bytes)
  }
}

/**
 * Gives the ranges that the ticket will own: those asked for, or everything up to the end if it
 * truncates.
 *
 * @throws {RangeError | MetadataLimitError} if they are not sorted, too many or past the end.
 */
export function rangesOf(request: TicketRequest, chunkBytes: number): ChunkRange[] {
  const { ranges, endBytes, truncates } = request
  const end = chunksOf(endBytes, chunkBytes)
  if (ranges.length > MAX_TICKET_RANGES) {
    throw new MetadataLimitError('ranges of a write', ranges.length, MAX_TICKET_RANGES)
  }
  const joined = joinRanges(ranges)
  const isSorted = ranges.every(
    ({ start, end: rangeEnd }, at) => start >= (ranges[at - 1]?.end ?? 0) && rangeEnd > start
  )
  if (!isSorted || !areTicketRanges(joined, end)) {
    throw new RangeError(`ranges out of order, or past the end at chunk ${end}`)
  }
  if (!truncates) return joined
  return end === 0 ? [] : [{ start: 0, end }]
}

/** Checks a size in bytes. @throws {RangeError} if it is negative or not a safe integer. */
export function checkByteCount(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`a size of ${bytes} bytes`)
  return bytes
}
