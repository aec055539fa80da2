import type { Clock } from '../lib/clock.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { Authority } from './authority.ts'
import { MAX_REVOKED, type Revocation, verifyRevocationList } from './revocation-list.ts'

/** Whom to revoke. */
export interface RevocationRequest {
  readonly peerId: string
  /** When the newest certificate that it was given was issued; what is known of it. */
  readonly issuedMs: number
  /** When none of its certificates can be shown or renewed any more. */
  readonly untilMs: number
  readonly reason: string
}

export interface RevokerComponents {
  readonly authority: Pick<Authority, 'clusterId' | 'signRevocations'>
  readonly clock: Clock
  /** Makes a list durable; it is in force when this has resolved. */
  readonly save: (encoded: Uint8Array) => Promise<void>
}

/** Keeps the revocation list; lives beside the authority's key. */
export class Revoker {
  readonly #components: RevokerComponents
  #number = 0
  #revoked: ReadonlyMap<string, Revocation> = new Map()
  #lastChange: Promise<unknown> = Promise.resolve()

  constructor(components: RevokerComponents) {
    this.#components = components
  }

  /** Goes on from a list that was signed before, if it is newer than what is known here. */
  adopt(encoded: Uint8Array): void {
    const { number, revoked } = verifyRevocationList(this.#components.authority.clusterId, encoded)
    if (number <= this.#number) return
    this.#number = number
    this.#revoked = new Map(revoked.map((revocation) => [revocation.peerId, revocation]))
  }

  /** Why a certificate that was issued then is void; undefined if it is not. */
  revocationOf(peerId: string, issuedMs: number): Revocation | undefined {
    const revocation = this.find(peerId)
    return revocation !== undefined && issuedMs <= revocation.atMs ? revocation : undefined
  }

  /** What the list says of a peer, whatever certificate it may have now. */
  find(peerId: string): Revocation | undefined {
    return this.#revoked.get(peerId)
  }

  /**
   * Makes all certificates of a peer void.
   *
   * @returns the revocation and the new list, to be told to everybody; the list is undefined if the
   *   peer was revoked already.
   * @throws {LimitExceededError} if too many are revoked.
   */
  async revoke(
    request: RevocationRequest
  ): Promise<{ readonly revocation: Revocation; readonly list: Uint8Array | undefined }> {
    const change = this.#lastChange.then(async () => this.#revoke(request))
    this.#lastChange = change.catch(() => {}) // its caller is told
    return change
  }

  async #revoke({ peerId, issuedMs, untilMs, reason }: RevocationRequest) {
    const { authority, clock, save } = this.#components
    const known = this.revocationOf(peerId, issuedMs)
    if (known !== undefined) return { revocation: known, list: undefined }
    const nowMs = clock.now()
    const revocation = { peerId, atMs: Math.max(nowMs, issuedMs), untilMs, reason }
    const living = [...this.#revoked].filter(([, { untilMs: end }]) => nowMs < end)
    const revoked = new Map(living).set(peerId, revocation)
    if (revoked.size > MAX_REVOKED) {
      throw new LimitExceededError('number of revoked members', MAX_REVOKED)
    }
    const number = this.#number + 1
    const list = authority.signRevocations(number, [...revoked.values()])
    await save(list)
    this.#number = number
    this.#revoked = revoked
    return { revocation, list }
  }
}
