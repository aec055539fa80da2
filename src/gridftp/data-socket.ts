import { connect, type Socket } from 'node:net'
import { MIB } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import { nextTurn } from '../lib/turn.ts'
import { plainAddress, type SocketAddress } from './address.ts'
import { DataChannelError } from './errors.ts'
import { readingInPlace } from './read-buffer.ts'

/**
 * After as many bytes the other connections have their turn, so that none is far ahead of the others
 * and what lies between them has not to be kept; and whatever waits for the storage hears of it.
 */
const TURN_BYTES = MIB

const NOTHING = new Uint8Array(0)

/** Takes what arrives on a data socket. */
export interface DataReader {
  /** The array is only lent, until the call returns. */
  onData(bytes: Uint8Array): void
  /**
   * The other side finished (undefined) or the connection broke. Called once, then nothing
   * more.
   */
  onEnd(error: Error | undefined): void
}

/**
 * One data connection. It starts paused; nothing is read from it before `startReading`, and what
 * was not read stays for the next reader, because in extended block mode the bytes of the next
 * file may follow on the same connection.
 */
export class DataSocket {
  /** Has carried a transfer already. */
  wasUsed = false
  /** Has sent something that makes sense: it is no stranger. */
  isProven = false
  readonly #socket: Socket
  #error: Error | undefined
  #reader: DataReader | undefined
  #isPaused = false
  #turnBytes = 0
  /** Came before anybody wanted it; for the next reader. */
  #rest = NOTHING

  /** @param connected is taken over as it is: paused, and nothing was read from it. */
  constructor(connected: Socket) {
    const socket = readingInPlace(connected, (bytes) => this.#take(bytes))
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('error', (error) => {
      this.#error = error
    })
    socket.on('end', () => this.#endReading(undefined))
    socket.on('close', () => this.#endReading(this.#error ?? new Error('connection was closed')))
  }

  /** IP address of the other side. */
  get peer(): string {
    return plainAddress(this.#socket.remoteAddress)
  }

  /** Neither side has closed it, as far as is known. */
  get isOpen(): boolean {
    return !this.#socket.destroyed && !this.#socket.readableEnded && this.#socket.writable
  }

  /** Reads until the other side ends or `stopReading`. */
  startReading(reader: DataReader): void {
    this.wasUsed = true
    this.#reader = reader
    this.#isPaused = false
    if (this.#rest.byteLength > 0 || !this.#canRead) queueMicrotask(() => this.#resume(reader))
    else this.#socket.resume()
  }

  /**
   * Stops reading; what arrives later stays for the next reader.
   *
   * @param rest bytes that the reader was given but were not for it; they come first next time.
   */
  stopReading(rest: Uint8Array = NOTHING): void {
    this.#reader = undefined
    this.#socket.pause()
    this.#keep(rest)
  }

  /** Reads nothing until `room` resolves: the back-pressure of a full queue. */
  pauseUntil(room: Promise<void>): void {
    if (this.#isPaused) return
    this.#isPaused = true
    const reader = this.#reader
    this.#socket.pause()
    void this.#resumeAfter(room, reader)
  }

  /** Takes no input from now on but notices when the other side closes. */
  watchForClose(): void {
    this.#reader = { onData: () => this.close(), onEnd: () => this.close() }
    this.#socket.resume()
  }

  /**
   * Sends arrays in one piece and resolves when there is room for more.
   *
   * @param onSent called when the arrays are not needed any more, unless the connection breaks.
   * @throws {DataChannelError} if the connection breaks.
   * @throws {unknown} `signal.reason` if aborted while waiting.
   */
  async write(
    parts: readonly Uint8Array[],
    signal: AbortSignal,
    onSent?: () => void
  ): Promise<void> {
    this.wasUsed = true
    signal.throwIfAborted()
    if (!this.#socket.writable) throw this.#broken()
    this.#socket.cork()
    let hasRoom = true
    for (const [at, part] of parts.entries()) {
      const isLast = at === parts.length - 1
      hasRoom = this.#socket.write(part, (error) => {
        if (isLast && (error === null || error === undefined)) onSent?.()
      })
    }
    this.#socket.uncork()
    if (!hasRoom) await this.#until((done) => this.#socket.once('drain', done), signal)
  }

  /** Resolves when everything written is on its way. Throws as `write` does. */
  async flush(signal: AbortSignal): Promise<void> {
    if (!this.#socket.writable) throw this.#broken()
    await this.#until((done) => {
      // Its callback comes after everything that was written before.
      this.#socket.write(NOTHING, (error) => {
        if (error === null || error === undefined) done()
      })
    }, signal)
  }

  /** Ends our side in order and closes when everything is on its way. Throws as `write` does. */
  async finish(signal: AbortSignal): Promise<void> {
    await this.flush(signal)
    await this.#until((done) => this.#socket.end(done), signal)
    this.close()
  }

  /** Closes; what was written and is not yet sent may be lost. */
  close(): void {
    this.#reader = undefined
    this.#socket.destroy()
  }

  /** Closes so that the other side cannot take it for the end of the file. */
  reset(): void {
    this.#reader = undefined
    // Node leaks the handle when it is told to reset while our end is on its way; data that was
    // written before is out by then, because `finish` flushes first.
    if (this.#socket.writableEnded) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  async #resumeAfter(room: Promise<void>, reader: DataReader | undefined): Promise<void> {
    await room
    this.#isPaused = false
    if (reader !== undefined) this.#resume(reader)
  }

  get #canRead(): boolean {
    return !this.#socket.destroyed && !this.#socket.readableEnded
  }

  /** Goes on reading for a reader, if it is still the one that reads. */
  #resume(reader: DataReader): void {
    if (this.#reader !== reader || this.#isPaused) return
    const rest = this.#rest
    this.#rest = NOTHING
    if (rest.byteLength > 0) {
      reader.onData(rest)
      this.#resume(reader)
    } else if (this.#canRead) {
      this.#socket.resume()
    } else {
      this.#endReading(this.#error ?? new Error('connection was closed'))
    }
  }

  /** A stream that is paused right after it was resumed still reads once. */
  #take(bytes: Uint8Array): void {
    if (this.#reader === undefined || this.#isPaused) {
      this.#keep(bytes)
      this.#socket.pause()
      return
    }
    this.#reader.onData(bytes)
    this.#turnBytes += bytes.byteLength
    if (this.#turnBytes < TURN_BYTES) return
    this.#turnBytes = 0
    if (this.#reader !== undefined) this.pauseUntil(nextTurn())
  }

  #keep(bytes: Uint8Array): void {
    if (bytes.byteLength > 0) this.#rest = Buffer.concat([this.#rest, bytes])
  }

  #endReading(error: Error | undefined): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.onEnd(error)
  }

  #broken(): DataChannelError {
    const cause = this.#error
    const reason = cause === undefined ? 'closed by the other side' : cause.message
    return new DataChannelError(426, `Data connection broke: ${reason}`, { cause })
  }

