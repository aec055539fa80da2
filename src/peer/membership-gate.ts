import type { Connection, StreamMiddleware } from '@libp2p/interface'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { originOf } from './addresses.ts'
import { Crowd } from './crowd.ts'
import { NotMemberError, PeerUnreachableError } from './errors.ts'
import { pauseReading } from './stream-reading.ts'
import type { Member } from './types.ts'

type Standing =
  | { readonly state: 'unknown' }
  | { readonly state: 'admitted'; readonly member: Member }
  | { readonly state: 'refused'; readonly error: Error }

/** One connection and what is known of who is at its other end. */
class Gated {
  readonly connection: Connection
  readonly decided = Promise.withResolvers<void>()
  /** Where it comes from, if it was not this agent that made it. */
  readonly origin: string | undefined
  standing: Standing = { state: 'unknown' }

  constructor(connection: Connection) {
    const { direction, remoteAddr } = connection
    this.connection = connection
    this.origin = direction === 'inbound' ? originOf(remoteAddr) : undefined
  }
}

export interface MembershipGateOptions {
  /** How long a stream waits for the hello of its connection, in milliseconds. @default 10000 */
  waitMs?: number
  /** Connections that others made and on which no hello has been said. @default 256 */
  maxStrangers?: number
  /** Connections that one member may have; it has more than one only while it loses some. @default 8 */
  maxForMember?: number
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
  readonly #maxForMember: number
  readonly #objectionTo: (member: Member) => Error | undefined
  readonly #connections = new Map<string, Gated>()
  /** Those in the state unknown, the oldest first, and by origin if others made them. */
  readonly #strangers = new Set<Gated>()
  readonly #crowd = new Crowd<Gated>()
  readonly #listeners = new Set<() => void>()

  constructor(clock: Clock, options: MembershipGateOptions = {}) {
    const { waitMs = 10_000, maxStrangers = 256, maxForMember = 8, objectionTo } = options
    if (!(maxStrangers >= 1)) throw new RangeError(`room for ${maxStrangers} strangers`)
    if (!(maxForMember >= 1)) throw new RangeError(`${maxForMember} connections of a member`)
    this.#clock = clock
    this.#waitMs = waitMs
    this.#maxStrangers = maxStrangers
    this.#maxForMember = maxForMember
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
   * @returns where there are too many, the connection that has said no hello for longest, of the address
   *   that most of them are from: it is to be closed, so that strangers cannot keep members out by saying
   *   nothing.
   */
  opened(connection: Connection): Connection | undefined {
    this.#gated(connection)
    if (this.#crowd.size <= this.#maxStrangers) return undefined
    return this.#crowd.eldestOfMost?.connection
  }

  /** Connections of a member beyond those that it may have, the oldest ones: they are to be closed. */
  excessOf(peerId: string): Connection[] {
    const all = this.admitted().filter(({ member }) => member.peerId === peerId)
    const count = Math.max(0, all.length - this.#maxForMember)
    return all.slice(0, count).map(({ connection }) => connection)
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
    this.#forgetStranger(gated)
    gated.decided.resolve()
    this.#changed()
    return standing.state === 'unknown'
  }

  /** unknown | admitted → refused. */
  refuse(connection: Connection, error: Error): void {
    const gated = this.#gated(connection)
    const wasAdmitted = gated.standing.state === 'admitted'
    gated.standing = { state: 'refused', error }
    this.#forgetStranger(gated)
    gated.decided.resolve()
    if (wasAdmitted) this.#changed()
  }

  /** Forgets the connection. */
  closed(connection: Connection): void {
    const gated = this.#connections.get(connection.id)
    if (gated === undefined) return
    this.#connections.delete(connection.id)
    this.#forgetStranger(gated)
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
        timedOut: () =>
          new NotMemberError(peerId, `it said no hello within ${this.#waitMs} ms`, {
            why: 'silent'
          }),
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
        throw new NotMemberError(peerId, 'it said no hello', { why: 'silent' })
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
      if (gated.origin !== undefined) this.#crowd.add(gated.origin, gated)
    }
    return gated
  }

  #forgetStranger(gated: Gated): void {
    this.#strangers.delete(gated)
    if (gated.origin !== undefined) this.#crowd.delete(gated.origin, gated)
  }

  #expiryOf({ peerId, expiresMs }: Member): Error | undefined {
    if (this.#clock.now() < expiresMs) return undefined
    return new NotMemberError(peerId, 'its certificate has expired', { why: 'expired' })
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
