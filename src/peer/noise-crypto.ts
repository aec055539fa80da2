import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject
} from 'node:crypto'
import type { ICryptoInterface } from '@chainsafe/libp2p-noise'
import { defaultCrypto } from '@chainsafe/libp2p-noise/crypto'
import { Uint8ArrayList } from 'uint8arraylist'
import { KIB } from '../lib/bytes.ts'
import { markDisposable } from './disposable-memory.ts'

type Plain = Parameters<ICryptoInterface['chaCha20Poly1305Encrypt']>[0]
type Key = Parameters<ICryptoInterface['generateX25519SharedKey']>[0]
type Sealed = ReturnType<ICryptoInterface['chaCha20Poly1305Encrypt']>

const TAG_BYTES = 16

/** Shorter messages cost less in the library's WebAssembly than the making of a cipher. */
const MIN_NATIVE_BYTES = 640

/** Parts of a message up to this length are copied together: a call of the cipher costs more. */
const MAX_JOINED_BYTES = 4 * KIB

/**
 * Noise's cryptography as the library does it, but for long messages the key is handed to node:crypto as an
 * object that is made once, which costs a tenth of handing over its bytes again for each message. What is
 * returned is never a view of what was given: ciphertext may come in a buffer that is used again.
 * For the handshake, private keys stay objects of node:crypto from the beginning (to make one of bytes costs
 * another multiplication on the curve, for each of three secrets), and its keys are derived natively.
 */
export const noiseCrypto: ICryptoInterface = {
  ...defaultCrypto,
  generateX25519KeyPair: () => generateKeyPair(),
  generateX25519SharedKey: (privateKey, publicKey) => sharedKey(privateKey, publicKey),
  getHKDF: (chainingKey, secret) => deriveKeys(chainingKey, secret),
  chaCha20Poly1305Encrypt: (plaintext, nonce, ad, key) =>
    plaintext.byteLength < MIN_NATIVE_BYTES
      ? defaultCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key)
      : encrypt(plaintext, nonce, ad, keyObjectOf(key)),
  // The library's own takes a place for the result, which would be that of the ciphertext.
  chaCha20Poly1305Decrypt: (ciphertext, nonce, ad, key) =>
    ciphertext.byteLength < MIN_NATIVE_BYTES
      ? defaultCrypto.chaCha20Poly1305Decrypt(ciphertext, nonce, ad, key)
      : decrypt(ciphertext.subarray(), nonce, ad, keyObjectOf(key))
}

/** Of a raw key, by RFC 8410. */
const X25519_SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex')

const NOTHING = new Uint8Array()

// The bytes of a private key are never wanted: the array that stands for it leads to the key.
const privateKeys = new WeakMap<object, KeyObject>()

function generateKeyPair(): ReturnType<ICryptoInterface['generateX25519KeyPair']> {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  const handle = new Uint8Array()
  privateKeys.set(handle, privateKey)
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  return { publicKey: spki.subarray(X25519_SPKI_PREFIX.byteLength), privateKey: handle }
}

function sharedKey(handle: Key, raw: Key): Uint8Array {
  const privateKey = privateKeys.get(handle)
  if (privateKey === undefined) return defaultCrypto.generateX25519SharedKey(handle, raw)
  const key = Buffer.concat([X25519_SPKI_PREFIX, raw.subarray()])
  const publicKey = createPublicKey({ key, type: 'spki', format: 'der' })
  return diffieHellman({ privateKey, publicKey })
}

/** HKDF of RFC 5869 with SHA-256, and three keys of it as Noise §4.3 has them. */
function deriveKeys(
  chainingKey: Uint8Array,
  secret: Uint8Array
): [Uint8Array, Uint8Array, Uint8Array] {
  const keys = new Uint8Array(hkdfSync('sha256', secret, chainingKey, NOTHING, 96))
  return [keys.subarray(0, 32), keys.subarray(32, 64), keys.subarray(64)]
}

// Noise keeps one array for the key of each direction as long as the connection lives, and never changes it.
const keyObjects = new WeakMap<Uint8Array, KeyObject>()

function keyObjectOf(key: Uint8Array): KeyObject {
  const known = keyObjects.get(key)
  if (known !== undefined) return known
  const made = createSecretKey(key)
  keyObjects.set(key, made)
  return made
}

function encrypt(plaintext: Plain, nonce: Uint8Array, ad: Uint8Array, key: KeyObject): Sealed {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, OPTIONS)
  if (ad.byteLength > 0) cipher.setAAD(ad, { plaintextLength: plaintext.byteLength })
  const parts: Uint8Array[] = []
  for (const part of joinShort(plaintext)) {
    const sealed = cipher.update(part)
    parts.push(part.byteLength > MAX_JOINED_BYTES ? markDisposable(sealed) : sealed)
  }
  cipher.final()
  parts.push(cipher.getAuthTag())
  // The library has a version of its own of the list.
  return new Uint8ArrayList(...parts) as unknown as Sealed
}

function decrypt(bytes: Uint8Array, nonce: Uint8Array, ad: Uint8Array, key: KeyObject): Uint8Array {
  const end = bytes.byteLength - TAG_BYTES
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, OPTIONS)
  if (ad.byteLength > 0) decipher.setAAD(ad, { plaintextLength: end })
  decipher.setAuthTag(bytes.subarray(end))
  const plaintext = decipher.update(bytes.subarray(0, end))
  decipher.final()
  return markDisposable(plaintext)
}

const OPTIONS = { authTagLength: TAG_BYTES }

// The cipher has read it when `update` returns.
const joined = Buffer.allocUnsafeSlow(MAX_JOINED_BYTES)

/**
 * Goes through the bytes in order.
 *
 * @yields parts, those that are short together; each is good until the next one.
 */
function* joinShort(bytes: Plain): Generator<Uint8Array> {
  if (bytes instanceof Uint8Array) {
    yield bytes
    return
  }
  let length = 0
  for (const part of bytes) {
    if (length + part.byteLength > MAX_JOINED_BYTES) {
      if (length > 0) yield joined.subarray(0, length)
      length = 0
    }
    if (part.byteLength > MAX_JOINED_BYTES) {
      yield part
      continue
    }
    joined.set(part, length)
    length += part.byteLength
  }
  if (length > 0) yield joined.subarray(0, length)
}
