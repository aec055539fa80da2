import { expect, test } from '@jest/globals'
import { secureBytes } from '../../src/lib/random.ts'
import { signingOnce } from '../../src/peer/framed-noise.ts'
import { identityFromSeed } from '../../src/peer/peer-identity.ts'

test('a key signs the same bytes once, and other bytes anew', async () => {
  const { privateKey } = await identityFromSeed(secureBytes(32))
  const key = signingOnce(privateKey)
  const [first, other] = [Uint8Array.of(1, 2), Uint8Array.of(3)]

  const signatures = [await key.sign(first), await key.sign(first.slice()), await key.sign(other)]

  expect(signatures[1]).toBe(signatures[0])
  expect(await key.publicKey.verify(first, signatures[0] ?? first)).toBe(true)
  expect(await key.publicKey.verify(other, signatures[2] ?? other)).toBe(true)
  expect(key.publicKey).toBe(privateKey.publicKey)
})

test('what was signed may change afterwards', async () => {
  const { privateKey } = await identityFromSeed(secureBytes(32))
  const key = signingOnce(privateKey)
  const bytes = Uint8Array.of(1, 2)
  await key.sign(bytes)

  bytes[0] = 9
  const signature = await key.sign(bytes)

  expect(await key.publicKey.verify(Uint8Array.of(9, 2), signature)).toBe(true)
})
