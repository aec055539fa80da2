import type { Clock } from '../lib/clock.ts'
import { Ed25519Key } from '../lib/ed25519.ts'
import { secureBytes } from '../lib/random.ts'
import { NotMemberError } from './errors.ts'
import {
  type MembershipCertificate,
  renewableUntilMs,
  SERIAL_BYTES,
  signCertificate,
  verifyCertificate
} from './membership-certificate.ts'
import { type MetadataProvider, signMetadataList } from './metadata-list.ts'
import { type Revocation, signRevocationList } from './revocation-list.ts'
import type { Right, Role } from './types.ts'

/** What somebody is made when admitted to the cluster. */
export interface MembershipGrant {
  readonly roles: readonly Role[]
  readonly rights: readonly Right[]
}

export interface AuthorityOptions {
  /** How long a certificate holds, in milliseconds. @default 30 days */
  certificateMs?: number
}

/** A certificate this young, as a part of its lifetime, is not replaced. */
const YOUNG = 0.1

/**
 * Holds the key of a cluster: signs membership certificates, metadata lists and revocation lists,
 * nothing else.
 */
export class Authority {
  /** Public key, 32 bytes, the name of the cluster. */
  readonly clusterId: Uint8Array
  readonly #key: Ed25519Key
  readonly #clock: Clock
  readonly #certificateMs: number

  /** `seed` is the authority's private key, 32 bytes. */
  constructor(seed: Uint8Array, clock: Clock, options: AuthorityOptions = {}) {
    const { certificateMs = 30 * 24 * 3_600_000 } = options
    if (!(certificateMs > 0)) throw new RangeError(`certificates of ${certificateMs} ms`)
    this.#key = new Ed25519Key(seed)
    this.clusterId = this.#key.publicKey
    this.#clock = clock
    this.#certificateMs = certificateMs
  }

  /** How long a certificate holds, in milliseconds. */
  get certificateMs(): number {
    return this.#certificateMs
  }

  /**
   * Makes the peer a member.
   *
   * @param afterMs the certificate counts as issued after this time, whatever the clock says.
   * @returns the encoded certificate.
   */
  issue(peerId: string, grant: MembershipGrant, afterMs = -1): Uint8Array {
    const issuedMs = Math.max(this.#clock.now(), afterMs + 1)
    return signCertificate(this.#key, {
      clusterId: this.clusterId,
      peerId,
      roles: grant.roles,
      rights: grant.rights,
      issuedMs,
      expiresMs: issuedMs + this.#certificateMs,
      serial: secureBytes(SERIAL_BYTES)
    })
  }

  /**
   * Reads a certificate of this authority.
   *
   * @throws {NotMemberError | MalformedError} if it is none.
   */
  read(certificate: Uint8Array): MembershipCertificate {
    return verifyCertificate(this.clusterId, certificate)
  }

  /**
   * Gives a member a newer certificate with the same roles and rights. One that has expired can be
   * renewed for as long again as it held.
   *
   * @returns the encoded certificate; the old one while that is young.
   * @throws {NotMemberError | MalformedError} if it is another's, none of this authority's, or too old.
   */
  renew(encoded: Uint8Array, peerId: string): Uint8Array {
    const certificate = this.read(encoded)
    if (certificate.peerId !== peerId) {
      throw new NotMemberError(peerId, `its certificate is that of ${certificate.peerId}`, {
        why: 'borrowed'
      })
    }
    const { issuedMs, expiresMs, roles, rights } = certificate
    const nowMs = this.#clock.now()
    if (nowMs >= renewableUntilMs(certificate)) {
      const expired = new Date(expiresMs).toISOString()
      throw new NotMemberError(
        peerId,
        `its certificate expired at ${expired}, too long ago to renew`,
        { why: 'expired' }
      )
    }
    const youngMs = YOUNG * Math.min(expiresMs - issuedMs, this.#certificateMs)
    if (nowMs < issuedMs + youngMs) return encoded
    return this.issue(peerId, { roles, rights })
  }

  /** Signs the list with this number; the caller counts them, durably. */
  signMetadataList(number: number, providers: readonly MetadataProvider[]): Uint8Array {
    return signMetadataList(this.#key, { clusterId: this.clusterId, number, providers })
  }

  /** Signs the list with this number; the caller counts them, durably. */
  signRevocations(number: number, revoked: readonly Revocation[]): Uint8Array {
    return signRevocationList(this.#key, { clusterId: this.clusterId, number, revoked })
  }
}
