import type { Signer, Verifier } from '../../src/metadata/signature-types.ts'

/** Signs nothing: the certificate is the peer's name. For tests that make thousands of proofs. */
export function plainSigner(peerId: string): Signer {
  const certificate = Buffer.from(peerId)
  return {
    peerId,
    sign: (_purpose, payload) => ({ payload, certificate, signature: new Uint8Array(64) })
  }
}

/** Believes every certificate of `plainSigner`. */
export const gullible: Verifier = {
  verify: (_purpose, { certificate }) => Buffer.from(certificate).toString()
}
