import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { MalformedError } from '../../src/lib/errors.ts'
import { MetadataLimitError, UntrustedSignatureError } from '../../src/metadata/errors.ts'
import {
  decodeEnvelope,
  encodeEnvelope,
  MAX_SIGNED_PAYLOAD_BYTES,
  signingBytes
} from '../../src/metadata/signed.ts'
import { testSigner, trusting } from '../support/signing.ts'

const anyEnvelope = fc.record({
  payload: fc.uint8Array({ maxLength: 300 }),
  signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  certificate: fc.uint8Array({ maxLength: 100 })
})

test('gives an envelope back as it was encoded', () => {
  fc.assert(
    fc.property(anyEnvelope, (envelope) => {
      expect(decodeEnvelope(encodeEnvelope(envelope))).toEqual(envelope)
    })
  )
})

test('refuses any bytes that are not exactly one envelope', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const reencode = (): Uint8Array => encodeEnvelope(decodeEnvelope(bytes))
      try {
        expect(reencode()).toEqual(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError)
      }
    })
  )
})

test('refuses an envelope with bytes after it', () => {
  const encoded = encodeEnvelope(testSigner().sign('ticket', Uint8Array.of(1)))

  expect(() => decodeEnvelope(Uint8Array.of(...encoded, 0))).toThrow(MalformedError)
})

test('signs the purpose together with the payload', () => {
  const bytes = signingBytes('version-record', Uint8Array.of(65))

  expect(Buffer.from(bytes).toString('latin1')).toBe('blobswarm version-record 1\nA')
})

test('trusts what a known signer signed', () => {
  const signer = testSigner()

  const envelope = signer.sign('ticket', Uint8Array.of(1, 2, 3))

  expect(trusting(signer).verify('ticket', envelope)).toBe(signer.peerId)
})

test('does not trust a signature that was made for another purpose', () => {
  const signer = testSigner()
  const envelope = signer.sign('ticket', Uint8Array.of(1, 2, 3))

  expect(() => trusting(signer).verify('location', envelope)).toThrow(UntrustedSignatureError)
})

test('does not trust a payload that was changed', () => {
  const signer = testSigner()
  const envelope = { ...signer.sign('ticket', Uint8Array.of(1)), payload: Uint8Array.of(2) }

  expect(() => trusting(signer).verify('ticket', envelope)).toThrow(UntrustedSignatureError)
})

test('refuses to sign more than could be read back', () => {
  const payload = new Uint8Array(MAX_SIGNED_PAYLOAD_BYTES + 1)

  expect(() => testSigner().sign('nodes', payload)).toThrow(MetadataLimitError)
})
