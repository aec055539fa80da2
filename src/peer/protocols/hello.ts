/**
 * `/blobswarm/hello/1`: who are you? The first thing that is said on a connection, by the side that
 * dialled. One stream carries one question and one answer, each a message in CBOR. Said again on an open
 * connection it renews what each knows of the other (certificate, metadata list).
 *
 * ```text
 * question
 *   { kind: "hello", …credentials }
 *   { kind: "join", clusterId, secret }       with the secret of a join token (32 bytes)
 * answer
 *   { kind: "hello", …credentials }           to hello: the asker was admitted
 *   { kind: "joined", certificate }           to join: the asker's new certificate
 *   { kind: "refused", reason }               the connection is closed afterwards
 * credentials
 *   clusterId        32 bytes, public key of the authority
 *   certificate      bytes (membership-certificate.ts)
 *   metadataList     bytes (metadata-list.ts), absent if none is known
 *   addresses        array of text: multiaddrs at which the sender can be dialled
 *   protocolVersion  0
 *   agentVersion     text
 * ```
 *
 * That the peer is who it says, and that nobody else hears the secret, is proved by noise.
 */
import { z } from 'zod'
import { equalBytes, MIB } from '../../lib/bytes.ts'
import { ED25519_KEY_BYTES } from '../../lib/ed25519.ts'
import { toError } from '../../lib/to-error.ts'
import { MAX_CERTIFICATE_BYTES } from '../../metadata/signed.ts'
import { boundedBytes, boundedText, defineMessage, exactBytes, naturalNumber } from '../codec.ts'
import { JoinRefusedError, ProtocolRefusedError, ProtocolViolationError } from '../errors.ts'
import type { JoinToken } from '../join-token.ts'
import { TOKEN_SECRET_BYTES } from '../join-token.ts'
import type { Credentials, Membership } from '../membership.ts'
import { addressesSchema, MAX_ADDRESSES } from '../metadata-list.ts'
import type { CertificateIssuer } from '../token-issuer.ts'
import type { Channel, ProtocolSpec } from '../types.ts'

export const HELLO: ProtocolSpec = {
  id: '/blobswarm/hello/1',
  maxMessageBytes: MIB,
  maxStreams: 4
}

/** Counts compatible additions within the major version of the protocol's id. */
const PROTOCOL_VERSION = 0

const helloSchema = z.object({
  kind: z.literal('hello'),
  clusterId: exactBytes(ED25519_KEY_BYTES),
  certificate: boundedBytes(MAX_CERTIFICATE_BYTES),
  metadataList: boundedBytes(MIB).optional(),
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
    })
  ]),
  { name: 'question of hello' }
)

const answerCodec = defineMessage(
  z.discriminatedUnion('kind', [
    helloSchema,
    z.object({ kind: z.literal('joined'), certificate: boundedBytes(MAX_CERTIFICATE_BYTES) }),
    z.object({ kind: z.literal('refused'), reason: boundedText(500) })
  ]),
  { name: 'answer of hello' }
)

type Hello = z.infer<typeof helloSchema>
type Answer = ReturnType<typeof answerCodec.decode>

/** What the other side showed of itself; not verified yet. */
export interface Greeting extends Credentials {
  readonly addresses: readonly string[]
}

export interface HelloComponents {
  readonly membership: Membership
  /** Present at an agent that may admit others to the cluster. */
  readonly issuer?: CertificateIssuer | undefined
  /** Where this agent can be dialled. */
  readonly addresses: () => string[]
  readonly agentVersion: string
}

/** Says hello. @throws {ProtocolRefusedError} if the remote does not take this agent for a member. */
export async function sayHello(channel: Channel, components: HelloComponents): Promise<Greeting> {
  const answer = await ask(channel, questionCodec.encode(helloOf(components)))
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

/**
 * Answers one question. `admit` decides about a hello, and is called before the answer is sent, so that
 * the asker finds all doors open when it reads it.
 *
 * @throws {BlobswarmError} what the asker was refused with, after it was told.
 */
export async function answerHello(
  channel: Channel,
  components: HelloComponents,
  admit: (greeting: Greeting) => void
): Promise<void> {
  try {
    const question = questionCodec.decode(await firstMessage(channel))
    if (question.kind === 'hello') {
      admit(question)
      await channel.send([answerCodec.encode(helloOf(components))])
    } else {
      const certificate = await redeem(channel, components, question)
      await channel.send([answerCodec.encode({ kind: 'joined', certificate })])
    }
  } catch (thrown) {
    const error = toError(thrown)
    const reason = error instanceof JoinRefusedError ? error.reason : error.message
    const refused: Answer = { kind: 'refused', reason: reason.slice(0, 500) }
    await channel.send([answerCodec.encode(refused)])
    await channel.close()
    throw error
  }
}

async function redeem(
  channel: Channel,
  components: HelloComponents,
  question: { readonly clusterId: Uint8Array; readonly secret: Uint8Array }
): Promise<Uint8Array> {
  const { issuer, membership } = components
  if (issuer === undefined) throw new JoinRefusedError('this agent issues no certificates')
  if (!equalBytes(question.clusterId, membership.credentials().clusterId)) {
    throw new JoinRefusedError('the token is of another cluster')
  }
  return issuer.redeem(question.secret, channel.remote.peerId)
}

function helloOf({ membership, addresses, agentVersion }: HelloComponents): Hello {
  return {
    kind: 'hello',
    ...membership.credentials(),
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
