import type { Connection, StreamMiddleware } from '@libp2p/interface'
import type { AbortOptions } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { NotMemberError, PeerUnreachableError } from './errors.ts'
import { pauseReading } from './stream-io.ts'
import type { Member } from './types.ts'

type Standing =
  | { readonly state: 'unknown' }
  | { readonly state: 'admitted'; readonly member: Member }
  | { readonly state: 'refused'; readonly error: Error }

/** One connection and what is known of who is at its other end. */
class Gated {
  readonly connection: Connection
  readonly decided = Promise.withResolvers<void>()
  standing: Standing = { state: 'unknown' }

  constructor(connection: Connection) {
    this.connection = connection
  }
}

export interface MembershipGateOptions {
  /** How long a stream waits for the hello of its connection, in milliseconds. @default 10000 */
  waitMs?: number
  /** Connections of which nobody knows yet who is at their other end. @default 256 */
  maxStrangers?: number
  /** Why somebody who was admitted is no member any more. @default its certificate has expired */
  objectionTo?: (member: Member) => Error | undefined
}

/** A member's connection that is open now. */
export interface AdmittedConnection {
  readonly connection: Connection
  readonly member: Member
}

/**
 * Knows which connections lead to members, and holds back every stream of the others: each connection
 * is unknown → admitted or refused, by the hello that was said on it.
 */
export class MembershipGate {
  readonly #clock: Clock
  readonly #waitMs: number
  readonly #maxStrangers: number
  readonly #objectionTo: (member: Member) => Error | undefined
  readonly #connections = new Map<string, Gated>()
  /** Those in the state unknown, the oldest first. */
  readonly #strangers = new Set<Gated>()
  readonly #listeners = new Set<() => void>()

  constructor(clock: Clock, options: MembershipGateOptions = {}) {
    const { waitMs = 10_000, maxStrangers = 256, objectionTo } = options
    if (!(maxStrangers >= 1)) throw new RangeError(`room for ${maxStrangers} strangers`)
    this.#clock = clock
    this.#waitMs = waitMs
    this.#maxStrangers = maxStrangers
    this.#objectionTo = objectionTo ?? ((member) => this.#expiryOf(member))
  }

  /** Stands before a protocol's handler, and before the use of a stream that this agent opened. */
  readonly middleware: StreamMiddleware = async (stream, connection, next) => {
    pauseReading(stream)
    await this.memberOf(connection)
    // The handlers of libp2p's own protocols expect a stream that flows as soon as they listen.
    stream.resume()
    next(stream, connection)
  }

  /**
   * → unknown.
   *
   * @returns the connection that has said no hello for longest where there are too many of them: it is
   *   to be closed, so that strangers cannot keep members out by saying nothing.
   */
  opened(connection: Connection): Connection | undefined {
    this.#gated(connection)
    if (this.#strangers.size <= this.#maxStrangers) return undefined
    const [oldest] = this.#strangers
    return oldest?.connection
  }

  /** Tells whether there is a member at the other end. */
  isAdmitted(connection: Connection): boolean {
    return this.#connections.get(connection.id)?.standing.state === 'admitted'
  }

  /** unknown | admitted → admitted; a second hello renews. @returns whether it was the first. */
  admit(connection: Connection, member: Member): boolean {
    const gated = this.#gated(connection)
    const { standing } = gated
    if (standing.state === 'refused') throw standing.error
    gated.standing = { state: 'admitted', member }
    this.#strangers.delete(gated)
    gated.decided.resolve()
    this.#changed()
    return standing.state === 'unknown'
  }

  /** unknown | admitted → refused. */
  refuse(connection: Connection, error: Error): void {
    const gated = this.#gated(connection)
    const wasAdmitted = gated.standing.state === 'admitted'
    gated.standing = { state: 'refused', error }
    this.#strangers.delete(gated)
    gated.decided.resolve()
    if (wasAdmitted) this.#changed()
  }

  /** Forgets the connection. */
  closed(connection: Connection): void {
    const gated = this.#connections.get(connection.id)
    if (gated === undefined) return
    this.#connections.delete(connection.id)
    this.#strangers.delete(gated)
    const { state } = gated.standing
    if (state === 'refused') return
    const peerId = connection.remotePeer.toString()
    const error = new PeerUnreachableError(peerId, 'the connection was closed')
    gated.standing = { state: 'refused', error }
    gated.decided.resolve()
    if (state === 'admitted') this.#changed()
  }

  /**
   * Tells who is at the other end, waiting for the hello if it has not been said.
   *
   * @throws {Error} what it was refused for.
   * @throws {NotMemberError} if none was said in time, or the certificate has expired or was revoked
   *   since.
   * @throws {PeerUnreachableError} if the connection was closed meanwhile.
   */
  async memberOf(connection: Connection, options: AbortOptions = {}): Promise<Member> {
    const gated = this.#gated(connection)
    const peerId = connection.remotePeer.toString()
    if (gated.standing.state === 'unknown') {
      await withDeadline(() => gated.decided.promise, {
        clock: this.#clock,
        timeoutMs: this.#waitMs,
        timedOut: () => new NotMemberError(peerId, `it said no hello within ${this.#waitMs} ms`),
        signal: options.signal
      })
    }
    return this.#standingMember(gated)
  }

  /** A connection to a member on which streams can be opened now; undefined if there is none. */
  connectionTo(peerId: string): AdmittedConnection | undefined {
    for (const { connection, standing } of this.#connections.values()) {
      if (standing.state !== 'admitted' || standing.member.peerId !== peerId) continue
      if (connection.status !== 'open' || this.#objectionTo(standing.member) !== undefined) continue
      return { connection, member: standing.member }
    }
    return undefined
  }

  /** All connections to members. */
  admitted(): AdmittedConnection[] {
    return [...this.#connections.values()].flatMap(({ connection, standing }) =>
      standing.state === 'admitted' ? [{ connection, member: standing.member }] : []
    )
  }

  /** Connections on which no hello has been said. */
  strangers(): Connection[] {
    return [...this.#strangers].map(({ connection }) => connection)
  }

  /** Members with a connection now, each once. */
  members(): Member[] {
    const byPeer = new Map(this.admitted().map(({ member }) => [member.peerId, member]))
    return [...byPeer.values()]
  }

  /** Calls back when a connection to a member has come or gone. @returns how to stop listening. */
  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #standingMember({ standing, connection }: Gated): Member {
    const peerId = connection.remotePeer.toString()
    switch (standing.state) {
      case 'unknown':
        throw new NotMemberError(peerId, 'it said no hello')
      case 'refused':
        throw standing.error
      case 'admitted': {
        const objection = this.#objectionTo(standing.member)
        if (objection === undefined) return standing.member
        throw objection
      }
      default:
        return standing satisfies never
    }
  }

  #gated(connection: Connection): Gated {
    const known = this.#connections.get(connection.id)
    if (known !== undefined) return known
    const gated = new Gated(connection)
    if (connection.status === 'open') {
      this.#connections.set(connection.id, gated)
      this.#strangers.add(gated)
    }
    return gated
  }

  #expiryOf({ peerId, expiresMs }: Member): Error | undefined {
    if (this.#clock.now() < expiresMs) return undefined
    return new NotMemberError(peerId, 'its certificate has expired')
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