  /**
   * Waits for what `begin` arranges, unless the connection breaks or the signal is aborted
   * first.
   */
  async #until(begin: (done: () => void) => void, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onClose = (): void => reject(this.#broken())
    const onAbort = (): void => reject(toError(signal.reason))
    this.#socket.once('close', onClose)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    else if (this.#socket.destroyed) onClose()
    else begin(resolve)
    try {
      await promise
    } finally {
      this.#socket.off('close', onClose)
      signal.removeEventListener('abort', onAbort)
    }
  }
}

/**
 * Opens a data connection.
 *
 * @param localHost address to come from: the one that the client knows us by.
 * @throws {DataChannelError} if it cannot be opened; `signal.reason` if aborted.
 */
export async function connectDataSocket(
  target: SocketAddress,
  localHost: string,
  signal: AbortSignal
): Promise<DataSocket> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const socket = connect({ host: target.host, port: target.port, localAddress: localHost })
  socket.pause() // or it reads as soon as it is connected
  const onAbort = (): void => reject(toError(signal.reason))
  const onError = (error: Error): void => {
    const where = `${target.host}:${target.port}`
    reject(
      new DataChannelError(425, `Cannot connect to ${where}: ${error.message}`, { cause: error })
    )
  }
  socket.once('connect', resolve)
  socket.once('error', onError)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
    return new DataSocket(socket)
  } catch (error) {
    socket.on('error', () => {}) // what comes after giving up
    socket.destroy()
    throw error
  } finally {
    socket.off('error', onError)
    signal.removeEventListener('abort', onAbort)
  }
}
