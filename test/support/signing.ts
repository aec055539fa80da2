import { ED25519_KEY_BYTES, Ed25519Key, verifyEd25519 } from '../../src/lib/ed25519.ts'
import { UntrustedSignatureError } from '../../src/metadata/errors.ts'
import type { Signer, Verifier } from '../../src/metadata/signature-types.ts'
import { LocalSigner, signingBytes } from '../../src/metadata/signed.ts'

export interface TestSigner extends Signer {
  /** Raw public key, which is also what stands in place of a certificate. */
  readonly publicKey: Uint8Array
}

/** Makes a signer with a key of its own; the same seed (1 to 255) gives the same key. */
export function testSigner(seed = 1): TestSigner {
  const key = new Ed25519Key(new Uint8Array(ED25519_KEY_BYTES).fill(seed))
  const peerId = peerIdOf(key.publicKey)
  const certificate = (): Uint8Array => key.publicKey
  const signer = new LocalSigner({ key, peerId, certificate })
  return {
    peerId,
    publicKey: key.publicKey,
    sign: (purpose, payload) => signer.sign(purpose, payload)
  }
}

/** Makes a verifier that trusts these signers for every purpose, and nobody else. */
export function trusting(...signers: readonly TestSigner[]): Verifier {
  const trusted = new Set(signers.map(({ peerId }) => peerId))
  return {
    verify: (purpose, { payload, signature, certificate }) => {
      const peerId = peerIdOf(certificate)
      if (!trusted.has(peerId)) throw new UntrustedSignatureError(`${peerId} is not known`)
      if (!verifyEd25519(certificate, signingBytes(purpose, payload), signature)) {
        throw new UntrustedSignatureError(`not a ${purpose} that ${peerId} signed`)
      }
      return peerId
    }
  }
}

function peerIdOf(publicKey: Uint8Array): string {
  return `peer-${Buffer.from(publicKey).toString('hex').slice(0, 16)}`
}
