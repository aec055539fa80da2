/** The part of a block that belongs to one chunk. */
export interface ChunkPiece {
  readonly index: number
  /** Offset in the chunk. */
  readonly at: number
  /** A view of the block. */
  readonly piece: Uint8Array
}

/**
 * Cuts a block on the grid of chunks.
 *
 * @yields its pieces in order.
 */
export function* piecesOf(
  start: number,
  bytes: Uint8Array,
  chunkBytes: number
): Generator<ChunkPiece, void> {
  for (let taken = 0; taken < bytes.byteLength; ) {
    const index = Math.floor((start + taken) / chunkBytes)
    const at = start + taken - index * chunkBytes
    const length = Math.min(chunkBytes - at, bytes.byteLength - taken)
    yield { index, at, piece: bytes.subarray(taken, taken + length) }
    taken += length
  }
}
