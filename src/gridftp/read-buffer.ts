import { Socket } from 'node:net'
import { KIB } from '../lib/bytes.ts'

/** What is read at once, and what is held for sending before writers have to wait, in bytes. */
const BUFFER_BYTES = 256 * KIB

/**
 * Where all data sockets read, one after the other: what a reader is given is dealt with before the
 * next read. Fresh memory for each read would cost several times the copy that is made of it.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(BUFFER_BYTES)

/**
 * Lets a connection read into one buffer, again and again. Node.js has the option `onread` for that,
 * but only for sockets that one makes oneself, not for those that a server accepts; so what is below
 * the socket is moved to another one that has the option. Where there is nothing below it that could
 * be moved, each read gets memory of its own.
 *
 * @param socket a paused connection from which nothing was read; not to be used any more.
 * @param onBytes is lent what was read, until it returns.
 * @returns the connection, paused.
 * @see https://nodejs.org/docs/latest-v24.x/api/net.html#new-netsocketoptions
 */
export function readingInPlace(socket: Socket, onBytes: (bytes: Uint8Array) => void): Socket {
  const lower = socket as unknown as { _handle?: object | null }
  const handle = lower._handle
  if (
    handle === undefined ||
    handle === null ||
    Object.getPrototypeOf(socket) !== Socket.prototype
  ) {
    socket.on('data', onBytes)
    socket.pause() // a data listener makes it flow
    return socket
  }
  const onread = {
    buffer: READ_BUFFER,
    callback: (length: number): boolean => {
      onBytes(READ_BUFFER.subarray(0, length))
      return true
    }
  }
  // Node takes all of these, its types do not know them.
  const options = {
    handle,
    onread,
    pauseOnCreate: true,
    writableHighWaterMark: BUFFER_BYTES
  }
  lower._handle = null
  const moved = new Socket(options as object)
  socket.destroy()
  return moved
}
