import { peerIdFromMultihash } from '@libp2p/peer-id'
import { create as createDigest } from 'multiformats/hashes/digest'

const IDENTITY = 0
// Protobuf of an Ed25519 public key: type 1, then 32 bytes.
const KEY_HEAD = [8, 1, 18, 32]

/** Peer ids as agents have them, the same ones each time; nobody has their keys. */
export function peerIds(count: number): string[] {
  return Array.from({ length: count }, (_, at) => {
    const key = new Uint8Array(36).fill(at % 251)
    key.set(KEY_HEAD)
    new DataView(key.buffer).setUint32(8, at + 1)
    return peerIdFromMultihash(createDigest(IDENTITY, key)).toString()
  })
}
