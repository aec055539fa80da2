import { equalBytes } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { MalformedError } from '../lib/errors.ts'
import { NotMemberError } from './errors.ts'
import {
  type MembershipCertificate,
  memberOf,
  verifyCertificate,
  verifyValidity
} from './membership-certificate.ts'
import { type MetadataList, verifyMetadataList } from './metadata-list.ts'
import { NewestList } from './newest-list.ts'
import { type Revocation, type RevocationList, verifyRevocationList } from './revocation-list.ts'
import type { Member } from './types.ts'

/** What makes an agent a member: kept in its data directory. */
export interface MembershipDocuments {
  /** Public key of the cluster's authority, 32 bytes. */
  readonly clusterId: Uint8Array
  /** Encoded certificate of this agent. */
  readonly certificate: Uint8Array
}

/** Numbers of the authority's lists that somebody knows; 0: none. */
export interface ListNumbers {
  readonly metadata: number
  readonly revocations: number
}

/** What a member shows of itself. */
export interface Credentials extends MembershipDocuments {
  /** Number of the newest metadata list that it knows. @default 0 */
  readonly metadataNumber?: number | undefined
  /** Number of the newest revocation list that it knows. @default 0 */
  readonly revocationsNumber?: number | undefined
  /** Encoded metadata list, where the other side has an older one. */
  readonly metadataList?: Uint8Array | undefined
  /** Encoded revocation list, where the other side has an older one. */
  readonly revocations?: Uint8Array | undefined
}

/** Somebody who was found to be a member. */
export interface Admission {
  readonly member: Member
  /** What it knows of the authority's lists. */
  readonly known: ListNumbers
}

/**
 * This agent's place in its cluster: its certificate, what it thinks of others' ones, and the newest
 * lists of the authority that anybody has shown it.
 */
export class Membership {
  readonly #peerId: string
  readonly #clock: Clock
  readonly #metadata = new NewestList<MetadataList>()
  readonly #revocations = new NewestList<RevocationList>()
  readonly #renewalListeners = new Set<(member: Member) => void>()
  /** By peer id. */
  #revoked: ReadonlyMap<string, Revocation> = new Map()
  #documents: MembershipDocuments | undefined
  #self: Member | undefined

