import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { toError } from '../lib/to-error.ts'
import { Authority } from '../peer/authority.ts'
import { NotMemberError, PeerUnreachableError } from '../peer/errors.ts'
import { parseJoinToken } from '../peer/join-token.ts'
import { FileMemberRegister, type MemberRegister } from '../peer/member-register.ts'
import type { MembershipDocuments } from '../peer/membership.ts'
import type { Libp2pNode } from '../peer/node.ts'
import { Revoker } from '../peer/revoker.ts'
import { TokenIssuer } from '../peer/token-issuer.ts'
import { FileTokenTable } from '../peer/token-table.ts'
import { RIGHTS, type Right, ROLES, type Role } from '../peer/types.ts'
import type { DataDirectory } from './data-directory.ts'
import { BadRequestError, ConfigError, ListenError } from './errors.ts'
import { METADATA_LIST } from './metadata-list.ts'
import type { TokenRequest } from './operations.ts'
import { REVOCATIONS } from './revocations.ts'

const DEFAULT_TOKEN_MS = 3_600_000
const MAX_TOKEN_MS = 30 * 24 * 3_600_000

/** What the first agent of a cluster has and no other: the authority's key and what hangs on it. */
export interface ClusterAuthority {
  readonly authority: Authority
  readonly issuer: TokenIssuer
  readonly members: MemberRegister
  readonly revoker: Revoker
}

/** What decides whether an agent begins a cluster, and how. */
export interface AuthorityRequest {
  readonly roles: readonly Role[]
  readonly joinToken?: string | undefined
  /** How long certificates hold, in milliseconds. @default 30 days */
  readonly certificateMs?: number | undefined
}

/**
 * Opens the authority of this data directory; a version manager's first start without a token makes one,
 * and with it a cluster.
 *
 * @returns undefined where the cluster's authority is elsewhere.
 */
export async function openAuthority(
  data: DataDirectory,
  request: AuthorityRequest,
  clock: Clock
): Promise<ClusterAuthority | undefined> {
  const hasJoined = (await data.certificate()) !== undefined
  const isFirst =
    !hasJoined && request.joinToken === undefined && request.roles.includes('versionManager')
  const seed = await data.seed('authority.key', isFirst)
  if (seed === undefined) return undefined
  const { certificateMs } = request
  const authority = new Authority(seed, clock, certificateMs === undefined ? {} : { certificateMs })
  const tokens = await FileTokenTable.open(data.file('tokens.json'))
  const members = await FileMemberRegister.open(data.file('members.json'))
  const path = data.file(REVOCATIONS)
  const save = async (list: Uint8Array): Promise<void> => writeFileDurably(path, list)
  const revoker = new Revoker({ authority, clock, save })
  const revocations = await readFileIfThere(path)
  if (revocations !== undefined) revoker.adopt(revocations)
  const issuer = new TokenIssuer({ authority, tokens, clock, members, revoker })
  return { authority, issuer, members, revoker }
}

/** A certificate for the agent that has the authority, which admits itself. */
export async function admitItself(
  { authority, members }: Pick<ClusterAuthority, 'authority' | 'members'>,
  peerId: string,
  roles: readonly Role[]
): Promise<Uint8Array> {
  const certificate = authority.issue(peerId, { roles, rights: [...RIGHTS] })
  await members.note(authority.read(certificate))
  return certificate
}

/** Who enters, and with what. */
export interface EnterClusterRequest {
  readonly data: DataDirectory
  readonly node: Libp2pNode
  readonly roles: readonly Role[]
  readonly authority: ClusterAuthority | undefined
  readonly joinToken: string | undefined
  readonly signal: AbortSignal
}

/**
 * Starts the node as a member of its cluster: with its own authority, with the certificate of an
 * earlier start, or with a join token.
 *
 * @throws {ConfigError} if there is none of the three, or the certificate lacks a configured role.
 * @throws {JoinRefusedError} if the token is malformed, expired or not known.
 * @throws {ListenError} if the node cannot have its address.
 */
export async function enterCluster(request: EnterClusterRequest): Promise<MembershipDocuments> {
  const { data, node, roles, authority } = request
  if (authority !== undefined) {
    const { clusterId } = authority.authority
    const certificate = await admitItself(authority, node.peerId, roles)
    const documents = { clusterId, certificate }
    node.membership.enter(documents)
    await showLists(request)
    await data.writeCertificate(certificate)
    await data.writeCluster({ clusterId: toHex(clusterId), bootstrap: [] })
    await listen(node)
    return documents
  }
  return (await enterAgain(request)) ?? (await enterWithToken(request))
}

function checkRoles({ node, roles }: EnterClusterRequest, remedy: string): void {
  const admitted = node.membership.self?.roles
  const missing = roles.filter((role) => admitted?.has(role) !== true)
  if (missing.length === 0) return
  const had = [...(admitted ?? [])].join(', ')
  throw new ConfigError(
    `agent.roles has ${missing.join(', ')}, but this agent was admitted as ${had} (${remedy})`
  )
}

