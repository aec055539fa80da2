import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { ReadBuffers } from '../chunks/read-buffers.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { MIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { type Dialler, streamLimits } from './dialler.ts'
import { PeerTimeoutError, PeerUnreachableError, ProtocolRefusedError } from './errors.ts'
import { answerKnock, knock, MAX_VERDICT_BYTES } from './knock.ts'
import type { MembershipGate } from './membership-gate.ts'
import { MessageChannel } from './message-channel.ts'
import { parsePeerId } from './peer-identity.ts'
import type { Refusals } from './refusals.ts'
import type { Channel, Member, ProtocolSpec, ServeChannel } from './types.ts'

export interface ProtocolChannelsComponents {
  readonly libp2p: Libp2p
  readonly gate: MembershipGate
  readonly dialler: Dialler
  readonly clock: Clock
  readonly log: Logger
  readonly refusals: Pick<Refusals, 'stream'>
  /** Takes care of a task that handles its own errors. */
  readonly own: (task: Promise<void>) => void
}

/** Memory of long messages that waits for the next ones. */
const IDLE_MESSAGE_BYTES = 8 * MIB

/** The channels of our protocols that are open, made here or served here. */
export class ProtocolChannels {
  readonly #components: ProtocolChannelsComponents
  readonly #open = new Set<Channel>()
  readonly #memory = new ReadBuffers(IDLE_MESSAGE_BYTES)

  constructor(components: ProtocolChannelsComponents) {
    this.#components = components
  }

  /** Answers a protocol from now on. */
  async serve(
    spec: ProtocolSpec,
    handle: ServeChannel,
    allow: (member: Member) => boolean
  ): Promise<void> {
    const { libp2p, gate, own } = this.#components
    if (spec.maxMessageBytes < MAX_VERDICT_BYTES) {
      throw new RangeError(`messages of ${spec.maxMessageBytes} bytes are too short`)
    }
    libp2p.use(spec.id, gate.middleware)
    await libp2p.handle(
      spec.id,
      async (stream, connection) => {
        const channel = this.#channel(stream, await gate.memberOf(connection), spec)
        own(this.#serve(channel, handle, allow))
      },
      streamLimits(spec)
    )
  }

  /** Opens a channel to a peer, connecting first. @throws {PeerUnreachableError | ProtocolRefusedError} */
  async open(peerId: string, spec: ProtocolSpec, options: AbortOptions): Promise<Channel> {
    const { dialler } = this.#components
    const target = parsePeerId(peerId)
    return dialler.withDeadline(peerId, `to open ${spec.id}`, options, async (signal) => {
      const { connection, member } = await dialler.reach(peerId, target, { signal })
      const stream = await dialler.openStream(connection, spec, signal)
      const channel = this.#channel(stream, member, spec)
      try {
        await knock(channel, { signal })
        signal.throwIfAborted()
        return channel
      } catch (thrown) {
        const error = toError(thrown)
        channel.abort(error)
        throw this.#openFailure(connection, spec, error)
      }
    })
  }

  /** Ends all channels at once, or those to one peer. */
  abort(reason: Error, peerId?: string): void {
    for (const channel of this.#open) {
      if (peerId === undefined || channel.remote.peerId === peerId) channel.abort(reason)
    }
  }

  async #serve(
    channel: Channel,
    handle: ServeChannel,
    allow: (member: Member) => boolean
  ): Promise<void> {
    const { log } = this.#components
    const { peerId } = channel.remote
    try {
      if (await this.#answerKnock(channel, allow)) await handle(channel)
      await channel.close()
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('%s of %p ended: %e', channel.protocol, peerId, error)
      channel.abort(error)
    }
  }

  async #answerKnock(channel: Channel, allow: (member: Member) => boolean): Promise<boolean> {
    const { dialler, refusals } = this.#components
    const { peerId } = channel.remote
    try {
      const isServed = await dialler.withDeadline(peerId, 'a knock', {}, async (signal) =>
        answerKnock(channel, allow, { signal })
      )
      if (!isServed) refusals.stream('noRight', peerId)
      return isServed
    } catch (error) {
      if (error instanceof PeerTimeoutError) refusals.stream('silent', peerId)
      throw error
    }
  }

  #channel(stream: Stream, remote: Member, spec: ProtocolSpec): Channel {
    const { clock } = this.#components
    const channel = new MessageChannel({ stream, remote, clock, memory: this.#memory }, spec)
    this.#open.add(channel)
    channel.ended.addEventListener('abort', () => this.#open.delete(channel), { once: true })
    if (channel.ended.aborted) this.#open.delete(channel)
    return channel
  }

  /** A stream that ends before it was answered, on a connection that goes on, was refused. */
  #openFailure(connection: Connection, spec: ProtocolSpec, error: Error): Error {
    if (connection.status !== 'open' || !(error instanceof PeerUnreachableError)) return error
    const peerId = connection.remotePeer.toString()
    return new ProtocolRefusedError(peerId, spec.id, 'it reset the stream', { cause: error })
  }
}