  constructor(peerId: string, clock: Clock) {
    this.#peerId = peerId
    this.#clock = clock
    this.#revocations.onChanged(({ revoked }) => {
      this.#revoked = new Map(revoked.map((revocation) => [revocation.peerId, revocation]))
    })
  }

  /** What this agent is; undefined until it has joined. */
  get self(): Member | undefined {
    return this.#self
  }

  /** Newest metadata list; undefined until one was seen. */
  get metadataList(): MetadataList | undefined {
    return this.#metadata.list
  }

  /** Newest revocation list; undefined until one was seen. */
  get revocations(): RevocationList | undefined {
    return this.#revocations.list
  }

  /** The newest lists that this agent knows. */
  get known(): ListNumbers {
    return { metadata: this.#metadata.number, revocations: this.#revocations.number }
  }

  /** What this agent keeps. @throws {NotMemberError} if it has not joined. */
  documents(): MembershipDocuments {
    if (this.#documents !== undefined) return this.#documents
    throw new NotMemberError(this.#peerId, 'it has not joined a cluster', { why: 'none' })
  }

  /**
   * What this agent shows others.
   *
   * @param theirs what the other side knows; lists that are newer come along. @default all lists
   * @throws {NotMemberError} if it has not joined.
   */
  credentials(theirs: ListNumbers = { metadata: 0, revocations: 0 }): Credentials {
    const [metadata, revocations] = [this.#metadata, this.#revocations]
    return {
      ...this.documents(),
      metadataNumber: metadata.number,
      revocationsNumber: revocations.number,
      metadataList: metadata.number > theirs.metadata ? metadata.encoded : undefined,
      revocations: revocations.number > theirs.revocations ? revocations.encoded : undefined
    }
  }

  /** Becomes a member, or renews. @throws {NotMemberError | MalformedError} if the certificate does not hold. */
  enter(documents: MembershipDocuments): Member {
    const { clusterId, certificate } = documents
    const self = memberOf(this.#verify(clusterId, certificate, this.#peerId))
    const isRenewal = this.#self !== undefined
    this.#self = self
    this.#documents = documents
    if (isRenewal) for (const listener of this.#renewalListeners) listener(self)
    return self
  }

  /** Checks that a certificate is this agent's and holds. @throws {NotMemberError | MalformedError} */
  check({ clusterId, certificate }: MembershipDocuments): void {
    this.#verify(clusterId, certificate, this.#peerId)
  }

  /**
   * Goes by a certificate that may have expired, so that it can be renewed: others will not admit
   * this agent until then.
   *
   * @throws {NotMemberError | MalformedError} if it is another's, or not signed by the authority.
   */
  enterExpired(documents: MembershipDocuments): Member {
    const certificate = verifyCertificate(documents.clusterId, documents.certificate)
    checkOwner(certificate, this.#peerId)
    this.#self = memberOf(certificate)
    this.#documents = documents
    return this.#self
  }

  /**
   * Decides whether the peer at the other end of a connection is a member, and takes over its lists
   * if they are newer.
   *
   * @throws {NotMemberError} if its certificate is none, of another peer or cluster, forged, expired
   *   or revoked.
   * @throws {MalformedError} if one of its lists is not signed by the authority.
   */
  admit(peerId: string, shown: Credentials): Admission {
    const { clusterId } = this.documents()
    if (!equalBytes(shown.clusterId, clusterId)) {
      throw new NotMemberError(peerId, 'it belongs to another cluster', { why: 'foreign' })
    }
    const { metadataList, revocations, metadataNumber = 0, revocationsNumber = 0 } = shown
    if (revocations !== undefined) this.offerRevocations(revocations)
    const member = memberOf(this.#verify(clusterId, shown.certificate, peerId))
    if (metadataList !== undefined) this.offerMetadataList(metadataList)
    return { member, known: { metadata: metadataNumber, revocations: revocationsNumber } }
  }

  /**
   * Takes over a metadata list if it is newer than the one known.
   *
   * @returns its number.
   * @throws {MalformedError} if it is not signed by the authority.
   */
  offerMetadataList(encoded: Uint8Array): number {
    const { clusterId } = this.documents()
    return this.#metadata.offer(encoded, (bytes) => verifyMetadataList(clusterId, bytes))
  }

  /** As `offerMetadataList`, for a revocation list. @throws {MalformedError} */
  offerRevocations(encoded: Uint8Array): number {
    const { clusterId } = this.documents()
    return this.#revocations.offer(encoded, (bytes) => verifyRevocationList(clusterId, bytes))
  }

  /** Why a certificate of this peer that was issued then is void; undefined if it is not. */
  revocationOf(peerId: string, issuedMs: number): Revocation | undefined {
    const revocation = this.#revoked.get(peerId)
    return revocation !== undefined && issuedMs <= revocation.atMs ? revocation : undefined
  }

  /** Why somebody who was admitted is no member now; undefined if it still is one. */
  objectionTo({ peerId, issuedMs, expiresMs }: Member): NotMemberError | undefined {
    const revocation = this.revocationOf(peerId, issuedMs)
    if (revocation !== undefined)
      return new NotMemberError(peerId, revokedText(revocation), { why: 'revoked' })
    if (this.#clock.now() < expiresMs) return undefined
    return new NotMemberError(peerId, 'its certificate has expired', { why: 'expired' })
  }

  /** Calls back with each newer metadata list. @returns how to stop listening. */
  onMetadataListChanged(listener: (list: MetadataList) => void): () => void {
    return this.#metadata.onChanged(listener)
  }

  /** Calls back with each newer revocation list. @returns how to stop listening. */
  onRevocationsChanged(listener: (list: RevocationList) => void): () => void {
    return this.#revocations.onChanged(listener)
  }

  /** Calls back when this agent has a newer certificate. @returns how to stop listening. */
  onRenewed(listener: (member: Member) => void): () => void {
    this.#renewalListeners.add(listener)
    return () => this.#renewalListeners.delete(listener)
  }

  #verify(clusterId: Uint8Array, bytes: Uint8Array, peerId: string): MembershipCertificate {
    try {
      const certificate = verifyCertificate(clusterId, bytes)
      checkOwner(certificate, peerId)
      const revocation = this.revocationOf(peerId, certificate.issuedMs)
      if (revocation !== undefined)
        throw new NotMemberError(peerId, revokedText(revocation), { why: 'revoked' })
      verifyValidity(certificate, this.#clock.now())
      return certificate
    } catch (error) {
      if (error instanceof MalformedError)
        throw new NotMemberError(peerId, error.message, { why: 'malformed' })
      throw error
    }
  }
}

/** What a revoked peer and everybody else is told. */
export function revokedText({ atMs, reason }: Revocation): string {
  const because = reason === '' ? '' : `: ${reason}`
  return `its certificate was revoked at ${new Date(atMs).toISOString()}${because}`
}

function checkOwner(certificate: MembershipCertificate, peerId: string): void {
  if (certificate.peerId === peerId) return
  throw new NotMemberError(peerId, `its certificate is that of ${certificate.peerId}`, {
    why: 'borrowed'
  })
}
