import type { Clock } from '../lib/clock.ts'
import { Ed25519Key } from '../lib/ed25519.ts'
import { secureBytes } from '../lib/random.ts'
import { SERIAL_BYTES, signCertificate } from './membership-certificate.ts'
import { type MetadataProvider, signMetadataList } from './metadata-list.ts'
import type { Right, Role } from './types.ts'

/** What somebody is made when admitted to the cluster. */
export interface MembershipGrant {
  readonly roles: readonly Role[]
  readonly rights: readonly Right[]
}

export interface AuthorityOptions {
  /** How long a certificate holds, in milliseconds. @default 365 days */
  certificateMs?: number
}

/** Holds the key of a cluster: signs membership certificates and metadata lists, nothing else. */
export class Authority {
  /** Public key, 32 bytes, the name of the cluster. */
  readonly clusterId: Uint8Array
  readonly #key: Ed25519Key
  readonly #clock: Clock
  readonly #certificateMs: number

  /** `seed` is the authority's private key, 32 bytes. */
  constructor(seed: Uint8Array, clock: Clock, options: AuthorityOptions = {}) {
    const { certificateMs = 365 * 24 * 3_600_000 } = options
    if (!(certificateMs > 0)) throw new RangeError(`certificates of ${certificateMs} ms`)
    this.#key = new Ed25519Key(seed)
    this.clusterId = this.#key.publicKey
    this.#clock = clock
    this.#certificateMs = certificateMs
  }

  /** Makes the peer a member from now on. @returns the encoded certificate. */
  issue(peerId: string, grant: MembershipGrant): Uint8Array {
    const issuedMs = this.#clock.now()
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

  /** Signs the list with this number; the caller counts them, durably. */
  signMetadataList(number: number, providers: readonly MetadataProvider[]): Uint8Array {
    return signMetadataList(this.#key, { clusterId: this.clusterId, number, providers })
  }
}
