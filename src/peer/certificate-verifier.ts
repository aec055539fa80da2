import { blake3 } from '../lib/blake3.ts'
import { asBuffer, concatBytes, toHex } from '../lib/bytes.ts'
import { verifyEd25519 } from '../lib/ed25519.ts'
import { toError } from '../lib/to-error.ts'
import { UntrustedSignatureError } from '../metadata/errors.ts'
import type { SignedEnvelope, SignedPurpose, Verifier } from '../metadata/signature-types.ts'
import { signingBytes } from '../metadata/signed.ts'
import type { Membership } from './membership.ts'
import { revokedText } from './membership.ts'
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
  /** Signatures that were found right and are remembered, of 32 bytes each. @default 8192 */
  maxKnownSignatures?: number
  /** Knows who is no member any more. @default nobody was revoked, and nothing expires */
  standing?: Pick<Membership, 'revocationOf' | 'objectionTo'>
}

/** Signatures that are for now only: what deletes needs a signer who is still a member. */
const FOR_NOW: ReadonlySet<SignedPurpose> = new Set(['retirement', 'surplus'])

/**
 * Trusts what a member signed whose certificate gives it the role for it. That the certificate has
 * expired or was revoked after it was used to sign does not spoil what it signed: a version record
 * outlives its manager. Orders to delete need a signer who is a member now, and what names the time at
 * which it was signed one who was a member then.
 * Signatures that were right once are not computed again: a ticket comes with each batch of nodes.
 */
export class CertificateVerifier implements Verifier {
  readonly #clusterId: Uint8Array
  readonly #maxKnownSigners: number
  readonly #known = new Map<string, KnownSigner>()
  readonly #maxKnownSignatures: number
  readonly #right = new Set<string>()
  readonly #standing: CertificateVerifierOptions['standing']

  constructor(clusterId: Uint8Array, options: CertificateVerifierOptions = {}) {
    const { maxKnownSigners = 1024, maxKnownSignatures = 8192, standing } = options
    this.#clusterId = clusterId
    this.#maxKnownSigners = maxKnownSigners
    this.#maxKnownSignatures = maxKnownSignatures
    this.#standing = standing
  }

  verify(purpose: SignedPurpose, envelope: SignedEnvelope, signedMs?: number): string {
    const { member, publicKey } = this.#signerOf(envelope.certificate)
    if (!SIGNERS[purpose](member)) {
      throw new UntrustedSignatureError(`${member.peerId} has no role to sign a ${purpose}`)
    }
    this.#checkStanding(purpose, member, signedMs)
    const { payload, signature } = envelope
    const name = signatureName(purpose, envelope)
    if (this.#right.has(name)) return member.peerId
    if (!verifyEd25519(publicKey, signingBytes(purpose, payload), signature)) {
      throw new UntrustedSignatureError(`not the signature of ${member.peerId} on a ${purpose}`)
    }
    this.#remember(name)
    return member.peerId
  }

  /** Takes a signature that this agent has just made for right. Roles are checked all the same. */
  rememberOwn(purpose: SignedPurpose, envelope: SignedEnvelope): void {
    this.#remember(signatureName(purpose, envelope))
  }

  #checkStanding(purpose: SignedPurpose, member: Member, signedMs: number | undefined): void {
    const standing = this.#standing
    if (standing === undefined) return
    const objection = FOR_NOW.has(purpose) ? standing.objectionTo(member) : undefined
    if (objection !== undefined) throw new UntrustedSignatureError(objection.message)
    const revocation = standing.revocationOf(member.peerId, member.issuedMs)
    if (revocation === undefined || signedMs === undefined || signedMs <= revocation.atMs) return
    const text = `a ${purpose} by ${member.peerId} of a later time: ${revokedText(revocation)}`
    throw new UntrustedSignatureError(text)
  }

  #remember(name: string): void {
    if (this.#right.size >= this.#maxKnownSignatures) {
      const [oldest] = this.#right
      if (oldest !== undefined) this.#right.delete(oldest)
    }
    this.#right.add(name)
  }

  #signerOf(certificate: Uint8Array): KnownSigner {
    const key = toHex(digestOf(certificate))
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

/** By everything that a signature was checked over and against, so that nothing else has this name. */
function signatureName(purpose: SignedPurpose, envelope: SignedEnvelope): string {
  const { payload, signature, certificate } = envelope
  // Of fixed length but for the payload, which is last.
  const parts = [digestOf(certificate), signature, signingBytes(purpose, payload)]
  return asBuffer(blake3(concatBytes(parts))).toString('latin1')
}

/** Digests of certificates that are in use, of which an agent's own stands beside all that it signs. */
const digests = new WeakMap<Uint8Array, Uint8Array>()

function digestOf(certificate: Uint8Array): Uint8Array {
  const known = digests.get(certificate)
  if (known !== undefined) return known
  const digest = blake3(certificate)
  digests.set(certificate, digest)
  return digest
}

const SIGNERS: Readonly<Record<SignedPurpose, (member: Member) => boolean>> = {
  ticket: ({ roles }) => roles.has('versionManager'),
  'version-record': ({ roles }) => roles.has('versionManager'),
  location: ({ roles }) => roles.has('versionManager') || roles.has('providerManager'),
  path: ({ roles }) => roles.has('versionManager'),
  nodes: ({ rights }) => rights.has('write'),
  retirement: ({ roles }) => roles.has('versionManager'),
  surplus: ({ roles }) => roles.has('providerManager')
}
