import { expect, test } from '@jest/globals'
import { fromHex, toHex } from '../../src/lib/bytes.ts'
import { Ed25519Key, verifyEd25519 } from '../../src/lib/ed25519.ts'

// RFC 8032, section 7.1, test 2.
const SEED = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb')
const PUBLIC = '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'
const SIGNATURE =
  '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
  '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00'
const MESSAGE = Uint8Array.of(0x72)

test('signs as RFC 8032 does', () => {
  const key = new Ed25519Key(SEED)

  expect(toHex(key.publicKey)).toBe(PUBLIC)
  expect(toHex(key.sign(MESSAGE))).toBe(SIGNATURE)
})

test('accepts a signature again and again, and never for other bytes, keys or lengths', () => {
  const publicKey = fromHex(PUBLIC)
  const signature = fromHex(SIGNATURE)
  const otherKey = new Ed25519Key(new Uint8Array(32)).publicKey

  expect(verifyEd25519(publicKey, MESSAGE, signature)).toBe(true)
  expect(verifyEd25519(publicKey, MESSAGE, signature)).toBe(true)
  expect(verifyEd25519(publicKey, Uint8Array.of(0x73), signature)).toBe(false)
  expect(verifyEd25519(otherKey, MESSAGE, signature)).toBe(false)
  expect(verifyEd25519(publicKey, MESSAGE, signature.subarray(1))).toBe(false)
  expect(verifyEd25519(publicKey.subarray(1), MESSAGE, signature)).toBe(false)
  expect(verifyEd25519(new Uint8Array(32).fill(0xff), MESSAGE, signature)).toBe(false)
})
