import type { ChunkId } from '../../chunks/types.ts'
import { toHex } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import { withDeadline } from '../../lib/deadline.ts'
import { toError } from '../../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError, ProtocolViolationError } from '../errors.ts'
import {
  type GoodbyeReason,
  type HandshakeMessage,
  SWARM_PROTOCOL,
  type SwarmMessage
} from '../protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../protocols/swarm-codec.ts'
import type { Channel, PeerNode } from '../types.ts'
import { GoodbyeError } from './errors.ts'
import type { OpenedChannel } from './link.ts'

export interface MeetingOptions {
  /** Time for connecting and for the handshake, each. @default 10 seconds */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** A channel on which the other end has introduced itself. */
export interface IntroducedChannel extends OpenedChannel {
  readonly handshake: HandshakeMessage
}

export interface MeetingComponents {
  readonly node: PeerNode
  readonly clock: Clock
}

/**
 * Opens a channel to a peer for one image and exchanges handshakes.
 *
 * @throws {GoodbyeError} if the peer wants nothing to do with this agent or the image.
 * @throws {PeerUnreachableError | PeerTimeoutError | ProtocolRefusedError} if it cannot be had.
 */
export async function meet(
  components: MeetingComponents,
  peerId: string,
  own: () => HandshakeMessage,
  options: MeetingOptions = {}
): Promise<IntroducedChannel> {
  const { node, clock } = components
  const { timeoutMs = 10_000, signal } = options
  const timedOut = (): Error => new PeerTimeoutError(peerId, 'opening a channel', timeoutMs)
  const channel = await withDeadline(
    async (deadline) => {
      const opened = await node.open(peerId, SWARM_PROTOCOL, { signal: deadline.signal })
      if (deadline.signal.aborted) opened.abort(toError(deadline.signal.reason)) // too late
      return opened
    },
    { clock, timeoutMs, timedOut, signal }
  )
  try {
    const handshake = own()
    await channel.send(encodeSwarmMessage(handshake), { signal })
    const introduced = await introduce(channel, clock, { timeoutMs, signal })
    checkSameImage(peerId, handshake, introduced.handshake)
    return introduced
  } catch (thrown) {
    channel.abort(toError(thrown))
    throw thrown
  }
}

/**
 * Waits for the handshake of the other end.
 *
 * @throws {GoodbyeError} if it is one.
 * @throws {PeerTimeoutError | PeerUnreachableError | ProtocolViolationError}
 */
export async function introduce(
  channel: Channel,
  clock: Clock,
  options: MeetingOptions = {}
): Promise<IntroducedChannel> {
  const { timeoutMs = 10_000, signal } = options
  const { peerId } = channel.remote
  const incoming = channel.messages()[Symbol.asyncIterator]()
  const timedOut = (): Error => new PeerTimeoutError(peerId, 'the handshake', timeoutMs)
  const deadline = { clock, timeoutMs, timedOut, signal }
  const next = async (): Promise<SwarmMessage> => {
    const { done, value } = await withDeadline(async () => incoming.next(), deadline)
    if (done === true) throw new PeerUnreachableError(peerId, 'it closed before the handshake')
    return decodeFrom(peerId, value)
  }
  let message = await next()
  const peers = message.type === 'peers' ? message.peers : []
  if (message.type === 'peers') message = await next() // it is full, and says who may not be
  if (message.type === 'goodbye') throw new GoodbyeError(peerId, message.reason, peers)
  if (message.type === 'handshake') return { channel, incoming, handshake: message }
  throw new ProtocolViolationError(peerId, `${message.type} before the handshake`)
}

/** Reads a message. @throws {ProtocolViolationError} that names the peer, if it is none. */
export function decodeFrom(peerId: string, bytes: Uint8Array): SwarmMessage {
  try {
    return decodeSwarmMessage(bytes)
  } catch (thrown) {
    const cause = toError(thrown)
    throw new ProtocolViolationError(peerId, cause.message, { cause })
  }
}

/** Refuses a channel on which nothing has been sent yet. */
export async function refuse(channel: Channel, reason: GoodbyeReason): Promise<void> {
  await channel.send(encodeSwarmMessage({ type: 'goodbye', reason }))
}

/** Checks what an answer says about the image. @throws {ProtocolViolationError} if it is another one. */
function checkSameImage(peerId: string, own: HandshakeMessage, other: HandshakeMessage): void {
  if (isSame(own.root, other.root) && own.chunkCount === other.chunkCount) return
  const answered = `image ${toHex(other.root).slice(0, 16)} of ${other.chunkCount} chunks`
  const reason = `asked for ${toHex(own.root).slice(0, 16)} of ${own.chunkCount}, got ${answered}`
  throw new ProtocolViolationError(peerId, reason)
}

function isSame(left: ChunkId, right: ChunkId): boolean {
  return Buffer.compare(left, right) === 0
}

/** What both ends say of an image when one came for its manifest pages. */
export function pagesHandshake(root: ChunkId): HandshakeMessage {
  return {
    type: 'handshake',
    root,
    wants: false,
    holdsAll: false,
    pagesOnly: true,
    chunkCount: 0,
    addresses: [],
    bitfield: undefined
  }
}
