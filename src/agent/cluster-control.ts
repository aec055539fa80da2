import type { Clock } from '../lib/clock.ts'
import type { RegisteredMember } from '../peer/member-register.ts'
import { renewableUntilMs } from '../peer/membership-certificate.ts'
import type { Libp2pNode } from '../peer/node.ts'
import { parsePeerId } from '../peer/peer-identity.ts'
import { MAX_REASON_LENGTH, type Revocation } from '../peer/revocation-list.ts'
import type { OpenToken } from '../peer/token-table.ts'
import { BadRequestError, UnknownMemberError, UnknownTokenError } from './errors.ts'
import { type ClusterAuthority, createToken } from './membership.ts'
import type { ListedMember, ListedToken, TokenRequest } from './operations.ts'

/** Longest that certificates of peers may hold of which nothing is known here. */
const MAX_CERTIFICATE_MS = 366 * 24 * 3_600_000

export interface ClusterControlComponents {
  readonly node: Pick<Libp2pNode, 'peerId' | 'membership' | 'members' | 'addresses'>
  /** undefined where it is elsewhere. */
  readonly authority: ClusterAuthority | undefined
  readonly clock: Clock
}

/** Who is in the cluster, and who comes in and goes: what operators ask of the authority's agent. */
export class ClusterControl {
  readonly #components: ClusterControlComponents

  constructor(components: ClusterControlComponents) {
    this.#components = components
  }

  /** Everybody who was given a certificate, in order of their ids. */
  members(): ListedMember[] {
    const { members } = this.#authority('knows all members')
    const connected = this.#connected()
    return members.list().map((member) => this.#listed(member, connected))
  }

  /**
   * Makes all certificates of a peer void and tells everybody.
   *
   * @param name its peer id, or as much of the start of it as no other member's has.
   * @throws {UnknownMemberError} if nobody is meant.
   * @throws {BadRequestError} if several are, or this agent itself.
   */
  async revoke(name: string, reason: string): Promise<ListedMember> {
    const { node } = this.#components
    const { revoker, members } = this.#authority('can revoke')
    if (reason.length > MAX_REASON_LENGTH) {
      throw new BadRequestError(`a reason has at most ${MAX_REASON_LENGTH} characters`)
    }
    const member = this.#memberNamed(name)
    const { peerId, issuedMs } = member
    if (peerId === node.peerId) {
      throw new BadRequestError('this agent has the authority and cannot revoke itself')
    }
    const untilMs = renewableUntilMs(member)
    const { list } = await revoker.revoke({ peerId, issuedMs, untilMs, reason })
    await members.note(member)
    if (list !== undefined) node.membership.offerRevocations(list)
    return this.#listed(member, this.#connected())
  }

  async createToken(request: TokenRequest): Promise<{ token: string; expiresMs: number }> {
    const { node, authority, clock } = this.#components
    return createToken(authority?.issuer, request, node.addresses(), clock)
  }

  /** Tokens that nobody has used and that have not expired. */
  tokens(): ListedToken[] {
    return this.#authority('knows tokens').issuer.openTokens().map(listedToken)
  }

  /**
   * Takes back a token that nobody has used.
   *
   * @param name its id, or as much of the start of it as no other's has.
   * @throws {UnknownTokenError | BadRequestError} if none or several are meant.
   */
  async revokeToken(name: string): Promise<ListedToken> {
    const { issuer } = this.#authority('can revoke tokens')
    const [token, ...others] = issuer.openTokens().filter(({ id }) => id.startsWith(name))
    if (token === undefined) throw new UnknownTokenError(name)
    if (others.length > 0) {
      throw new BadRequestError(`${others.length + 1} tokens begin with ${name}`)
    }
    await issuer.revokeToken(token)
    return listedToken(token)
  }

  #connected(): ReadonlySet<string> {
    const { node } = this.#components
    return new Set([node.peerId, ...node.members().map(({ peerId }) => peerId)])
  }

  #listed(member: RegisteredMember, connected: ReadonlySet<string>): ListedMember {
    const { peerId, roles, rights, admittedMs, issuedMs, expiresMs } = member
    const { revoker } = this.#authority('knows all members')
    const revocation = revoker.revocationOf(peerId, issuedMs)
    const standing = this.#components.clock.now() >= expiresMs ? 'expired' : 'valid'
    return {
      peerId,
      roles: [...roles],
      rights: [...rights],
      standing: revocation === undefined ? standing : 'revoked',
      isConnected: connected.has(peerId),
      admitted: new Date(admittedMs).toISOString(),
      certificateUntil: new Date(expiresMs).toISOString(),
      ...(revocation === undefined ? {} : revocationOf(revocation))
    }
  }

  #authority(what: string): ClusterAuthority {
    const { authority } = this.#components
    if (authority !== undefined) return authority
    throw new BadRequestError(`only the agent that began the cluster ${what}`)
  }

  /** Registered, connected, or at least somebody's whole id. */
  #memberNamed(name: string): RegisteredMember {
    const { node, clock } = this.#components
    const known = new Map<string, RegisteredMember>()
    for (const { peerId, roles, rights, issuedMs, expiresMs } of node.members()) {
      const about = { roles: [...roles], rights: [...rights], issuedMs, expiresMs }
      known.set(peerId, { peerId, admittedMs: issuedMs, ...about })
    }
    for (const member of this.#authority('can revoke').members.list()) {
      known.set(member.peerId, member)
    }
    const exact = known.get(name)
    if (exact !== undefined) return exact
    const [member, ...others] = [...known.values()].filter(({ peerId }) => peerId.startsWith(name))
    if (others.length > 0) {
      throw new BadRequestError(`${others.length + 1} members begin with ${name}`)
    }
    if (member !== undefined) return member
    if (!isPeerId(name)) throw new UnknownMemberError(name)
    const nowMs = clock.now()
    const expiresMs = nowMs + MAX_CERTIFICATE_MS
    return { peerId: name, roles: [], rights: [], admittedMs: nowMs, issuedMs: nowMs, expiresMs }
  }
}

function revocationOf({ atMs, reason }: Revocation): Pick<ListedMember, 'revoked' | 'reason'> {
  return { revoked: new Date(atMs).toISOString(), reason }
}

function listedToken({ id, grant, expiresMs }: OpenToken): ListedToken {
  const { roles, rights } = grant
  return { id, roles: [...roles], rights: [...rights], expires: new Date(expiresMs).toISOString() }
}

function isPeerId(text: string): boolean {
  try {
    parsePeerId(text)
    return true
  } catch {
    return false
  }
}
