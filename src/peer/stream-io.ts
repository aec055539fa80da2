/**
 * Reading and writing libp2p 3 streams with back-pressure. The library's own ways lose it:
 * - `for await (… of stream)` queues without bound while the loop body works;
 * - a stream that is neither paused nor listened to keeps granting window until it is reset;
 * - `pause()` inside a 'message' event that `resume()` caused leaves yamux granting window;
 * - `onDrain()` waits once only, later calls resolve at once;
 * - a 'drain' event may come from another stream's traffic while this one still has bytes queued;
 * - `close()` may wait for a 'drain' that has been and gone.
 */
import type { Stream } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import type { AbortOptions } from '../chunks/types.ts'
import { settledOrAborted } from '../lib/signals.ts'

/**
 * Most bytes of one `send`: with yamux's header of 12 bytes they fill one noise message (65,519 bytes of
 * plain text) and not a second one of a few bytes.
 */
export const MAX_SEND_BYTES = 65_507

/** Bytes in one array or in several that follow one another. */
export type StreamBytes = Uint8Array | Uint8ArrayList

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

/** What a stream has delivered and nobody has taken yet. */
class Inbox {
  readonly #stream: Stream
  #received: Uint8ArrayList | undefined
  #isResuming = false
  #isClosedByRemote: boolean
  #error: Error | undefined
  #wake: (() => void) | undefined

  constructor(stream: Stream) {
    this.#stream = stream
    pauseReading(stream)
    this.#isClosedByRemote = hasClosedInOrder(stream)
    stream.addEventListener('message', this.#onMessage)
    stream.addEventListener('remoteCloseWrite', this.#onRemoteCloseWrite)
    stream.addEventListener('end', this.#onChange)
    stream.addEventListener('close', this.#onClose)
  }

  get isEnded(): boolean {
    const { readableEnded, status, readBufferLength } = this.#stream
    return readableEnded || (status !== 'open' && status !== 'closing' && readBufferLength === 0)
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
    if (this.#error !== undefined) throw this.#error
    if (!this.#isClosedByRemote) throw new Error(`the stream was ${this.#stream.status}`)
  }

  detach(): void {
    this.#stream.removeEventListener('message', this.#onMessage)
    this.#stream.removeEventListener('remoteCloseWrite', this.#onRemoteCloseWrite)
    this.#stream.removeEventListener('end', this.#onChange)
    this.#stream.removeEventListener('close', this.#onClose)
    pauseReading(this.#stream)
  }

  #resume(): void {
    if (this.#stream.readStatus !== 'paused') return
    this.#isResuming = true
    try {
      this.#stream.resume()
    } catch (error) {
      // The bytes were delivered; only the window could not be granted, because the connection is gone.
      if (this.#stream.status === 'open') throw error
    } finally {
      this.#isResuming = false
    }
    if (this.#received !== undefined) pauseReading(this.#stream)
  }

  readonly #onMessage = (event: { data: StreamBytes }): void => {
    this.#received ??= new Uint8ArrayList()
    this.#received.append(event.data)
    if (!this.#isResuming) pauseReading(this.#stream)
    this.#onChange()
  }

  readonly #onRemoteCloseWrite = (): void => {
    this.#isClosedByRemote = true
    this.#onChange()
  }

  readonly #onClose = (event: { error?: Error }): void => {
    this.#error = event.error
    this.#onChange()
  }

  readonly #onChange = (): void => {
    this.#wake?.()
    this.#wake = undefined
  }
}

/**
 * Sends everything of `source` in order, taking more from it only when the network can take more. The
 * arrays are handed on without copying and must not be changed; none waits for a later one.
 *
 * @throws {Error} if the stream ends first.
 */
export async function writeAll(
  stream: Stream,
  source: Iterable<StreamBytes> | AsyncIterable<StreamBytes>,
  options: AbortOptions = {}
): Promise<void> {
  const { signal } = options
  signal?.throwIfAborted()
  await untilDrained(stream, options)
  for await (const bytes of source) {
    for (let at = 0; at < bytes.byteLength; at += MAX_SEND_BYTES) {
      signal?.throwIfAborted()
      const end = Math.min(at + MAX_SEND_BYTES, bytes.byteLength)
      const piece = bytes instanceof Uint8Array ? bytes.subarray(at, end) : bytes.sublist(at, end)
      if (!stream.send(piece)) await untilDrained(stream, options)
    }
  }
}

/** Tells whether so many bytes can be given to `send` now, without waiting and in one piece. */
export function isReadyFor(stream: Stream, byteLength: number): boolean {
  const { status, writeStatus, writableNeedsDrain, writeBufferLength } = stream
  if (status !== 'open' || writeStatus !== 'writable' || byteLength > MAX_SEND_BYTES) return false
  return !writableNeedsDrain && writeBufferLength === 0
}

/** Sends what is queued and closes this side; the other side may go on sending. */
export async function closeWrite(stream: Stream, options: AbortOptions = {}): Promise<void> {
  if (stream.writeStatus !== 'writable') return
  await untilDrained(stream, options)
  await stream.close({ signal: options.signal ?? new AbortController().signal })
}

/** Resolves when all that was sent has left the stream and more can follow. */
async function untilDrained(stream: Stream, options: AbortOptions): Promise<void> {
  while (stream.writableNeedsDrain || stream.writeBufferLength > 0) {
    if (stream.status !== 'open') throw new Error(`the stream was ${stream.status}`)
    options.signal?.throwIfAborted()
    const { promise, resolve } = Promise.withResolvers<void>()
    const onEvent = (): void => resolve()
    const names = ['drain', 'idle', 'close'] as const
    for (const name of names) stream.addEventListener(name, onEvent)
    try {
      await settledOrAborted(promise, [options.signal])
    } finally {
      for (const name of names) stream.removeEventListener(name, onEvent)
    }
  }
}
