import type { Socket } from 'node:net'
import { KIB } from '../lib/bytes.ts'

/**
 * What all sockets are read into, one after the other: a socket with a buffer of its own for each read spends
 * twice the time on a short one and three times on a long one. It takes several messages of noise.
 */
const shared = Buffer.allocUnsafeSlow(256 * KIB)

/** What Node.js does with the option `onread`, which exists only for sockets that one connects oneself. */
interface ReadingSocket {
  _handle?: { useUserBuffer?: (buffer: Uint8Array) => void } | null
  [key: symbol]: unknown
}

/**
 * Reads a connected socket from now on into a buffer that all sockets share, instead of with 'data' events;
 * pausing it, its time-out, its end and its errors are as ever.
 *
 * @param take is given a view that is good until it returns.
 * @returns false if this Node.js has no way to do so, or the socket has queued bytes: it is left as it was.
 */
export function readIntoShared(socket: Socket, take: (bytes: Uint8Array) => void): boolean {
  const reading = socket as unknown as ReadingSocket
  const handle = reading._handle
  const keys = Object.getOwnPropertySymbols(socket)
  const keyOf = (name: string): symbol | undefined =>
    keys.find(({ description }) => description === name)
  const [buffer, callback, next] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map(keyOf)
  if (typeof handle?.useUserBuffer !== 'function' || socket.readableLength > 0) return false
  if (buffer === undefined || callback === undefined || next === undefined) return false
  reading[buffer] = shared
  reading[callback] = (byteLength: number) => take(shared.subarray(0, byteLength))
  reading[next] = null
  handle.useUserBuffer(shared)
  return true
}
