/**
 * `/blobswarm/hello/1`: who are you? The first thing that is said on a connection, by the side that
 * dialled. One stream carries one question and one answer, each a message in CBOR. Said again on an open
 * connection it renews what each knows of the other (certificate, lists of the authority).
 *
 * ```text
 * question
 *   { kind: "hello", …credentials }
 *   { kind: "join", clusterId, secret }       with the secret of a join token (32 bytes)
 *   { kind: "renew", clusterId, certificate } with the asker's certificate, which may have expired
 * answer
 *   { kind: "hello", …credentials }           to hello: the asker was admitted
 *   { kind: "joined", certificate }           to join: the asker's new certificate
 *   { kind: "renewed", certificate }          to renew: likewise
 *   { kind: "refused", reason }               the connection is closed afterwards, but not after renew
 * credentials
 *   clusterId          32 bytes, public key of the authority
 *   certificate        bytes (membership-certificate.ts)
 *   metadataNumber     number of the newest metadata list that the sender knows, absent: 0
 *   revocationsNumber  number of the newest revocation list that the sender knows, absent: 0
 *   metadataList       bytes (metadata-list.ts), only where the receiver is known to have an older one
 *   revocations        bytes (revocation-list.ts), only where the receiver is known to have an older one
 *   issues             true if the sender issues certificates, else absent
 *   addresses          array of text: multiaddrs at which the sender can be dialled
 *   protocolVersion    0
 *   agentVersion       text
 * ```
 *
 * A first question carries no lists; who hears from the answer that the other side has older ones says
 * hello again and brings them.
 *
 * That the peer is who it says, and that nobody else hears the secret, is proved by noise.
 */
import { z } from 'zod'
import { equalBytes, KIB, MIB } from '../../lib/bytes.ts'
import { ED25519_KEY_BYTES } from '../../lib/ed25519.ts'
import { toError } from '../../lib/to-error.ts'
import { MAX_CERTIFICATE_BYTES } from '../../metadata/signed.ts'
import { boundedBytes, boundedText, defineMessage, exactBytes, naturalNumber } from '../codec.ts'
import { JoinRefusedError, ProtocolRefusedError, ProtocolViolationError } from '../errors.ts'
import type { JoinToken } from '../join-token.ts'
import { TOKEN_SECRET_BYTES } from '../join-token.ts'
import type { Credentials, ListNumbers, Membership, MembershipDocuments } from '../membership.ts'
import { addressesSchema, MAX_ADDRESSES } from '../metadata-list.ts'
import type { CertificateIssuer } from '../token-issuer.ts'
import type { Channel, ProtocolSpec } from '../types.ts'

export const HELLO: ProtocolSpec = {
  id: '/blobswarm/hello/1',
  maxMessageBytes: 3 * MIB,
  maxStreams: 4
}

/** Longest question that is read of somebody who has not been admitted: it has no lists to show. */
export const MAX_STRANGER_BYTES = 16 * KIB

/** A signed list of the authority. */
const MAX_LIST_BYTES = MIB + KIB

/** Counts compatible additions within the major version of the protocol's id. */
const PROTOCOL_VERSION = 0

const helloSchema = z.object({
  kind: z.literal('hello'),
  clusterId: exactBytes(ED25519_KEY_BYTES),
  certificate: boundedBytes(MAX_CERTIFICATE_BYTES),
  metadataNumber: naturalNumber.optional(),
  revocationsNumber: naturalNumber.optional(),
  metadataList: boundedBytes(MAX_LIST_BYTES).optional(),
  revocations: boundedBytes(MAX_LIST_BYTES).optional(),
  issues: z.literal(true).optional(),
  addresses: addressesSchema,
  protocolVersion: naturalNumber,
  agentVersion: boundedText(64)
})

const questionCodec = defineMessage(
  z.discriminatedUnion('kind', [
    helloSchema,
    z.object({
      kind: z.literal('join'),
      clusterId: exactBytes(ED25519_KEY_BYTES),
      secret: exactBytes(TOKEN_SECRET_BYTES)
    }),
    z.object({
      kind: z.literal('renew'),
      clusterId: exactBytes(ED25519_KEY_BYTES),
      certificate: boundedBytes(MAX_CERTIFICATE_BYTES)
    })
  ]),
  { name: 'question of hello', maxBytes: HELLO.maxMessageBytes }
)

const answerCodec = defineMessage(
  z.discriminatedUnion('kind', [
    helloSchema,
    z.object({ kind: z.literal('joined'), certificate: boundedBytes(MAX_CERTIFICATE_BYTES) }),
    z.object({ kind: z.literal('renewed'), certificate: boundedBytes(MAX_CERTIFICATE_BYTES) }),
    z.object({ kind: z.literal('refused'), reason: boundedText(500) })
  ]),
  { name: 'answer of hello', maxBytes: HELLO.maxMessageBytes }
)

type Hello = z.infer<typeof helloSchema>
type Question = ReturnType<typeof questionCodec.decode>
type Answer = ReturnType<typeof answerCodec.decode>

/** What the other side showed of itself; not verified yet. */
export interface Greeting extends Credentials {
  readonly addresses: readonly string[]
  /** It says that it issues certificates. */
  readonly issues?: true | undefined
}

