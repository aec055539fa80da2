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
import type { Member } from './types.ts'

/** What makes an agent a member: kept in its data directory. */
export interface MembershipDocuments {
  /** Public key of the cluster's authority, 32 bytes. */
  readonly clusterId: Uint8Array
  /** Encoded certificate of this agent. */
  readonly certificate: Uint8Array
}

/** What a member shows of itself. */
export interface Credentials extends MembershipDocuments {
  /** Encoded metadata list, the newest it knows. */
  readonly metadataList?: Uint8Array | undefined
}

/**
 * This agent's place in its cluster: its certificate, what it thinks of others' ones, and the newest
 * metadata list that anybody has shown it.
 */
export class Membership {
  readonly #peerId: string
  readonly #clock: Clock
  readonly #listeners = new Set<(list: MetadataList) => void>()
  #documents: MembershipDocuments | undefined
  #self: Member | undefined
  #list: { readonly list: MetadataList; readonly encoded: Uint8Array } | undefined

  constructor(peerId: string, clock: Clock) {
    this.#peerId = peerId
    this.#clock = clock
  }

  /** What this agent is; undefined until it has joined. */
  get self(): Member | undefined {
    return this.#self
  }

  /** Newest metadata list; undefined until one was seen. */
  get metadataList(): MetadataList | undefined {
    return this.#list?.list
  }

  /** What this agent shows others. @throws {NotMemberError} if it has not joined. */
  credentials(): Credentials {
    if (this.#documents === undefined) {
      throw new NotMemberError(this.#peerId, 'it has not joined a cluster')
    }
    return { ...this.#documents, metadataList: this.#list?.encoded }
  }

  /** Becomes a member, or renews. @throws {NotMemberError | MalformedError} if the certificate does not hold. */
  enter(documents: MembershipDocuments): Member {
    const { clusterId, certificate } = documents
    this.#self = memberOf(this.#verify(clusterId, certificate, this.#peerId))
    this.#documents = documents
    return this.#self
  }

  /**
   * Decides whether the peer at the other end of a connection is a member, and takes over its metadata
   * list if that is newer.
   *
   * @returns the member, and the number of the list that it showed (0: none).
   * @throws {NotMemberError} if its certificate is none, of another peer or cluster, forged or expired.
   * @throws {MalformedError} if its metadata list is not signed by the authority.
   */
  admit(peerId: string, shown: Credentials): { member: Member; listNumber: number } {
    const { clusterId } = this.credentials()
    if (!equalBytes(shown.clusterId, clusterId)) {
      throw new NotMemberError(peerId, 'it belongs to another cluster')
    }
    const member = memberOf(this.#verify(clusterId, shown.certificate, peerId))
    const encoded = shown.metadataList
    return { member, listNumber: encoded === undefined ? 0 : this.offerMetadataList(encoded) }
  }

  /**
   * Takes over a metadata list if it is newer than the one known.
   *
   * @returns its number.
   * @throws {MalformedError} if it is not signed by the authority.
   */
  offerMetadataList(encoded: Uint8Array): number {
    const { clusterId } = this.credentials()
    const known = this.#list
    if (known !== undefined && equalBytes(encoded, known.encoded)) return known.list.number
    const list = verifyMetadataList(clusterId, encoded)
    if (known === undefined || list.number > known.list.number) {
      this.#list = { list, encoded }
      for (const listener of this.#listeners) listener(list)
    }
    return list.number
  }

  /** Calls back with each newer metadata list. @returns how to stop listening. */
  onMetadataListChanged(listener: (list: MetadataList) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #verify(clusterId: Uint8Array, bytes: Uint8Array, peerId: string): MembershipCertificate {
    try {
      const certificate = verifyCertificate(clusterId, bytes)
      if (certificate.peerId !== peerId) {
        throw new NotMemberError(peerId, `its certificate is that of ${certificate.peerId}`)
      }
      verifyValidity(certificate, this.#clock.now())
      return certificate
    } catch (error) {
      if (error instanceof MalformedError) throw new NotMemberError(peerId, error.message)
      throw error
    }
  }
}
