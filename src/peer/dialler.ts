import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { toError } from '../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError, ProtocolRefusedError } from './errors.ts'
import type { AdmittedConnection, MembershipGate } from './membership-gate.ts'
import type { ProtocolSpec } from './types.ts'

export interface DiallerComponents {
  readonly libp2p: Libp2p
  readonly gate: MembershipGate
  readonly clock: Clock
}

/** Whom to dial: at the addresses known of it or found in the DHT, or at this one. */
export type DialTarget = PeerId | Multiaddr

/** Limits of a protocol's streams, as libp2p takes them. */
export function streamLimits({ maxStreams = 32 }: ProtocolSpec) {
  return { maxInboundStreams: maxStreams, maxOutboundStreams: maxStreams }
}

/** Makes connections and streams, and turns libp2p's errors into ours. */
export class Dialler {
  readonly #components: DiallerComponents
  readonly #timeoutMs: number

  /** `timeoutMs` bounds each piece of `work` that runs under a deadline. */
  constructor(components: DiallerComponents, timeoutMs: number) {
    this.#components = components
    this.#timeoutMs = timeoutMs
  }

  /** An open connection to a member, made if there is none. */
  async reach(
    peerId: string,
    target: DialTarget,
    options: AbortOptions
  ): Promise<AdmittedConnection> {
    const { gate } = this.#components
    const known = gate.connectionTo(peerId)
    if (known !== undefined) return known
    const connection = await this.dial(peerId, target, options)
    return { connection, member: await gate.memberOf(connection, options) }
  }

  /** An open connection to whoever holds the key of this peer id. @throws {PeerUnreachableError} */
  async dial(peerId: string, target: DialTarget, options: AbortOptions): Promise<Connection> {
    const { signal } = options
    try {
      return await this.#components.libp2p.dial(target, signal === undefined ? {} : { signal })
    } catch (thrown) {
      signal?.throwIfAborted()
      throw new PeerUnreachableError(peerId, dialFailure(thrown), { cause: toError(thrown) })
    }
  }

  /** Opens a stream. @throws {ProtocolRefusedError | PeerUnreachableError} */
  async openStream(
    connection: Connection,
    spec: ProtocolSpec,
    signal: AbortSignal
  ): Promise<Stream> {
    const { maxOutboundStreams } = streamLimits(spec)
    try {
      return await connection.newStream(spec.id, { signal, maxOutboundStreams })
    } catch (thrown) {
      signal.throwIfAborted()
      const error = toError(thrown)
      const peerId = connection.remotePeer.toString()
      if (error.name === 'UnsupportedProtocolError') {
        const options = { cause: error, isUnknown: true }
        throw new ProtocolRefusedError(peerId, spec.id, 'it does not speak it', options)
      }
      throw new PeerUnreachableError(peerId, error.message, { cause: error })
    }
  }

  /** Runs work that waits for a peer. @throws {PeerTimeoutError} naming `what` it was about. */
  async withDeadline<T>(
    peerId: string,
    what: string,
    options: AbortOptions,
    work: (signal: AbortSignal) => Promise<T>
  ): Promise<T> {
    const timeoutMs = this.#timeoutMs
    return withDeadline(async ({ signal }) => work(signal), {
      clock: this.#components.clock,
      timeoutMs,
      timedOut: () => new PeerTimeoutError(peerId, what, timeoutMs),
      signal: options.signal
    })
  }
}

function dialFailure(thrown: unknown): string {
  if (!(thrown instanceof AggregateError)) return toError(thrown).message
  if (thrown.errors.length === 0) return 'no address of it is known'
  return [...new Set(thrown.errors.map((error) => toError(error).message))].join('; ')
}