export interface HelloComponents {
  readonly membership: Membership
  /** Present at an agent that may admit others to the cluster. */
  readonly issuer?: CertificateIssuer | undefined
  /** Where this agent can be dialled. */
  readonly addresses: () => string[]
  readonly agentVersion: string
}

/**
 * Says hello.
 *
 * @param theirs what the remote knows; newer lists are shown to it. @default as much as this agent
 * @throws {ProtocolRefusedError} if the remote does not take this agent for a member.
 */
export async function sayHello(
  channel: Channel,
  components: HelloComponents,
  theirs: ListNumbers = components.membership.known
): Promise<Greeting> {
  const answer = await ask(channel, questionCodec.encode(helloOf(components, theirs)))
  if (answer.kind === 'hello') return answer
  const { peerId } = channel.remote
  if (answer.kind === 'refused') throw new ProtocolRefusedError(peerId, HELLO.id, answer.reason)
  throw new ProtocolViolationError(peerId, `${answer.kind} answers no hello`)
}

/** Asks for a certificate. @returns it, not verified yet. @throws {JoinRefusedError} */
export async function askToJoin(channel: Channel, token: JoinToken): Promise<Uint8Array> {
  const { clusterId, secret } = token
  const answer = await ask(channel, questionCodec.encode({ kind: 'join', clusterId, secret }))
  if (answer.kind === 'joined') return answer.certificate
  if (answer.kind === 'refused') throw new JoinRefusedError(answer.reason)
  throw new ProtocolViolationError(channel.remote.peerId, `${answer.kind} answers no join`)
}

/** Asks for a newer certificate. @returns it, not verified yet. @throws {ProtocolRefusedError} */
export async function askToRenew(
  channel: Channel,
  { clusterId, certificate }: MembershipDocuments
): Promise<Uint8Array> {
  const answer = await ask(channel, questionCodec.encode({ kind: 'renew', clusterId, certificate }))
  const { peerId } = channel.remote
  if (answer.kind === 'renewed') return answer.certificate
  if (answer.kind === 'refused') throw new ProtocolRefusedError(peerId, HELLO.id, answer.reason)
  throw new ProtocolViolationError(peerId, `${answer.kind} answers no renewal`)
}

/**
 * Answers one question. `admit` decides about a hello, and is called before the answer is sent, so that
 * the asker finds all doors open when it reads it. One that is refused a newer certificate is told so
 * and stays what it is.
 *
 * @throws {BlobswarmError} what the asker was refused with, after it was told.
 */
export async function answerHello(
  channel: Channel,
  components: HelloComponents,
  admit: (greeting: Greeting) => void
): Promise<void> {
  let question: Question | undefined
  try {
    question = questionCodec.decode(await firstMessage(channel))
    await channel.send([answerCodec.encode(await answerTo(question, channel, components, admit))])
  } catch (thrown) {
    const error = toError(thrown)
    const reason = error instanceof JoinRefusedError ? error.reason : error.message
    const refused: Answer = { kind: 'refused', reason: reason.slice(0, 500) }
    try {
      await channel.send([answerCodec.encode(refused)])
      await channel.close()
    } catch (unsent) {
      if (question?.kind === 'renew') throw unsent // otherwise it matters more why it was refused
    }
    if (question?.kind !== 'renew') throw error
  }
}

async function answerTo(
  question: Question,
  channel: Channel,
  components: HelloComponents,
  admit: (greeting: Greeting) => void
): Promise<Answer> {
  switch (question.kind) {
    case 'hello': {
      admit(question)
      const { metadataNumber = 0, revocationsNumber = 0 } = question
      return helloOf(components, { metadata: metadataNumber, revocations: revocationsNumber })
    }
    case 'join': {
      const issuer = issuerFor(components, question.clusterId)
      const certificate = await issuer.redeem(question.secret, channel.remote.peerId)
      return { kind: 'joined', certificate }
    }
    case 'renew': {
      const issuer = issuerFor(components, question.clusterId)
      const certificate = await issuer.renew(question.certificate, channel.remote.peerId)
      return { kind: 'renewed', certificate }
    }
    default:
      return question satisfies never
  }
}

function issuerFor(
  { issuer, membership }: HelloComponents,
  clusterId: Uint8Array
): CertificateIssuer {
  if (issuer === undefined) throw new JoinRefusedError('this agent issues no certificates')
  if (equalBytes(clusterId, membership.documents().clusterId)) return issuer
  throw new JoinRefusedError('the token or certificate is of another cluster')
}

function helloOf(components: HelloComponents, theirs: ListNumbers): Hello {
  const { membership, addresses, agentVersion, issuer } = components
  return {
    kind: 'hello',
    ...membership.credentials(theirs),
    issues: issuer === undefined ? undefined : true,
    addresses: addresses().slice(0, MAX_ADDRESSES),
    protocolVersion: PROTOCOL_VERSION,
    agentVersion
  }
}

async function ask(channel: Channel, question: Uint8Array): Promise<Answer> {
  await channel.send([question])
  return answerCodec.decode(await firstMessage(channel))
}

async function firstMessage(channel: Channel): Promise<Uint8Array> {
  for await (const message of channel.messages()) return message
  throw new ProtocolViolationError(channel.remote.peerId, 'it closed the stream without a word')
}
