/**
 * Reading libp2p 3 streams with back-pressure. The library's own ways lose it:
 * - `for await (… of stream)` queues without bound while the loop body works;
 * - a stream that is neither paused nor listened to keeps granting window until it is reset;
 * - `pause()` inside a 'message' event that `resume()` caused leaves yamux granting window.
 */
import type { Stream } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import type { AbortOptions } from '../lib/abort-options.ts'
import { settledOrAborted } from '../lib/signals.ts'
import type { StreamBytes } from './stream-writing.ts'

/** Keeps arriving bytes inside the stream, and the sender within its window, until they are asked for. */
export function pauseReading(stream: Stream): void {
  if (stream.readStatus === 'readable') stream.pause()
}

/**
 * Yields what has arrived, as soon as something has, until the remote closes its side. While the taker
 * works, the stream is paused: at most one window of bytes is with the taker and one in the stream. It
 * is left paused, so that reading may be taken up again later; nothing is lost in between.
 *
 * @yields what arrived since the last time, at most one window of bytes.
 * @throws {Error} if the stream ended otherwise than by the remote's closing its side.
 */
export async function* readBounded(
  stream: Stream,
  options: AbortOptions = {}
): AsyncGenerator<Uint8ArrayList> {
  const { signal } = options
  const inbox = new Inbox(stream)
  try {
    for (;;) {
      const bytes = inbox.take()
      if (bytes !== undefined) yield bytes
      else if (inbox.isEnded) return inbox.throwUnlessClosedByRemote()
      else {
        signal?.throwIfAborted()
        await settledOrAborted(inbox.changed(), [signal])
      }
    }
  } finally {
    inbox.detach()
  }
}

/**
 * Tells whether the remote has closed its side. A stream whose connection was lost before anybody looked
 * cannot be told from one that was closed in order; who must know listens for 'remoteCloseWrite'.
 */
function hasClosedInOrder({ remoteWriteStatus, status }: Stream): boolean {
  return remoteWriteStatus === 'closed' && status !== 'reset' && status !== 'aborted'
}

/** Lets a paused stream deliver, at first what is queued in it. @throws {Error} if it cannot, and is open. */
export function resumeReading(stream: Stream): void {
  if (stream.readStatus !== 'paused') return
  try {
    stream.resume()
  } catch (error) {
    // The bytes were delivered; only the window could not be granted, because the connection is gone.
    if (stream.status === 'open') throw error
  }
}

/** Knows whether and how a stream's reading side has ended. */
export class StreamEnding {
  readonly #stream: Stream
  readonly #onChange: () => void
  #isClosedByRemote: boolean
  #error: Error | undefined

  /** `onChange` is called when that may have changed. */
  constructor(stream: Stream, onChange: () => void) {
    this.#stream = stream
    this.#onChange = onChange
    this.#isClosedByRemote = hasClosedInOrder(stream)
    stream.addEventListener('remoteCloseWrite', this.#onRemoteCloseWrite)
    stream.addEventListener('end', this.#onEnd)
    stream.addEventListener('close', this.#onClose)
  }

  get hasEnded(): boolean {
    const { readableEnded, status, readBufferLength } = this.#stream
    return readableEnded || (status !== 'open' && status !== 'closing' && readBufferLength === 0)
  }

  throwUnlessClosedByRemote(): void {
    if (this.#error !== undefined) throw this.#error
    if (!this.#isClosedByRemote) throw new Error(`the stream was ${this.#stream.status}`)
  }

  detach(): void {
    this.#stream.removeEventListener('remoteCloseWrite', this.#onRemoteCloseWrite)
    this.#stream.removeEventListener('end', this.#onEnd)
    this.#stream.removeEventListener('close', this.#onClose)
  }

  readonly #onEnd = (): void => this.#onChange()

  readonly #onRemoteCloseWrite = (): void => {
    this.#isClosedByRemote = true
    this.#onChange()
  }

  readonly #onClose = (event: { error?: Error }): void => {
    this.#error = event.error
    this.#onChange()
  }
}

/** What a stream has delivered and nobody has taken yet. */
class Inbox {
  readonly #stream: Stream
  readonly #ending: StreamEnding
  #received: Uint8ArrayList | undefined
  #isResuming = false
  #wake: (() => void) | undefined

  constructor(stream: Stream) {
    this.#stream = stream
    pauseReading(stream)
    this.#ending = new StreamEnding(stream, () => this.#changed())
    stream.addEventListener('message', this.#onMessage)
  }

  get isEnded(): boolean {
    return this.#ending.hasEnded
  }

  /** Takes everything that is there; undefined if there is nothing. */
  take(): Uint8ArrayList | undefined {
    if (this.#received === undefined) this.#resume()
    const received = this.#received
    this.#received = undefined
    return received
  }

  /** Resolves at the next event. */
  changed(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    return promise
  }

  throwUnlessClosedByRemote(): void {
    this.#ending.throwUnlessClosedByRemote()
  }

  detach(): void {
    this.#ending.detach()
    this.#stream.removeEventListener('message', this.#onMessage)
    pauseReading(this.#stream)
  }

  #resume(): void {
    this.#isResuming = true
    try {
      resumeReading(this.#stream)
    } finally {
      this.#isResuming = false
    }
    if (this.#received !== undefined) pauseReading(this.#stream)
  }

  #changed(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  readonly #onMessage = (event: { data: StreamBytes }): void => {
    this.#received ??= new Uint8ArrayList()
    this.#received.append(event.data)
    if (!this.#isResuming) pauseReading(this.#stream)
    this.#changed()
  }
}
