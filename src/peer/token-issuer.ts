import { blake3 } from '../lib/blake3.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { secureBytes } from '../lib/random.ts'
import type { Authority, MembershipGrant } from './authority.ts'
import { JoinRefusedError, NotMemberError } from './errors.ts'
import { formatJoinToken, TOKEN_SECRET_BYTES } from './join-token.ts'
import type { MemberRegister } from './member-register.ts'
import { revokedText } from './membership.ts'
import type { Revoker } from './revoker.ts'
import { type OpenToken, openTokenOf, type TokenTable } from './token-table.ts'

/** Gives certificates to those who bring a token's secret, or a certificate to be renewed. */
export interface CertificateIssuer {
  /** @returns the encoded certificate. @throws {JoinRefusedError} */
  redeem(secret: Uint8Array, peerId: string): Promise<Uint8Array>
  /**
   * Gives a newer certificate for one that has not expired, or not long ago.
   *
   * @returns it, or the same one while that is young.
   * @throws {NotMemberError | MalformedError} if it is none of this peer and cluster, too old, or revoked.
   */
  renew(certificate: Uint8Array, peerId: string): Promise<Uint8Array>
}

export interface TokenIssuerComponents {
  readonly authority: Authority
  readonly tokens: TokenTable
  readonly clock: Clock
  /** Takes note of every certificate. */
  readonly members?: MemberRegister | undefined
  /** Knows who may not come back. */
  readonly revoker?: Pick<Revoker, 'find' | 'revocationOf'> | undefined
}

export interface NewToken {
  readonly grant: MembershipGrant
  /** Time until it expires. */
  readonly validMs: number
  /** Full multiaddrs of this agent. */
  readonly addresses: readonly string[]
}

/** Creates join tokens and redeems them; lives beside the authority's key. */
export class TokenIssuer implements CertificateIssuer {
  readonly #components: TokenIssuerComponents

  constructor(components: TokenIssuerComponents) {
    this.#components = components
  }

  /** Makes a token that one agent can join with. @returns its one line; the secret is kept nowhere else. */
  async create(token: NewToken): Promise<string> {
    const { authority, tokens, clock } = this.#components
    const { grant, validMs, addresses } = token
    const secret = secureBytes(TOKEN_SECRET_BYTES)
    const expiresMs = clock.now() + validMs
    const line = formatJoinToken({ clusterId: authority.clusterId, addresses, secret, expiresMs })
    await tokens.add({ secretHash: toHex(blake3(secret)), grant, expiresMs }, clock.now())
    return line
  }

  /** Tokens with which somebody can still join. */
  openTokens(): OpenToken[] {
    const { tokens, clock } = this.#components
    const nowMs = clock.now()
    return tokens.list().flatMap((token) => openTokenOf(token, nowMs) ?? [])
  }

  /** Takes an open token back; nobody can join with it any more. */
  async revokeToken({ secretHash }: OpenToken): Promise<void> {
    await this.#components.tokens.remove((token) => token.secretHash === secretHash)
  }

  async redeem(secret: Uint8Array, peerId: string): Promise<Uint8Array> {
    const { authority, tokens, clock, revoker } = this.#components
    const redemption = { secretHash: toHex(blake3(secret)), peerId, nowMs: clock.now() }
    const afterMs = revoker?.find(peerId)?.atMs
    const encoded = await tokens.redeem(redemption, (grant) =>
      authority.issue(peerId, grant, afterMs)
    )
    const certificate = authority.read(encoded)
    // A token that was used before its peer was revoked gives that certificate again.
    const revocation = revoker?.revocationOf(peerId, certificate.issuedMs)
    if (revocation !== undefined) throw new JoinRefusedError(revokedText(revocation))
    await this.#components.members?.note(certificate)
    return encoded
  }

  async renew(encoded: Uint8Array, peerId: string): Promise<Uint8Array> {
    const { authority, revoker, members } = this.#components
    const renewed = authority.renew(encoded, peerId)
    const { issuedMs } = authority.read(encoded)
    const revocation = revoker?.revocationOf(peerId, issuedMs)
    if (revocation !== undefined)
      throw new NotMemberError(peerId, revokedText(revocation), { why: 'revoked' })
    await members?.note(authority.read(renewed))
    return renewed
  }
}
