import { z } from 'zod'
import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { boundedText, exactBytes } from '../codec.ts'
import { MAX_PEER_ID_LENGTH } from '../peer-identity.ts'

/** Id of a chunk or page, a byte string. */
export const chunkIdSchema = exactBytes(CHUNK_ID_BYTES)
/** Id of a blob, in text form. */
export const blobIdSchema = z.string().regex(/^[0-9a-f]{64}$/, 'must be a blob id')
/** Peer id, in text form. */
export const peerIdSchema = boundedText(MAX_PEER_ID_LENGTH).min(1)

/** An answer or request without content. */
export const emptySchema = z.object({})

/** A list that was cut to what fits into one message. */
export interface Page<T> {
  readonly items: T[]
  /** True if there are more after these. */
  readonly isCut: boolean
}

/** Takes items from the front until they would be more than `maxBytes`, but at least one. */
export function takePage<T>(
  items: readonly T[],
  maxBytes: number,
  sizeOf: (item: T) => number
): Page<T> {
  const taken: T[] = []
  let bytes = 0
  for (const item of items) {
    bytes += sizeOf(item)
    if (bytes > maxBytes && taken.length > 0) break
    taken.push(item)
  }
  return { items: taken, isCut: taken.length < items.length }
}
