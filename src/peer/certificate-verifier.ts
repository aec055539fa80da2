import { blake3 } from '../lib/blake3.ts'
import { toHex } from '../lib/bytes.ts'
import { verifyEd25519 } from '../lib/ed25519.ts'
import { toError } from '../lib/to-error.ts'
import { UntrustedSignatureError } from '../metadata/errors.ts'
import { signingBytes } from '../metadata/signed.ts'
import type { SignedEnvelope, SignedPurpose, Verifier } from '../metadata/types.ts'
import { memberOf, verifyCertificate } from './membership-certificate.ts'
import { publicKeyOfPeer } from './peer-identity.ts'
import type { Member } from './types.ts'

interface KnownSigner {
  readonly member: Member
  readonly publicKey: Uint8Array
}

export interface CertificateVerifierOptions {
  /** Verified certificates that are remembered. @default 1024 */
  maxKnownSigners?: number
}

/**
 * Trusts what a member signed whose certificate gives it the role for it. A certificate that expired
 * after it was used to sign does not spoil what it signed: a version record outlives its manager.
 */
export class CertificateVerifier implements Verifier {
  readonly #clusterId: Uint8Array
  readonly #maxKnownSigners: number
  readonly #known = new Map<string, KnownSigner>()

  constructor(clusterId: Uint8Array, options: CertificateVerifierOptions = {}) {
    const { maxKnownSigners = 1024 } = options
    this.#clusterId = clusterId
    this.#maxKnownSigners = maxKnownSigners
  }

  verify(purpose: SignedPurpose, envelope: SignedEnvelope): string {
    const { member, publicKey } = this.#signerOf(envelope.certificate)
    if (!SIGNERS[purpose](member)) {
      throw new UntrustedSignatureError(`${member.peerId} has no role to sign a ${purpose}`)
    }
    const { payload, signature } = envelope
    if (!verifyEd25519(publicKey, signingBytes(purpose, payload), signature)) {
      throw new UntrustedSignatureError(`not the signature of ${member.peerId} on a ${purpose}`)
    }
    return member.peerId
  }

  #signerOf(certificate: Uint8Array): KnownSigner {
    const key = toHex(blake3(certificate))
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const signer = this.#verifySigner(certificate)
    if (this.#known.size >= this.#maxKnownSigners) {
      const [oldest] = this.#known.keys()
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    this.#known.set(key, signer)
    return signer
  }

  #verifySigner(certificate: Uint8Array): KnownSigner {
    try {
      const member = memberOf(verifyCertificate(this.#clusterId, certificate))
      return { member, publicKey: publicKeyOfPeer(member.peerId) }
    } catch (error) {
      throw new UntrustedSignatureError(toError(error).message)
    }
  }
}

const SIGNERS: Readonly<Record<SignedPurpose, (member: Member) => boolean>> = {
  ticket: ({ roles }) => roles.has('versionManager'),
  'version-record': ({ roles }) => roles.has('versionManager'),
  location: ({ roles }) => roles.has('versionManager'),
  nodes: ({ rights }) => rights.has('write')
}
