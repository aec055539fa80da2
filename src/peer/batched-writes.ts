import type { Socket } from 'node:net'
import type { Uint8ArrayList } from 'uint8arraylist'
import { KIB } from '../lib/bytes.ts'
import { dispose } from './disposable-memory.ts'

/** Shorter pieces are copied together: each piece of its own costs more. */
const MAX_JOINED_BYTES = 4 * KIB

/** Bytes that may wait in a socket before the layers above are told to wait. */
const MAX_WAITING_BYTES = 128 * KIB

/** Sockets that send at the end of this turn of the event loop. */
const corked = new Set<Socket>()

/** What became of bytes that were to be sent, as libp2p's connections tell it. */
export interface SendResult {
  readonly sentBytes: number
  readonly canSendMore: boolean
}

/**
 * Writes all of `bytes` to a socket. What is written in one turn of the event loop, by however many streams,
 * is one call of the system.
 *
 * @returns whether more may follow before the socket's 'drain' event.
 */
export function writeBatched(socket: Socket, bytes: Uint8ArrayList): SendResult {
  if (!corked.has(socket)) {
    if (corked.size === 0) setImmediate(uncorkAll)
    corked.add(socket)
    socket.cork()
  }
  let short: Uint8Array[] = []
  for (const piece of bytes) {
    if (piece.byteLength <= MAX_JOINED_BYTES) {
      short.push(piece)
      continue
    }
    writeJoined(socket, short)
    short = []
    socket.write(piece, (error) => {
      if (error === undefined || error === null) dispose(piece)
    })
  }
  writeJoined(socket, short)
  const canSendMore = socket.writableLength < MAX_WAITING_BYTES
  if (!canSendMore && corked.delete(socket)) socket.uncork()
  return { sentBytes: bytes.byteLength, canSendMore }
}

function writeJoined(socket: Socket, pieces: readonly Uint8Array[]): void {
  const [first, second] = pieces
  if (first === undefined) return
  socket.write(second === undefined ? first : Buffer.concat(pieces))
}

function uncorkAll(): void {
  const sockets = Array.from(corked)
  corked.clear()
  for (const socket of sockets) socket.uncork()
}
