import type { Connection, Stream } from '@libp2p/interface'
import pLimit from 'p-limit'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Dialler } from './dialler.ts'
import { NotMemberError, PeerTimeoutError, PeerUnreachableError } from './errors.ts'
import type { JoinToken } from './join-token.ts'
import type { ListNumbers } from './membership.ts'
import type { MembershipGate } from './membership-gate.ts'
import { MessageChannel } from './message-channel.ts'
import {
  answerHello,
  askToJoin,
  askToRenew,
  type Greeting,
  HELLO,
  type HelloComponents,
  MAX_STRANGER_BYTES,
  sayHello
} from './protocols/hello.ts'
import type { Refusals } from './refusals.ts'
import type { Channel, Member } from './types.ts'

export interface GreeterComponents extends HelloComponents {
  readonly gate: MembershipGate
  readonly dialler: Dialler
  readonly clock: Clock
  readonly log: Logger
  readonly refusals: Pick<Refusals, 'hello' | 'connection'>
  /** Called once for each connection that was admitted, with what its peer says of itself. */
  readonly onAdmitted: (connection: Connection, member: Member, greeting: Greeting) => void
}

export interface GreeterOptions {
  /** How long one exchange may take, in milliseconds. @default 10000 */
  timeoutMs?: number
}

// Exchanges that run at a time when something new is told to everybody.
const MAX_RENEWALS = 8

/** What the peer of a connection has been shown, and what it has shown. */
interface Acquaintance {
  /** Lists that it knows. */
  readonly known: ListNumbers
  /** Certificate of this agent that it has seen. */
  readonly certificate: Uint8Array
  /** It issues certificates. */
  readonly issues: boolean
}

/** Says and answers hello on every connection, and tells the gate how it went. */
export class Greeter {
  readonly #components: GreeterComponents
  readonly #timeoutMs: number
  readonly #renewals = pLimit(MAX_RENEWALS)
  readonly #acquaintances = new WeakMap<Connection, Acquaintance>()
  readonly #refused = new WeakSet<Connection>()

  constructor(components: GreeterComponents, options: GreeterOptions = {}) {
    const { timeoutMs = 10_000 } = options
    this.#components = components
    this.#timeoutMs = timeoutMs
  }

