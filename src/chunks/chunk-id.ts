import { BLAKE3_BYTES, BLAKE3_MULTIHASH_CODE, blake3, blake3Implementation } from '../lib/blake3.ts'
import { asBuffer, equalBytes, toHex } from '../lib/bytes.ts'
import { ChunkMismatchError } from './errors.ts'
import type { ChunkId } from './types.ts'

/** Length of a chunk id. */
export const CHUNK_ID_BYTES = BLAKE3_BYTES

/** Multihash code of the algorithm behind chunk ids, for records that name it. */
export const HASH_CODE = BLAKE3_MULTIHASH_CODE

/** Names a chunk of zeros of any length. Compare with `isZeroChunk`; never change it. */
export const ZERO_CHUNK_ID: ChunkId = new Uint8Array(CHUNK_ID_BYTES)

/** Which code hashes chunks; `portable` means that uploads and pulls are slow on this machine. */
export const hashImplementation: 'native' | 'portable' = blake3Implementation

/**
 * Computes the id of a chunk, page or leaf list from its bytes. It does not look for zeros: bytes
 * that are all zero have ZERO_CHUNK_ID by agreement, and whoever cuts chunks asks `isAllZero`
 * first.
 */
export function chunkId(bytes: Uint8Array): ChunkId {
  return blake3(bytes)
}

/** Tells whether the id is the one of zeros. */
export function isZeroChunk(id: ChunkId): boolean {
  return id[0] === 0 && equalBytes(id, ZERO_CHUNK_ID)
}

/** Gives the id as a short string (one character a byte) for use as a Map key, not for people. */
export function chunkKey(id: ChunkId): string {
  return asBuffer(id).toString('latin1', 0, CHUNK_ID_BYTES)
}

/** Turns a map key back into the id. */
export function chunkIdOfKey(key: string): ChunkId {
  return new Uint8Array(Buffer.from(key, 'latin1'))
}

/** Checks the length of an id. @throws {RangeError} if it is not 32 bytes. */
export function checkChunkId(id: ChunkId): void {
  if (id.byteLength !== CHUNK_ID_BYTES) {
    throw new RangeError(`a chunk id has ${CHUNK_ID_BYTES} bytes, not ${id.byteLength}`)
  }
}

/** Checks that bytes are the chunk that the id names. @throws {ChunkMismatchError} if not. */
export function verifyChunk(id: ChunkId, bytes: Uint8Array): void {
  const actual = chunkId(bytes)
  if (!asBuffer(id).equals(actual)) throw new ChunkMismatchError(toHex(id), toHex(actual))
}
