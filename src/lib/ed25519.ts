import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { concatBytes, toHex } from './bytes.ts'

/** Length of a raw Ed25519 public key, a private seed and half a signature (RFC 8032). */
export const ED25519_KEY_BYTES = 32
export const ED25519_SIGNATURE_BYTES = 64

// DER prefixes of RFC 8410: the raw key follows.
const PKCS8_PREFIX = Uint8Array.from(Buffer.from('302e020100300506032b657004220420', 'hex'))
const SPKI_PREFIX = Uint8Array.from(Buffer.from('302a300506032b6570032100', 'hex'))

/** A key pair that signs; the private half never leaves it. */
export class Ed25519Key {
  /** Raw public key, 32 bytes. */
  readonly publicKey: Uint8Array
  readonly #privateKey: KeyObject

  /** `seed` is the raw private key, 32 bytes. */
  constructor(seed: Uint8Array) {
    if (seed.byteLength !== ED25519_KEY_BYTES) {
      throw new RangeError(`an Ed25519 seed has 32 bytes, not ${seed.byteLength}`)
    }
    this.#privateKey = createPrivateKey({
      key: Buffer.from(concatBytes([PKCS8_PREFIX, seed])),
      format: 'der',
      type: 'pkcs8'
    })
    const spki = createPublicKey(this.#privateKey).export({ format: 'der', type: 'spki' })
    this.publicKey = new Uint8Array(spki.subarray(SPKI_PREFIX.byteLength))
  }

  /** Signs `bytes`; 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, bytes, this.#privateKey))
  }
}

/** Tells whether `signature` over `bytes` was made with the key; false for any malformed input. */
export function verifyEd25519(
  publicKey: Uint8Array,
  bytes: Uint8Array,
  signature: Uint8Array
): boolean {
  if (publicKey.byteLength !== ED25519_KEY_BYTES) return false
  if (signature.byteLength !== ED25519_SIGNATURE_BYTES) return false
  try {
    return verify(null, bytes, publicKeyOf(publicKey), signature)
  } catch {
    return false // not a point of the curve
  }
}

/** Keys seen of late: making one costs more than a verification, and a cluster has few signers. */
const knownKeys = new Map<string, KeyObject>()
const MAX_KNOWN_KEYS = 256

function publicKeyOf(raw: Uint8Array): KeyObject {
  const name = toHex(raw)
  const known = knownKeys.get(name)
  if (known !== undefined) return known
  const key = createPublicKey({
    key: Buffer.from(concatBytes([SPKI_PREFIX, raw])),
    format: 'der',
    type: 'spki'
  })
  if (knownKeys.size >= MAX_KNOWN_KEYS) knownKeys.clear()
  knownKeys.set(name, key)
  return key
}
