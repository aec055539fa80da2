import type { Connection, Stream } from '@libp2p/interface'
import type { Clock } from '../lib/clock.ts'
import { TokenBucket } from '../lib/token-bucket.ts'
import { ProtocolViolationError } from './errors.ts'
import type { Refusals, RefusedStream } from './refusals.ts'

export interface StreamGuardComponents {
  readonly clock: Clock
  readonly refusals: Pick<Refusals, 'stream'>
  /** Tells whether there is a member at the other end. */
  readonly isAdmitted: () => boolean
  /** Called once, when streams are opened without end. */
  readonly onFlood: (error: Error) => void
}

export interface StreamGuardOptions {
  /** Streams that a peer may have open on a connection of its own making before its hello. @default 16 */
  readonly maxStrangerStreams?: number
  /** … and that any peer may have open on a connection: all protocols have room for fewer. @default 512 */
  readonly maxStreams?: number
  /** Streams that a peer may open on a connection at once, one after the other. @default 2048 */
  readonly burst?: number
  /** … and after these in each second. @default 500 */
  readonly perSecond?: number
  /** Streams that are refused of a stranger before its connection is closed. @default 64 */
  readonly maxStrangerRefusals?: number
  /** … and of a member; one is forgiven every 100 ms. @default 1024 */
  readonly maxRefusals?: number
}

/** Streams that a peer may have open on a connection. */
export const MAX_STREAMS = 512

const FORGIVEN_PER_SECOND = 10

const WINDOW_UPDATE = 1
const RESET = 8

/** What is used of a connection's muxer here; the types of libp2p hide it. */
interface Muxer {
  readonly streams: readonly Stream[]
  readonly numInboundStreams: number
  incomingStream(id: number): void
  sendFrame(header: { type: number; flag: number; streamID: number; length: number }): boolean
}

/**
 * Bounds what the streams of one connection cost that its peer opens, whatever protocol they are for, or
 * none: how many there are at a time, and how many come in a time. Those beyond are reset before anything
 * is made for them; who goes on is cut off.
 */
export class StreamGuard {
  readonly #components: StreamGuardComponents
  readonly #options: Required<StreamGuardOptions>
  readonly #openings: TokenBucket
  #refusedCount = 0
  #countedMs: number
  #isFlooded = false

  constructor(components: StreamGuardComponents, options: StreamGuardOptions = {}) {
    this.#components = components
    this.#options = {
      maxStrangerStreams: 16,
      maxStreams: MAX_STREAMS,
      burst: 2048,
      perSecond: 500,
      maxStrangerRefusals: 64,
      maxRefusals: 1024,
      ...options
    }
    const { burst, perSecond } = this.#options
    const burstMs = (burst / perSecond) * 1000
    this.#openings = new TokenBucket(components.clock, { perSecond, burstMs })
    this.#countedMs = components.clock.monotonic()
  }

  /** Looks at the streams of a new connection from now on. Called once. */
  watch(connection: Connection): void {
    const { muxer } = connection as unknown as { readonly muxer?: Muxer }
    if (muxer === undefined) return
    this.#lookAtEarly(connection, muxer)
    const take = muxer.incomingStream.bind(muxer)
    muxer.incomingStream = (id) => {
      const refusal = this.#refusalOf(connection, muxer)
      if (refusal === undefined) {
        take(id)
        const stream = muxer.streams.at(-1)
        if (stream?.id === `${id}`) this.#follow(stream, connection)
      } else {
        muxer.sendFrame({ type: WINDOW_UPDATE, flag: RESET, streamID: id, length: 0 })
        this.#refused(refusal, connection)
      }
    }
  }

  /** Streams that were opened together with the connection. */
  #lookAtEarly(connection: Connection, muxer: Muxer): void {
    for (const [at, stream] of muxer.streams.slice().entries()) {
      if (at < this.#limitFor(connection)) this.#follow(stream, connection)
      else {
        stream.abort(new Error('too many streams'))
        this.#refused('tooMany', connection)
      }
    }
  }

  #refusalOf(connection: Connection, muxer: Muxer): RefusedStream | undefined {
    const nowMs = this.#components.clock.monotonic()
    const passedSeconds = (nowMs - this.#countedMs) / 1000
    this.#countedMs = nowMs
    this.#refusedCount = Math.max(0, this.#refusedCount - passedSeconds * FORGIVEN_PER_SECOND)
    if (this.#isFlooded || this.#openings.delayMs(1) > 0) return 'tooFast'
    if (muxer.numInboundStreams >= this.#limitFor(connection)) return 'tooMany'
    this.#openings.tryTake(1)
    return undefined
  }

  #limitFor(connection: Connection): number {
    const { maxStrangerStreams, maxStreams } = this.#options
    return this.#isStranger(connection) ? maxStrangerStreams : maxStreams
  }

  /** Whom this agent dialled it takes for who they are said to be before their answer has come. */
  #isStranger({ direction }: Connection): boolean {
    return direction === 'inbound' && !this.#components.isAdmitted()
  }

  #follow(stream: Stream, connection: Connection): void {
    const { clock } = this.#components
    const openedMs = clock.monotonic()
    const onClose = ({ error }: { error?: Error }): void => {
      if (connection.status !== 'open' || this.#isFlooded) return
      const refusal = refusalFor(stream, error, clock.monotonic() - openedMs)
      if (refusal !== undefined) this.#refused(refusal, connection)
    }
    stream.addEventListener('close', onClose, { once: true })
  }

  #refused(reason: RefusedStream, connection: Connection): void {
    const { refusals, onFlood } = this.#components
    const { maxStrangerRefusals, maxRefusals } = this.#options
    const peerId = connection.remotePeer.toString()
    refusals.stream(reason, peerId)
    this.#refusedCount++
    const limit = this.#isStranger(connection) ? maxStrangerRefusals : maxRefusals
    if (this.#isFlooded || this.#refusedCount <= limit) return
    this.#isFlooded = true
    onFlood(new ProtocolViolationError(peerId, 'it opens streams without end'))
  }
}

// How long libp2p waits for the opener of a stream to name a protocol.
const NEGOTIATION_MS = 10_000

/** Why the library ended a stream; undefined if it was served, whatever became of it. */
function refusalFor(
  { protocol }: Stream,
  error: Error | undefined,
  openMs: number
): RefusedStream | undefined {
  if (protocol === '') return openMs >= NEGOTIATION_MS - 100 ? 'silent' : 'unknown'
  if (error?.name === 'TooManyInboundProtocolStreamsError') return 'tooMany'
  return error?.name === 'NotMemberError' ? 'stranger' : undefined
}
