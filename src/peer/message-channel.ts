import type { Stream } from '@libp2p/interface'
import { pipe } from 'it-pipe'
import { Uint8ArrayList } from 'uint8arraylist'
import type { ReadBuffers } from '../chunks/read-buffers.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { KIB } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { MalformedError } from '../lib/errors.ts'
import { settledOrAborted } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError } from './errors.ts'
import { encodeFrame, FrameDecoder, type MessageMemory } from './frames.ts'
import { deliverAll } from './stream-delivery.ts'
import { pauseReading, readBounded } from './stream-reading.ts'
import { closeWrite, isReadyFor, writeAll } from './stream-writing.ts'
import type { Channel, Member, ProtocolSpec } from './types.ts'

export interface MessageChannelComponents {
  readonly stream: Stream
  readonly remote: Member
  readonly clock: Clock
  /** Where long messages are put together. @default fresh memory for each */
  readonly memory?: ReadBuffers | undefined
}

export interface MessageChannelOptions {
  /** How long `close` flushes and waits for the other side, in milliseconds. @default 5000 */
  closeTimeoutMs?: number
  /** Longest message that is received, in bytes. @default the protocol's */
  maxReceivedBytes?: number
}

const MIN_REUSED_BYTES = 64 * KIB

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
  readonly #memory: ReadBuffers | undefined
  readonly #decoder: FrameDecoder
  #isReading = false
  #isClosedByRemote: boolean
  #lastSend: Promise<void> = Promise.resolve()
  /** Sends that wait for others or for the network. */
  #waitingSends = 0
  #closing: Promise<void> | undefined

  /** Takes over the stream, whose bytes nobody may have read. */
  constructor(
    components: MessageChannelComponents,
    spec: ProtocolSpec,
    options: MessageChannelOptions = {}
  ) {
    const { stream, remote, clock, memory } = components
    const { closeTimeoutMs = 5000, maxReceivedBytes = spec.maxMessageBytes } = options
    this.remote = remote
    this.protocol = spec.id
    this.#stream = stream
    this.#clock = clock
    this.#maxMessageBytes = spec.maxMessageBytes
    this.#closeTimeoutMs = closeTimeoutMs
    this.#memory = memory
    this.#decoder = new FrameDecoder(maxReceivedBytes, spec.id, memoryFrom(memory))
    pauseReading(stream)
    this.#isClosedByRemote = stream.status === 'open' && stream.remoteWriteStatus === 'closed'
    stream.addEventListener('remoteCloseWrite', () => {
      this.#isClosedByRemote = true
    })
    this.ended = endOf(stream)
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    this.#checkLength(parts)
    await this.#sendFrames(encodeFrame(parts), options.signal)
  }

  async sendTogether(messages: readonly (readonly Uint8Array[])[]): Promise<void> {
    for (const parts of messages) this.#checkLength(parts)
    const frames = new Uint8ArrayList()
    for (const parts of messages) frames.append(encodeFrame(parts))
    await this.#sendFrames(frames, undefined)
  }

  async *messages(options: AbortOptions = {}): AsyncGenerator<Uint8Array> {
    this.#beginReading()
    try {
      yield* pipe(
        () => readBounded(this.#stream, options),
        (source) => this.#decode(source)
      )
    } catch (thrown) {
      options.signal?.throwIfAborted()
      this.#fail(toError(thrown))
    } finally {
      this.#isReading = false
    }
  }

  async deliver(take: (message: Uint8Array) => boolean): Promise<void> {
    this.#beginReading()
    const takeWhole = (): boolean => {
      for (const message of this.#whole()) if (!take(message)) return false
      return true
    }
    try {
      if (!takeWhole()) return
      const hasEnded = await deliverAll(this.#stream, (bytes) => {
        this.#decoder.push(bytes)
        return takeWhole()
      })
      if (hasEnded) this.#checkEnd()
    } catch (error) {
      this.#fail(toError(error))
    } finally {
      this.#isReading = false
    }
  }

  giveBack(message: Uint8Array): void {
    this.#memory?.giveBack(message)
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
    this.#checkEnd()
  }

  #beginReading(): void {
    if (this.#isReading) throw new Error(`messages of ${this.protocol} are being read already`)
    this.#isReading = true
  }

  /** The stream has ended: was that all? */
  #checkEnd(): void {
    if (!this.#isClosedByRemote) throw new Error('the connection was lost')
    if (this.#decoder.isInsideMessage) {
      throw new MalformedError(`stream of ${this.protocol}`, 'it ends inside a message')
    }
  }

  /** Reading failed: there is no way to go on. */
  #fail(error: Error): never {
    this.abort(error)
    throw error instanceof MalformedError ? error : this.#unreachable(error)
  }

  *#whole(): Generator<Uint8Array> {
    for (let message = this.#decoder.next(); message; message = this.#decoder.next()) yield message
  }

  #checkLength(parts: readonly Uint8Array[]): void {
    const byteLength = parts.reduce((sum, part) => sum + part.byteLength, 0)
    if (byteLength <= this.#maxMessageBytes) return
    throw new RangeError(`a message of ${byteLength} bytes, at most ${this.#maxMessageBytes}`)
  }

  async #sendFrames(frames: Uint8ArrayList, signal: AbortSignal | undefined): Promise<void> {
    const isBegun = this.#waitingSends === 0 && isReadyFor(this.#stream, frames.byteLength)
    if (isBegun && this.#sendNow(frames)) return
    const sent = this.#sendAfter(this.#lastSend, isBegun ? [] : [frames], signal)
    this.#lastSend = sent.catch(() => {})
    await settledOrAborted(sent, [signal])
    signal?.throwIfAborted()
  }

  /** @returns whether more may follow at once. */
  #sendNow(frame: Uint8ArrayList): boolean {
    try {
      return this.#stream.send(frame)
    } catch (error) {
      throw this.#unreachable(toError(error))
    }
  }

  /** Sends what is left of a message when those before it have gone, and waits until it has gone, too. */
  async #sendAfter(
    previous: Promise<void>,
    left: readonly Uint8ArrayList[],
    signal: AbortSignal | undefined
  ): Promise<void> {
    this.#waitingSends++
    try {
      await previous
      // Given up while it waited: left out. Once begun it is sent whole, or the framing would be lost.
      if (signal?.aborted !== true) await writeAll(this.#stream, left)
    } catch (error) {
      throw this.#unreachable(toError(error))
    } finally {
      this.#waitingSends--
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

/** Short messages are left to the garbage collector. */
function memoryFrom(memory: ReadBuffers | undefined): MessageMemory {
  return {
    take: (length) =>
      memory === undefined || length < MIN_REUSED_BYTES
        ? new Uint8Array(length)
        : memory.take(length)
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
