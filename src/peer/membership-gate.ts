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
  readonly #connections = new Map<string, Gated>()
  readonly #listeners = new Set<() => void>()

  constructor(clock: Clock, options: MembershipGateOptions = {}) {
    const { waitMs = 10_000 } = options
    this.#clock = clock
    this.#waitMs = waitMs
  }

  /** Stands before a protocol's handler, and before the use of a stream that this agent opened. */
  readonly middleware: StreamMiddleware = async (stream, connection, next) => {
    pauseReading(stream)
    await this.memberOf(connection)
    // The handlers of libp2p's own protocols expect a stream that flows as soon as they listen.
    stream.resume()
    next(stream, connection)
  }

  /** → unknown. */
  opened(connection: Connection): void {
    this.#gated(connection)
  }

  /** unknown | admitted → admitted; a second hello renews. @returns whether it was the first. */
  admit(connection: Connection, member: Member): boolean {
    const gated = this.#gated(connection)
    const { standing } = gated
    if (standing.state === 'refused') throw standing.error
    gated.standing = { state: 'admitted', member }
    gated.decided.resolve()
    this.#changed()
    return standing.state === 'unknown'
  }

  /** unknown | admitted → refused. */
  refuse(connection: Connection, error: Error): void {
    const gated = this.#gated(connection)
    const wasAdmitted = gated.standing.state === 'admitted'
    gated.standing = { state: 'refused', error }
    gated.decided.resolve()
    if (wasAdmitted) this.#changed()
  }

  /** Forgets the connection. */
  closed(connection: Connection): void {
    const gated = this.#connections.get(connection.id)
    if (gated === undefined) return
    this.#connections.delete(connection.id)
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
   * @throws {NotMemberError} if none was said in time, or the certificate has expired since.
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
      if (connection.status === 'open') return { connection, member: standing.member }
    }
    return undefined
  }

  /** All connections to members. */
  admitted(): AdmittedConnection[] {
    return [...this.#connections.values()].flatMap(({ connection, standing }) =>
      standing.state === 'admitted' ? [{ connection, member: standing.member }] : []
    )
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
        if (this.#clock.now() < standing.member.expiresMs) return standing.member
        throw new NotMemberError(peerId, 'its certificate has expired')
      }
      default:
        return standing satisfies never
    }
  }

  #gated(connection: Connection): Gated {
    const known = this.#connections.get(connection.id)
    if (known !== undefined) return known
    const gated = new Gated(connection)
    if (connection.status === 'open') this.#connections.set(connection.id, gated)
    return gated
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