  /** Deals with a new connection: the dialling side greets, the other waits and gives up. */
  async meet(connection: Connection): Promise<void> {
    const { gate, log } = this.#components
    const oldest = gate.opened(connection)
    if (oldest !== undefined) {
      const peerId = oldest.remotePeer.toString()
      const why = 'crowded'
      this.#refuse(oldest, new NotMemberError(peerId, 'it says no hello, and others came', { why }))
    }
    try {
      if (connection.direction === 'inbound') await gate.memberOf(connection)
      else if (this.#canGreet()) await this.greet(connection)
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('no hello with %p: %e', connection.remotePeer, error)
      this.#refuse(connection, error)
    }
  }

  /**
   * Says hello on a connection, and again if the other side turns out to have older lists.
   *
   * @throws {NotMemberError | ProtocolRefusedError | PeerTimeoutError}
   */
  async greet(connection: Connection): Promise<Member> {
    const member = await this.#greetOnce(connection)
    return this.#isBehind(connection) ? this.#greetOnce(connection) : member
  }

  /** Uses a token on a connection. @returns the certificate, not verified. @throws {JoinRefusedError} */
  async join(connection: Connection, token: JoinToken): Promise<Uint8Array> {
    return this.#exchange(connection, async (channel) => askToJoin(channel, token))
  }

  /**
   * Asks on a connection for a newer certificate.
   *
   * @returns it, not verified.
   * @throws {ProtocolRefusedError} if the other side issues none, or none to this agent.
   */
  async renew(connection: Connection): Promise<Uint8Array> {
    const documents = this.#components.membership.documents()
    return this.#exchange(connection, async (channel) => askToRenew(channel, documents))
  }

  /** Connections to members that issue certificates. */
  issuers(): Connection[] {
    return this.#components.gate
      .admitted()
      .map(({ connection }) => connection)
      .filter((connection) => this.#acquaintances.get(connection)?.issues === true)
  }

  /** Serves one stream of hello. */
  async answer(stream: Stream, connection: Connection): Promise<void> {
    const { gate, log } = this.#components
    const maxReceivedBytes = gate.isAdmitted(connection)
      ? HELLO.maxMessageBytes
      : MAX_STRANGER_BYTES
    const channel = this.#channel(stream, connection, maxReceivedBytes)
    try {
      await this.#withDeadline(connection, async () => {
        await answerHello(channel, this.#components, (greeting) => {
          this.#admit(connection, greeting, this.#ownCertificate())
          this.#answered(connection)
        })
        await channel.close()
      })
    } catch (thrown) {
      const error = toError(thrown)
      channel.abort(error)
      log.debug('%p was refused: %e', connection.remotePeer, error)
      this.#refuse(connection, error)
    }
  }

  /** Tells every member whatever is new: this agent's certificate, lists of the authority. */
  async spread(): Promise<void> {
    const { gate, log } = this.#components
    const renewals = gate.admitted().map(async ({ connection }) =>
      this.#renewals(async () => {
        if (connection.status !== 'open' || !this.#isBehind(connection)) return
        try {
          await this.greet(connection)
        } catch (error) {
          log.debug('could not tell %p what is new: %e', connection.remotePeer, error)
        }
      })
    )
    await Promise.all(renewals)
  }

  /** Greets those that this agent dialled while it had no valid certificate. */
  async meetAgain(): Promise<void> {
    const { gate } = this.#components
    await Promise.all(
      gate.strangers().map(async (connection) => {
        if (connection.direction === 'outbound') await this.meet(connection)
      })
    )
  }

  /**
   * Parts from a member that was revoked: what it asks is refused from now on, and it is shown the list
   * that says so before the connection is closed.
   */
  async part(connection: Connection, error: Error, farewellMs = 1000): Promise<void> {
    const { gate, clock, membership } = this.#components
    gate.refuse(connection, error)
    const peerId = connection.remotePeer.toString()
    const theirs = this.#acquaintances.get(connection)?.known
    const tell = async (): Promise<Greeting> =>
      this.#exchange(connection, async (channel) => sayHello(channel, this.#components, theirs))
    const timedOut = (): Error => new PeerTimeoutError(peerId, 'a farewell', farewellMs)
    if (membership.known.revocations > (theirs?.revocations ?? 0)) {
      await withDeadline(tell, { clock, timeoutMs: farewellMs, timedOut }).catch(() => {}) // its loss
    }
    connection.abort(error)
  }

  /** Closes a connection to who is no member. */
  dismiss(connection: Connection, error: Error): void {
    this.#components.gate.refuse(connection, error)
    connection.abort(error)
  }

  #refuse(connection: Connection, error: Error): void {
    if (!this.#refused.has(connection)) {
      this.#refused.add(connection)
      this.#components.refusals.hello(connection.remotePeer.toString(), error)
    }
    this.dismiss(connection, error)
  }

  /** An agent without a valid certificate asks for one before anything else. */
  #canGreet(): boolean {
    const { membership } = this.#components
    return membership.self !== undefined && membership.objectionTo(membership.self) === undefined
  }

  async #greetOnce(connection: Connection): Promise<Member> {
    const theirs = this.#acquaintances.get(connection)?.known
    const shown = this.#ownCertificate()
    const greeting = await this.#exchange(connection, async (channel) =>
      sayHello(channel, this.#components, theirs)
    )
    return this.#admit(connection, greeting, shown)
  }

  #admit(connection: Connection, greeting: Greeting, certificate: Uint8Array): Member {
    const { membership, gate, onAdmitted } = this.#components
    const { member, known } = membership.admit(connection.remotePeer.toString(), greeting)
    const { issues = false } = greeting
    this.#acquaintances.set(connection, { known, certificate, issues })
    if (gate.admit(connection, member)) {
      this.#dismissExcess(member.peerId)
      onAdmitted(connection, member, greeting)
    }
    return member
  }

  #dismissExcess(peerId: string): void {
    const { gate, refusals } = this.#components
    for (const connection of gate.excessOf(peerId)) {
      refusals.connection('duplicate', peerId)
      this.dismiss(connection, new PeerUnreachableError(peerId, 'it has several newer connections'))
    }
  }

  /** The answer to a hello brings whatever the asker lacks. */
  #answered(connection: Connection): void {
    const acquaintance = this.#acquaintances.get(connection)
    if (acquaintance === undefined) return
    const { metadata, revocations } = this.#components.membership.known
    const known = {
      metadata: Math.max(metadata, acquaintance.known.metadata),
      revocations: Math.max(revocations, acquaintance.known.revocations)
    }
    this.#acquaintances.set(connection, { ...acquaintance, known })
  }

  #ownCertificate(): Uint8Array {
    return this.#components.membership.documents().certificate
  }

  #isBehind(connection: Connection): boolean {
    const { membership } = this.#components
    const acquaintance = this.#acquaintances.get(connection)
    if (acquaintance === undefined) return true
    const { metadata, revocations } = membership.known
    const { known, certificate } = acquaintance
    return (
      known.metadata < metadata ||
      known.revocations < revocations ||
      certificate !== this.#ownCertificate()
    )
  }

  async #exchange<T>(connection: Connection, ask: (channel: Channel) => Promise<T>): Promise<T> {
    const { dialler } = this.#components
    return this.#withDeadline(connection, async (signal) => {
      const stream = await dialler.openStream(connection, HELLO, signal)
      const channel = this.#channel(stream, connection)
      try {
        const answer = await ask(channel)
        await channel.close()
        return answer
      } catch (error) {
        channel.abort(toError(error))
        throw error
      }
    })
  }

  /** A channel to somebody who is nobody yet. */
  #channel(
    stream: Stream,
    connection: Connection,
    maxReceivedBytes = HELLO.maxMessageBytes
  ): MessageChannel {
    const { clock } = this.#components
    const peerId = connection.remotePeer.toString()
    const nothing = { roles: new Set<never>(), rights: new Set<never>(), issuedMs: 0, expiresMs: 0 }
    const remote = { peerId, ...nothing }
    const options = { closeTimeoutMs: 1000, maxReceivedBytes }
    return new MessageChannel({ stream, remote, clock }, HELLO, options)
  }

  async #withDeadline<T>(
    connection: Connection,
    work: (signal: AbortSignal) => Promise<T>
  ): Promise<T> {
    const peerId = connection.remotePeer.toString()
    return withDeadline(async ({ signal }) => work(signal), {
      clock: this.#components.clock,
      timeoutMs: this.#timeoutMs,
      timedOut: () => new PeerTimeoutError(peerId, 'hello', this.#timeoutMs)
    })
  }
}
