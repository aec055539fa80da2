import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { MalformedError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'

/** Most characters of a peer id in text form; Ed25519 ones have 52. */
export const MAX_PEER_ID_LENGTH = 64

/** Who an agent is on the network: the same for the same seed. */
export interface PeerIdentity {
  /** libp2p peer id in text form; the public key is part of it. */
  readonly peerId: string
  readonly privateKey: Ed25519PrivateKey
}

/** Makes the identity of a 32-byte Ed25519 seed. */
export async function identityFromSeed(seed: Uint8Array): Promise<PeerIdentity> {
  const privateKey = await generateKeyPairFromSeed('Ed25519', seed)
  return { privateKey, peerId: peerIdFromPrivateKey(privateKey).toString() }
}

/** Reads the Ed25519 public key, 32 bytes, out of a peer id. @throws {MalformedError} if there is none. */
export function publicKeyOfPeer(peerId: string): Uint8Array {
  const { publicKey, type } = parsePeerId(peerId)
  if (type !== 'Ed25519') throw new MalformedError('peer id', `of type ${type}, not Ed25519`)
  return publicKey.raw
}

/** Parses a peer id in its usual text form. @throws {MalformedError} */
export function parsePeerId(peerId: string) {
  if (peerId.length > MAX_PEER_ID_LENGTH) throw new MalformedError('peer id', 'too long')
  try {
    return peerIdFromString(peerId)
  } catch (error) {
    throw new MalformedError('peer id', JSON.stringify(peerId), { cause: toError(error) })
  }
}
