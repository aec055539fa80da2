import { toError } from '../lib/to-error.ts'
import type { DataSocket } from './data-socket.ts'
import { DataChannelError } from './errors.ts'
import type { BlockSink } from './upload-queue.ts'

/**
 * Receives a file in stream mode: its end is the end of the connection.
 *
 * @param offset where in the file the first byte belongs.
 * @returns bytes received, after the other side finished in order.
 * @throws {DataChannelError} if the connection broke instead; `signal.reason` if aborted.
 */
export async function receiveStream(
  socket: DataSocket,
  sink: BlockSink,
  options: { readonly offset: number; readonly signal: AbortSignal; readonly onBytes: () => void }
): Promise<number> {
  const { offset, signal, onBytes } = options
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const onAbort = (): void => reject(toError(signal.reason))
  let received = 0
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  socket.startReading({
    onData: (bytes) => {
      const hasRoom = sink.push(offset + received, bytes)
      received += bytes.byteLength
      onBytes()
      if (!hasRoom) socket.pauseUntil(sink.whenRoom())
    },
    onEnd: (error) => {
      if (error === undefined) resolve(received)
      else reject(brokenAfter(received, error))
    }
  })
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    socket.stopReading()
  }
}

/** Who hears of what is sent. */
export interface StreamSendOptions {
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
  /** Told of each array that has been sent, when nobody looks at it any more. */
  readonly onSent?: ((piece: Uint8Array) => void) | undefined
}

/**
 * Sends a file in stream mode and ends the connection.
 *
 * @throws {DataChannelError} if the connection breaks; `signal.reason` if aborted. The caller
 * resets the connection then, so that nobody takes what was sent for the whole file.
 */
export async function sendStream(
  socket: DataSocket,
  pieces: AsyncIterable<Uint8Array>,
  options: StreamSendOptions
): Promise<void> {
  const { signal, onBytes, onSent } = options
  for await (const piece of pieces) {
    await socket.write([piece], signal, () => onSent?.(piece))
    onBytes(piece.byteLength)
  }
  await socket.finish(signal)
}

function brokenAfter(received: number, cause: Error): DataChannelError {
  const message = `Data connection broke after ${received} bytes: ${cause.message}`
  return new DataChannelError(426, message, { cause })
}
