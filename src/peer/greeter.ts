import type { Connection, Stream } from '@libp2p/interface'
import pLimit from 'p-limit'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Dialler } from './dialler.ts'
import { PeerTimeoutError } from './errors.ts'
import type { JoinToken } from './join-token.ts'
import type { MembershipGate } from './membership-gate.ts'
import { MessageChannel } from './message-channel.ts'
import type { MetadataList } from './metadata-list.ts'
import {
  answerHello,
  askToJoin,
  type Greeting,
  HELLO,
  type HelloComponents,
  sayHello
} from './protocols/hello.ts'
import type { Channel, Member } from './types.ts'

export interface GreeterComponents extends HelloComponents {
  readonly gate: MembershipGate
  readonly dialler: Dialler
  readonly clock: Clock
  readonly log: Logger
  /** Called once for each connection that was admitted, with what its peer says of itself. */
  readonly onAdmitted: (connection: Connection, greeting: Greeting) => void
}

export interface GreeterOptions {
  /** How long one exchange may take, in milliseconds. @default 10000 */
  timeoutMs?: number
}

// Exchanges that run at a time when a new metadata list is told to everybody.
const MAX_RENEWALS = 8

/** Says and answers hello on every connection, and tells the gate how it went. */
export class Greeter {
  readonly #components: GreeterComponents
  readonly #timeoutMs: number
  readonly #renewals = pLimit(MAX_RENEWALS)
  /** Number of the metadata list that the peer of a connection has shown. */
  readonly #shown = new WeakMap<Connection, number>()

  constructor(components: GreeterComponents, options: GreeterOptions = {}) {
    const { timeoutMs = 10_000 } = options
    this.#components = components
    this.#timeoutMs = timeoutMs
  }

  /** Deals with a new connection: the dialling side greets, the other waits and gives up. */
  async meet(connection: Connection): Promise<void> {
    const { gate, membership, log } = this.#components
    gate.opened(connection)
    try {
      if (connection.direction === 'inbound') await gate.memberOf(connection)
      else if (membership.self !== undefined) await this.greet(connection)
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('no hello with %p: %e', connection.remotePeer, error)
      this.#dismiss(connection, error)
    }
  }

  /** Says hello on a connection. @throws {NotMemberError | ProtocolRefusedError | PeerTimeoutError} */
  async greet(connection: Connection): Promise<Member> {
    const greeting = await this.#exchange(connection, async (channel) =>
      sayHello(channel, this.#components)
    )
    return this.#admit(connection, greeting)
  }

  /** Uses a token on a connection. @returns the certificate, not verified. @throws {JoinRefusedError} */
  async join(connection: Connection, token: JoinToken): Promise<Uint8Array> {
    return this.#exchange(connection, async (channel) => askToJoin(channel, token))
  }

  /** Serves one stream of hello. */
  async answer(stream: Stream, connection: Connection): Promise<void> {
    const channel = this.#channel(stream, connection)
    try {
      await this.#withDeadline(connection, async () => {
        await answerHello(channel, this.#components, (greeting) => {
          this.#admit(connection, greeting)
        })
        await channel.close()
      })
    } catch (thrown) {
      const error = toError(thrown)
      channel.abort(error)
      this.#components.log.debug('%p was refused: %e', connection.remotePeer, error)
      this.#dismiss(connection, error)
    }
  }

  /** Tells every member that has not shown this list or a newer one. */
  async spread(list: MetadataList): Promise<void> {
    const { gate, log } = this.#components
    const renewals = gate.admitted().map(async ({ connection }) =>
      this.#renewals(async () => {
        if ((this.#shown.get(connection) ?? 0) >= list.number) return
        try {
          await this.greet(connection)
        } catch (error) {
          log.debug('could not tell %p of the metadata list: %e', connection.remotePeer, error)
        }
      })
    )
    await Promise.all(renewals)
  }

  #admit(connection: Connection, greeting: Greeting): Member {
    const { membership, gate, onAdmitted } = this.#components
    const { member, listNumber } = membership.admit(connection.remotePeer.toString(), greeting)
    this.#shown.set(connection, listNumber)
    if (gate.admit(connection, member)) onAdmitted(connection, greeting)
    return member
  }

  #dismiss(connection: Connection, error: Error): void {
    this.#components.gate.refuse(connection, error)
    connection.abort(error)
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
  #channel(stream: Stream, connection: Connection): MessageChannel {
    const { clock } = this.#components
    const peerId = connection.remotePeer.toString()
    const stranger = { peerId, roles: new Set<never>(), rights: new Set<never>(), expiresMs: 0 }
    return new MessageChannel({ stream, remote: stranger, clock }, HELLO, { closeTimeoutMs: 1000 })
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
