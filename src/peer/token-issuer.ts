import { blake3 } from '../lib/blake3.ts'
import { toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { secureBytes } from '../lib/random.ts'
import type { Authority, MembershipGrant } from './authority.ts'
import { formatJoinToken, TOKEN_SECRET_BYTES } from './join-token.ts'
import type { TokenTable } from './token-table.ts'

/** Gives certificates to those who bring a token's secret. */
export interface CertificateIssuer {
  /** @returns the encoded certificate. @throws {JoinRefusedError} */
  redeem(secret: Uint8Array, peerId: string): Promise<Uint8Array>
}

export interface TokenIssuerComponents {
  readonly authority: Authority
  readonly tokens: TokenTable
  readonly clock: Clock
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

  async redeem(secret: Uint8Array, peerId: string): Promise<Uint8Array> {
    const { authority, tokens, clock } = this.#components
    const redemption = { secretHash: toHex(blake3(secret)), peerId, nowMs: clock.now() }
    return tokens.redeem(redemption, (grant) => authority.issue(peerId, grant))
  }
}
