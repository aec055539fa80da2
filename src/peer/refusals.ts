import type { Clock } from '../lib/clock.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import {
  JoinRefusedError,
  NotMemberError,
  type NotMemberReason,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolRefusedError,
  ProtocolViolationError
} from './errors.ts'

/** Why a TCP connection was not taken, or was cut. */
export type RefusedConnection =
  /** Too many from its address were in the middle of their handshake: it was the eldest of them. */
  | 'crowded'
  /** Too many came from its address in short time. */
  | 'tooFast'
  /** There are as many connections as there may be. */
  | 'full'
  /** Its handshake was not done in time. */
  | 'silent'
  /** It went away in the middle of its handshake, or that was none. */
  | 'broken'
  /** Its peer flooded this agent, now or a moment ago. */
  | 'flooding'
  /** Its peer has several newer ones. */
  | 'duplicate'

/** Why somebody on a connection was not taken for a member, or could not become one. */
export type RefusedHello =
  | NotMemberReason
  /** Its join token is unknown, expired or used, or is of another cluster. */
  | 'token'
  /** It does not speak this version of hello. */
  | 'version'
  /** The other side does not take this agent for a member. */
  | 'rejected'
  /** What it says cannot be read. */
  | 'garbled'
  /** It did not answer in time. */
  | 'timeout'
  /** It went away before it was known who it is. */
  | 'gone'
  | 'other'

/** Why a stream was not served. */
export type RefusedStream =
  /** There are as many of its connection, or of its protocol, as there may be. */
  | 'tooMany'
  /** Too many were opened in short time. */
  | 'tooFast'
  /** No protocol was agreed on: it is not spoken here, or not in that version. */
  | 'unknown'
  /** Its opener named no protocol, or did not begin to speak it, in time. */
  | 'silent'
  /** Its opener is no member. */
  | 'stranger'
  /** Its opener has neither role nor right for the protocol. */
  | 'noRight'

export interface RefusalsComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly metrics?: Metrics | undefined
}

// Of refusals for one reason the log tells at most this often, and how many there were.
const LOG_MS = 60_000

interface Unlogged {
  count: number
  loggedMs: number
}

/** Counts what this agent refused, by reason, and tells the log without being flooded itself. */
export class Refusals {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #connections: Counter | undefined
  readonly #hellos: Counter | undefined
  readonly #streams: Counter | undefined
  readonly #unlogged = new Map<string, Unlogged>()

  constructor({ clock, log, metrics }: RefusalsComponents) {
    this.#clock = clock
    this.#log = log
    this.#connections = metrics?.counter('blobswarm_peer_connections_refused_total', {
      help: 'TCP connections that were not taken, or were cut, by reason',
      labels: ['reason']
    })
    this.#hellos = metrics?.counter('blobswarm_peer_hellos_refused_total', {
      help: 'Connections whose peer was not taken for a member, by reason',
      labels: ['reason']
    })
    this.#streams = metrics?.counter('blobswarm_peer_streams_refused_total', {
      help: 'Streams that other agents opened and that were not served, by reason',
      labels: ['reason']
    })
  }

  /** Notes a connection from an address or peer. */
  connection(reason: RefusedConnection, from: string): void {
    this.#connections?.add(1, { reason })
    this.#tell('connections', reason, from)
  }

  /** Notes that it did not come to members at both ends of a connection. */
  hello(peerId: string, error: Error): void {
    const reason = reasonOf(error)
    this.#hellos?.add(1, { reason })
    this.#tell('hellos', reason, `${peerId}: ${error.message}`)
  }

  /** Notes a stream that a peer opened. */
  stream(reason: RefusedStream, peerId: string): void {
    this.#streams?.add(1, { reason })
    this.#tell('streams', reason, peerId)
  }

  #tell(what: string, reason: string, from: string): void {
    const nowMs = this.#clock.monotonic()
    const key = `${what} ${reason}`
    const unlogged = this.#unlogged.get(key) ?? { count: 0, loggedMs: -Infinity }
    unlogged.count++
    this.#unlogged.set(key, unlogged)
    if (nowMs - unlogged.loggedMs < LOG_MS) return
    this.#log.info('%d %s refused (%s), the last of %s', unlogged.count, what, reason, from)
    unlogged.count = 0
    unlogged.loggedMs = nowMs
  }
}

function reasonOf(error: Error): RefusedHello {
  if (error instanceof NotMemberError) return error.why
  if (error instanceof JoinRefusedError) return 'token'
  if (error instanceof ProtocolRefusedError) return error.isUnknown ? 'version' : 'rejected'
  if (error instanceof MalformedError || error instanceof ProtocolViolationError) return 'garbled'
  if (error instanceof PeerTimeoutError) return 'timeout'
  return error instanceof PeerUnreachableError ? 'gone' : 'other'
}
