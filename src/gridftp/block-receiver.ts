import { toError } from '../lib/to-error.ts'
import type { DataSocket } from './data-socket.ts'
import { DataChannelError } from './errors.ts'
import { BlockDecoder, EodLedger } from './mode-e.ts'
import type { BlockSink } from './upload-queue.ts'

/** How one file is received. */
export interface BlockReceiverOptions {
  /** Added to the offset of every block: partial transfers count from 0. */
  readonly offset: number
  /** Connections that the sender may announce. */
  readonly maxSockets: number
  /** Called whenever something arrived. */
  readonly onBytes: () => void
  /**
   * Takes a connection that is none of the sender's: nothing that it ever sent makes sense. The
   * transfer goes on without it.
   *
   * @default it is reset
   */
  readonly onStranger?: ((socket: DataSocket, reason: Error) => void) | undefined
}

interface Connection {
  readonly socket: DataSocket
  readonly decoder: BlockDecoder
  /** Has sent anything for this file. */
  hasSpoken: boolean
}

/**
 * Receives one file in extended block mode over any number of connections, which may join at any
 * time. It is done when as many EODs were seen as the EOF announced, on whatever connection and
 * however early that came.
 */
export class BlockReceiver {
  readonly #sink: BlockSink
  readonly #options: BlockReceiverOptions
  readonly #ledger: EodLedger
  readonly #connections = new Set<Connection>()
  readonly #done = Promise.withResolvers<void>()
  readonly #reusable: DataSocket[] = []
  #isSettled = false
  #isFull = false
  #receivedBytes = 0

  constructor(sink: BlockSink, options: BlockReceiverOptions) {
    this.#sink = sink
    this.#options = options
    this.#ledger = new EodLedger(options.maxSockets)
    this.#done.promise.catch(() => {}) // the caller may have failed before it waits
  }

  /** Payload bytes so far. */
  get receivedBytes(): number {
    return this.#receivedBytes
  }

  /** Reads a connection up to its EOD. */
  add(socket: DataSocket): void {
    if (this.#isSettled) {
      this.#reusable.push(socket)
      return
    }
    const connection: Connection = {
      socket,
      hasSpoken: false,
      decoder: new BlockDecoder({
        onPayload: (offset, bytes) => this.#take(offset, bytes),
        onEodCount: (count) => this.#ledger.noteCount(count)
      })
    }
    this.#connections.add(connection)
    socket.startReading({
      onData: (bytes) => this.#read(connection, bytes),
      onEnd: (error) => this.#ended(connection, error)
    })
  }

  /**
   * Resolves when the file is complete.
   *
   * @returns connections that stay open for the next file.
   * @throws {DataChannelError} if a connection broke or sent nonsense.
   */
  async finished(signal: AbortSignal): Promise<DataSocket[]> {
    const onAbort = (): void => this.#fail(toError(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    try {
      await this.#done.promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    return this.#reusable
  }

  /** All connections that were handed over and not closed, after a failure. */
  release(): DataSocket[] {
    const reading = [...this.#connections].map(({ socket }) => socket)
    this.#connections.clear()
    return [...reading, ...this.#reusable.splice(0)]
  }

  #read(connection: Connection, bytes: Uint8Array): void {
    const { socket, decoder } = connection
    connection.hasSpoken = true
    this.#options.onBytes()
    let taken: number
    try {
      taken = decoder.push(bytes)
      if (decoder.isEnded) this.#ledger.noteEod()
    } catch (thrown) {
      this.#takeNonsense(connection, toError(thrown))
      return
    }
    socket.isProven ||= decoder.hasBegun
    if (decoder.isEnded) this.#eod(connection, bytes.subarray(taken))
    else if (this.#isFull) socket.pauseUntil(this.#sink.whenRoom())
    this.#completeIfDone()
  }

  #takeNonsense(connection: Connection, error: Error): void {
    const { socket, decoder } = connection
    if (socket.isProven || decoder.hasBegun) {
      this.#fail(new DataChannelError(426, error.message, { cause: error }))
      return
    }
    this.#connections.delete(connection)
    this.#drop(socket, error)
  }

  #drop(socket: DataSocket, reason: Error): void {
    socket.stopReading()
    if (this.#options.onStranger === undefined) socket.reset()
    else this.#options.onStranger(socket, reason)
  }

  #take(offset: number, bytes: Uint8Array): void {
    this.#isFull = !this.#sink.push(this.#options.offset + offset, bytes)
    this.#receivedBytes += bytes.byteLength
  }

  /** What follows an EOD is left for the next file; it may be there already (pipelining). */
  #eod(connection: Connection, rest: Uint8Array): void {
    const { socket, decoder } = connection
    this.#connections.delete(connection)
    socket.stopReading(rest)
    this.#reusable.push(socket)
    if (decoder.isClosing) socket.close()
  }

  #ended(connection: Connection, error: Error | undefined): void {
    if (this.#isSettled) return
    const { socket, decoder, hasSpoken } = connection
    this.#connections.delete(connection)
    const where = decoder.isInsideBlock ? 'inside a block' : 'before its EOD'
    const why = error === undefined ? '' : `: ${error.message}`
    const reason = new Error(`Data connection ended ${where}${why}`, { cause: error })
    if (hasSpoken && !socket.isProven) {
      this.#drop(socket, reason)
      return
    }
    this.#reusable.push(socket)
    // One that was opened and closed again counts for nothing.
    if (hasSpoken) this.#fail(new DataChannelError(426, reason.message, { cause: error }))
  }

  #completeIfDone(): void {
    if (this.#isSettled || !this.#ledger.isComplete) return
    const late = [...this.#connections].filter(({ decoder }) => decoder.hasBegun)
    if (late.length > 0) {
      const count = this.#ledger.expected ?? 0
      this.#fail(
        new DataChannelError(426, `${late.length} connections beyond the ${count} announced`)
      )
      return
    }
    this.#isSettled = true
    for (const { socket, decoder } of this.#connections) {
      socket.stopReading(decoder.unfinishedHeader) // of the next file, perhaps
      this.#reusable.push(socket)
    }
    this.#connections.clear()
    this.#done.resolve()
  }

  #fail(error: Error): void {
    if (this.#isSettled) return
    this.#isSettled = true
    for (const { socket } of this.#connections) socket.stopReading()
    this.#done.reject(error)
  }
}
