import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'

/**
 * Shards of a large image's announcements. Each holds about 1,000 of 65,000 agents, and servers keep
 * no more than that for one key.
 */
export const SHARDS = 64

/** One of so many agents announces itself at the image's own key although that is full. */
const SAMPLED = 8

const RAW_CODEC = 0x55
const SHA2_256_CODE = 0x12

/**
 * Keys of the DHT under which agents announce an image. The DHT takes SHA-256 multihashes only. Their
 * last bit is 0; with a last bit of 1, an announcement takes back the one under the key with a 0.
 *
 * ```text
 * key          SHA-256("blobswarm image\n" | 32 manifest root), last bit 0
 * shard key    SHA-256("blobswarm image shard\n" | 32 manifest root | u8 shard), last bit 0
 * ```
 */
export function imageKey(manifestRoot: Uint8Array): CID {
  return keyOf(createHash('sha256').update('blobswarm image\n').update(manifestRoot).digest())
}

/** The key of one of an image's `SHARDS` shards. */
export function shardKey(manifestRoot: Uint8Array, shard: number): CID {
  const hash = createHash('sha256').update('blobswarm image shard\n').update(manifestRoot)
  return keyOf(hash.update(Uint8Array.of(shard)).digest())
}

/** The key that takes an announcement back. */
export function withdrawalKey(key: CID): CID {
  return keyOf(key.multihash.digest, 1)
}

/** Where an agent announces a large image: in its shard, and a few at the image's own key as well. */
export function shardOf(
  manifestRoot: Uint8Array,
  peerId: string
): { readonly shard: number; readonly isSampled: boolean } {
  const hash = createHash('sha256').update(manifestRoot).update(peerId).digest()
  return { shard: hash.readUInt8(0) % SHARDS, isSampled: hash.readUInt8(1) % SAMPLED === 0 }
}

function keyOf(hash: Uint8Array, lastBit = 0): CID {
  const digest = new Uint8Array(hash)
  const last = digest.length - 1
  digest[last] = ((digest[last] ?? 0) & 0xfe) | lastBit
  return CID.createV1(RAW_CODEC, createDigest(SHA2_256_CODE, digest))
}