async function enterAgain(request: EnterClusterRequest): Promise<MembershipDocuments | undefined> {
  const { data, node } = request
  const certificate = await data.certificate()
  const cluster = await data.cluster()
  if (certificate === undefined || cluster === undefined) return undefined
  const documents = { clusterId: fromHex(cluster.clusterId), certificate }
  const { membership } = node
  membership.enterExpired(documents)
  checkRoles(request, `remove ${data.file('certificate')} and join with a new token`)
  await showLists(request)
  const objection = membership.self && membership.objectionTo(membership.self)
  if (objection === undefined) membership.enter(documents)
  await listen(node)
  if (objection !== undefined) await renewExpired(request, objection)
  node.keepConnected(cluster.bootstrap)
  return membership.documents()
}

/** Lists that were seen before the last stop. */
async function showLists({ data, node }: EnterClusterRequest): Promise<void> {
  const revocations = await readFileIfThere(data.file(REVOCATIONS))
  if (revocations !== undefined) node.membership.offerRevocations(revocations)
  const list = await readFileIfThere(data.file(METADATA_LIST))
  if (list !== undefined) node.membership.offerMetadataList(list)
}

/** @throws {NotMemberError} with what is wrong with its certificate, if it gets no newer one. */
async function renewExpired(
  request: EnterClusterRequest,
  objection: NotMemberError
): Promise<void> {
  const { data, node, signal } = request
  const { bootstrap = [] } = (await data.cluster()) ?? {}
  const { clusterId } = node.membership.documents()
  try {
    const certificate = await node.renew(bootstrap, { signal })
    if (certificate === undefined) throw new PeerUnreachableError('the authority', 'not known')
    const documents = { clusterId, certificate }
    node.membership.enter(documents)
    await data.writeCertificate(certificate)
  } catch (thrown) {
    signal.throwIfAborted()
    const cause = toError(thrown)
    const remedy = `remove ${data.file('certificate')} and join with a new token`
    const reason = `${objection.reason}, and it was not renewed: ${cause.message} (${remedy})`
    throw new NotMemberError(node.peerId, reason, { why: objection.why, cause })
  }
}

async function enterWithToken(request: EnterClusterRequest): Promise<MembershipDocuments> {
  const { data, node, joinToken, signal } = request
  if (joinToken === undefined) {
    throw new ConfigError(
      'this agent belongs to no cluster: it needs --join TOKEN (blobswarm token create), ' +
        'or the role versionManager to begin a cluster of its own'
    )
  }
  const { addresses } = parseJoinToken(joinToken)
  await listen(node)
  const documents = await node.join(joinToken, { signal })
  checkRoles(request, 'a token with these --roles is needed') // before anything is kept of the wrong one
  await data.writeCluster({ clusterId: toHex(documents.clusterId), bootstrap: addresses })
  await data.writeCertificate(documents.certificate)
  node.keepConnected(addresses)
  return documents
}

/** Starts the node. libp2p's own error goes on for lines, and what it is about stands in the middle. */
async function listen(node: Libp2pNode): Promise<void> {
  try {
    await node.start()
  } catch (error) {
    const { message } = toError(error)
    const [, address, reason] = /^\s*(\/\S+): (?:\w*Error: )?(listen .*)$/m.exec(message) ?? []
    if (address === undefined) throw error
    throw new ListenError('libp2p', address, { cause: new Error(reason, { cause: error }) })
  }
}

/** Makes a join token. @throws {BadRequestError} for roles, rights or times that cannot be. */
export async function createToken(
  issuer: TokenIssuer | undefined,
  request: TokenRequest,
  addresses: readonly string[],
  clock: Clock
): Promise<{ token: string; expiresMs: number }> {
  if (issuer === undefined) {
    throw new BadRequestError('only the agent that began the cluster can create tokens')
  }
  const { roles = ['deploy'], rights = ['read'], expiresMs = DEFAULT_TOKEN_MS } = request
  const grant = {
    roles: roles.map((role) => oneOf<Role>('role', role, ROLES)),
    rights: rights.map((right) => oneOf<Right>('right', right, RIGHTS))
  }
  if (!(expiresMs >= 1000 && expiresMs <= MAX_TOKEN_MS)) {
    throw new BadRequestError(`a token can hold from 1 s to 30 days, not ${expiresMs} ms`)
  }
  const token = await issuer.create({ grant, validMs: expiresMs, addresses })
  return { token, expiresMs: clock.now() + expiresMs }
}

function oneOf<T extends string>(what: string, value: string, known: readonly T[]): T {
  const found = known.find((one) => one === value)
  if (found === undefined) {
    throw new BadRequestError(`"${value}" is no ${what} (there are ${known.join(', ')})`)
  }
  return found
}
