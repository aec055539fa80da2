/**
 * Writing libp2p 3 streams with back-pressure. The library's own ways lose it:
 * - `onDrain()` waits once only, later calls resolve at once;
 * - a 'drain' event may come from another stream's traffic while this one still has bytes queued;
 * - `close()` may wait for a 'drain' that has been and gone.
 */
import type { Stream } from '@libp2p/interface'
import type { Uint8ArrayList } from 'uint8arraylist'
import type { AbortOptions } from '../lib/abort-options.ts'
import { settledOrAborted } from '../lib/signals.ts'

/**
 * Most bytes of one `send`: with yamux's header of 12 bytes they fill one noise message (65,519 bytes of
 * plain text) and not a second one of a few bytes.
 */
export const MAX_SEND_BYTES = 65_507

/** Bytes in one array or in several that follow one another. */
export type StreamBytes = Uint8Array | Uint8ArrayList

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
