import { connect, type Socket } from 'node:net'
import { KIB } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import { plainAddress, type SocketAddress } from './address.ts'
import { DataChannelError } from './errors.ts'

/** What a data socket holds in memory in each direction before it asks for a pause, in bytes. */
export const DATA_SOCKET_BUFFER_BYTES = 256 * KIB

const NOTHING = new Uint8Array(0)

/** Takes what arrives on a data socket. */
export interface DataReader {
  /** The array belongs to the taker. */
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
  readonly #socket: Socket
  #error: Error | undefined
  #reader: DataReader | undefined
  #isPaused = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('error', (error) => {
      this.#error = error
    })
    socket.on('data', (bytes) => this.#reader?.onData(bytes))
    socket.pause() // a data listener makes it flow
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
    if (this.#socket.destroyed || this.#socket.readableEnded) {
      queueMicrotask(() => this.#endReading(this.#error ?? new Error('connection was closed')))
      return
    }
    this.#isPaused = false
    this.#socket.resume()
  }

  /**
   * Stops reading; what arrives later stays for the next reader.
   *
   * @param rest bytes that the reader was given but were not for it; they come first next time.
   */
  stopReading(rest?: Uint8Array): void {
    this.#reader = undefined
    this.#socket.pause()
    if (rest !== undefined && rest.byteLength > 0) this.#socket.unshift(rest)
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
   * @throws {DataChannelError} if the connection breaks.
   * @throws {unknown} `signal.reason` if aborted while waiting.
   */
  async write(parts: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    this.wasUsed = true
    signal.throwIfAborted()
    if (!this.#socket.writable) throw this.#broken()
    this.#socket.cork()
    let hasRoom = true
    for (const part of parts) hasRoom = this.#socket.write(part)
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
    if (this.#reader !== undefined && this.#reader === reader) this.#socket.resume()
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
  // Node takes highWaterMark here, its types do not know it.
  const options = {
    host: target.host,
    port: target.port,
    localAddress: localHost,
    highWaterMark: DATA_SOCKET_BUFFER_BYTES
  }
  const socket = connect(options)
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
