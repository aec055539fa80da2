import { blake3 } from '../lib/blake3.ts'
import { ByteWriter, toHex } from '../lib/bytes.ts'
import type { Random } from '../lib/random.ts'
import type { BlobId } from './types.ts'

const NONCE_WORDS = 8

/** Makes an id that no blob of any cluster has. */
export function newBlobId(clusterId: Uint8Array, nowMs: number, random: Random): BlobId {
  const writer = new ByteWriter().bytes(clusterId).u64(nowMs)
  for (let word = 0; word < NONCE_WORDS; word++) writer.u32(Math.floor(random() * 2 ** 32))
  return toHex(blake3(writer.finish()))
}
