import { randomBytes } from 'node:crypto'
import { defaultCrypto } from '@chainsafe/libp2p-noise/crypto'
import { expect, test } from '@jest/globals'
import { Uint8ArrayList } from 'uint8arraylist'
import { toHex } from '../../src/lib/bytes.ts'
import { noiseCrypto } from '../../src/peer/noise-crypto.ts'

const key = new Uint8Array(randomBytes(32))
const nonce = new Uint8Array(12).fill(3)
const noData = new Uint8Array()
type Plain = Parameters<typeof noiseCrypto.chaCha20Poly1305Encrypt>[0]

const LENGTHS = [0, 1, 60, 639, 640, 1199, 1200, 4096, 4097, 65_519]

test.each(LENGTHS)(
  'ciphers %d bytes as the library does, and deciphers what it ciphered',
  (length) => {
    const plain = new Uint8Array(randomBytes(length))

    const ours = noiseCrypto.chaCha20Poly1305Encrypt(plain, nonce, noData, key).slice()
    const theirs = defaultCrypto.chaCha20Poly1305Encrypt(plain, nonce, noData, key).slice()

    expect(Buffer.compare(ours, theirs)).toBe(0)
    expect(
      Buffer.compare(noiseCrypto.chaCha20Poly1305Decrypt(theirs, nonce, noData, key).slice(), plain)
    ).toBe(0)
  }
)

test('ciphers pieces of any length as if they were one', () => {
  const pieces = [12, 1, 4096, 3, 5000, 2000, 2100, 4097, 9].map(
    (n) => new Uint8Array(randomBytes(n))
  )
  const list = new Uint8ArrayList(...pieces)

  const sealed = noiseCrypto.chaCha20Poly1305Encrypt(list as unknown as Plain, nonce, noData, key)

  const opened = noiseCrypto.chaCha20Poly1305Decrypt(sealed.slice(), nonce, noData, key)
  expect(Buffer.compare(opened.slice(), list.slice())).toBe(0)
})

test('authenticates data that is not ciphered, which belongs to the handshake', () => {
  const plain = new Uint8Array(randomBytes(2000))
  const sealed = noiseCrypto.chaCha20Poly1305Encrypt(plain, nonce, key, key).slice()

  const opened = defaultCrypto.chaCha20Poly1305Decrypt(sealed, nonce, key, key)

  expect(Buffer.compare(opened.slice(), plain)).toBe(0)
  expect(() => noiseCrypto.chaCha20Poly1305Decrypt(sealed, nonce, noData, key)).toThrow()
})

test.each([40, 1000, 65_519])('refuses %d bytes of which one was changed', (length) => {
  const plain = new Uint8Array(randomBytes(length))
  const sealed = noiseCrypto.chaCha20Poly1305Encrypt(plain, nonce, noData, key).slice()
  sealed[length >> 1] = (sealed[length >> 1] ?? 0) ^ 1

  expect(() => noiseCrypto.chaCha20Poly1305Decrypt(sealed, nonce, noData, key)).toThrow()
})

test.each([40, 1000, 65_519])('gives %d bytes in memory of their own', (length) => {
  const plain = new Uint8Array(randomBytes(length))
  const sealed = noiseCrypto.chaCha20Poly1305Encrypt(plain, nonce, noData, key).slice()

  const opened = noiseCrypto.chaCha20Poly1305Decrypt(sealed, nonce, noData, key, sealed).slice()
  sealed.fill(0)

  expect(Buffer.compare(opened, plain)).toBe(0)
})

test.each([0, 32])('derives three keys of a secret of %d bytes as the library does', (length) => {
  const secret = new Uint8Array(randomBytes(length))

  const derived = noiseCrypto.getHKDF(key, secret).map(toHex)

  expect(derived).toEqual(defaultCrypto.getHKDF(key, secret).map(toHex))
})

test('agrees with the library on a shared secret, whichever end made which key', () => {
  const ours = noiseCrypto.generateX25519KeyPair()
  const theirs = defaultCrypto.generateX25519KeyPair()

  const secret = noiseCrypto.generateX25519SharedKey(ours.privateKey, theirs.publicKey)

  const other = defaultCrypto.generateX25519SharedKey(theirs.privateKey, ours.publicKey)
  expect(toHex(secret)).toBe(toHex(other))
  expect(noiseCrypto.generateX25519SharedKey(theirs.privateKey, ours.publicKey)).toEqual(secret)
})
