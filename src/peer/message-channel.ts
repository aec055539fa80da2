import type { Stream } from '@libp2p/interface'
import { pipe } from 'it-pipe'
import type { Uint8ArrayList } from 'uint8arraylist'
import type { AbortOptions } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { MalformedError } from '../lib/errors.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError } from './errors.ts'
import { encodeFrame, FrameDecoder } from './frames.ts'
import { closeWrite, pauseReading, readBounded, writeAll } from './stream-io.ts'
import type { Channel, Member, ProtocolSpec } from './types.ts'

export interface MessageChannelComponents {
  readonly stream: Stream
  readonly remote: Member
  readonly clock: Clock
}

export interface MessageChannelOptions {
  /** How long `close` flushes and waits for the other side, in milliseconds. @default 5000 */
  closeTimeoutMs?: number
}

/**
 * Framed messages over a libp2p stream. `send` may be called again before the last call has resolved:
 * messages go out whole and in the order of the calls.
 */
export class MessageChannel implements Channel {
  readonly remote: Member
  readonly protocol: string
  readonly ended: AbortSignal
  readonly #stream: Stream
  readonly #clock: Clock
  readonly #maxMessageBytes: number
  readonly #closeTimeoutMs: number
  readonly #decoder: FrameDecoder
  #isReading = false
  #isClosedByRemote: boolean
  #lastSend: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  /** Takes over the stream, whose bytes nobody may have read. */
  constructor(
    components: MessageChannelComponents,
    spec: ProtocolSpec,
    options: MessageChannelOptions = {}
  ) {
    const { stream, remote, clock } = components
    const { closeTimeoutMs = 5000 } = options
    this.remote = remote
    this.protocol = spec.id
    this.#stream = stream
    this.#clock = clock
    this.#maxMessageBytes = spec.maxMessageBytes
    this.#closeTimeoutMs = closeTimeoutMs
    this.#decoder = new FrameDecoder(spec.maxMessageBytes, spec.id)
    pauseReading(stream)
    this.#isClosedByRemote = stream.status === 'open' && stream.remoteWriteStatus === 'closed'
    stream.addEventListener('remoteCloseWrite', () => {
      this.#isClosedByRemote = true
    })
    this.ended = endOf(stream)
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const frame = encodeFrame(parts)
    const byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0)
    if (byteLength > this.#maxMessageBytes) {
      throw new RangeError(`a message of ${byteLength} bytes, at most ${this.#maxMessageBytes}`)
    }
    const sent = this.#sendAfter(this.#lastSend, frame, signal)
    this.#lastSend = sent.catch(() => {})
    await settledOrAborted(sent, [signal])
    signal?.throwIfAborted()
  }

  async *messages(options: AbortOptions = {}): AsyncGenerator<Uint8Array> {
    if (this.#isReading) throw new Error(`messages of ${this.protocol} are being read already`)
    this.#isReading = true
    try {
      yield* pipe(
        () => readBounded(this.#stream, options),
        (source) => this.#decode(source)
      )
    } catch (thrown) {
      options.signal?.throwIfAborted()
      const error = toError(thrown)
      this.abort(error)
      throw error instanceof MalformedError ? error : this.#unreachable(error)
    } finally {
      this.#isReading = false
    }
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  abort(reason: Error): void {
    this.#stream.abort(reason)
  }

  async *#decode(source: AsyncIterable<Uint8ArrayList>): AsyncGenerator<Uint8Array> {
    yield* this.#whole()
    for await (const bytes of source) {
      this.#decoder.push(bytes)
      yield* this.#whole()
    }
    if (!this.#isClosedByRemote) throw new Error('the connection was lost')
    if (this.#decoder.isInsideMessage) {
      throw new MalformedError(`stream of ${this.protocol}`, 'it ends inside a message')
    }
  }

  *#whole(): Generator<Uint8Array> {
    for (let message = this.#decoder.next(); message; message = this.#decoder.next()) yield message
  }

  async #sendAfter(
    previous: Promise<void>,
    frame: Uint8ArrayList,
    signal: AbortSignal | undefined
  ): Promise<void> {
    await previous
    // Given up while it waited: left out. Once begun it is sent whole, or the framing would be lost.
    if (signal?.aborted === true) return
    try {
      await writeAll(this.#stream, [frame])
    } catch (error) {
      throw this.#unreachable(toError(error))
    }
  }

  async #close(): Promise<void> {
    const timeoutMs = this.#closeTimeoutMs
    const timedOut = (): Error =>
      new PeerTimeoutError(this.remote.peerId, `the end of ${this.protocol}`, timeoutMs)
    try {
      await withDeadline(async ({ signal }) => this.#closeBothSides(signal), {
        clock: this.#clock,
        timeoutMs,
        timedOut
      })
    } catch (error) {
      this.abort(toError(error))
    }
  }

  async #closeBothSides(signal: AbortSignal): Promise<void> {
    await this.#lastSend
    await closeWrite(this.#stream, { signal })
    if (!this.#isReading) await drain(readBounded(this.#stream, { signal }))
    await settledOrAborted(new Promise<void>(() => {}), [this.ended, signal])
  }

  #unreachable(cause: Error): PeerUnreachableError {
    if (cause instanceof PeerUnreachableError) return cause
    return new PeerUnreachableError(this.remote.peerId, cause.message, { cause })
  }
}

async function drain(source: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of source) {
    // Nobody wants it any more; reading it lets the other side finish.
  }
}

function endOf(stream: Stream): AbortSignal {
  const controller = new AbortController()
  const end = (error?: Error): void =>
    controller.abort(error ?? new Error(`the stream was ${stream.status}`))
  if (stream.status === 'open') {
    stream.addEventListener('close', (event) => end(event.error), { once: true })
  } else end()
  return controller.signal
}
