import type { Socket } from 'node:net'
import type { Clock } from '../lib/clock.ts'
import { plainAddress } from './address.ts'
import { CommandParser, type ParsedLine } from './command-parser.ts'
import { formatReply, type Reply } from './replies.ts'

/** Told by a control channel about its other side. */
export interface ControlEvents {
  /** Something arrived: `next` may have lines. */
  onInput(): void
  /** The client will send nothing more. */
  onEnd(): void
  /** The connection is gone in both directions. */
  onClose(): void
}

/** Limits of a control channel. */
export interface ControlChannelOptions {
  readonly maxLineBytes: number
  /** The client must take its replies within this, in milliseconds. */
  readonly sendTimeoutMs: number
}

/** A closed connection whose other side does not close is cut after this. */
const LINGER_MS = 5000

/** Lines in, replies out, over the control connection of one session. */
export class ControlChannel {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #parser: CommandParser
  readonly #sendTimeoutMs: number

  constructor(socket: Socket, clock: Clock, options: ControlChannelOptions) {
    this.#socket = socket
    this.#clock = clock
    this.#parser = new CommandParser({ maxLineBytes: options.maxLineBytes })
    this.#sendTimeoutMs = options.sendTimeoutMs
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 60_000)
    socket.on('error', () => {}) // a close follows, and that counts
  }

  /** IP address of the client. */
  get peerHost(): string {
    return plainAddress(this.#socket.remoteAddress)
  }

  /** IP address at which the client reached us. */
  get localHost(): string {
    return plainAddress(this.#socket.localAddress)
  }

  /** Begins to read. */
  open(events: ControlEvents): void {
    this.#socket.on('data', (bytes) => {
      this.#parser.push(bytes)
      events.onInput()
    })
    this.#socket.on('end', () => events.onEnd())
    this.#socket.on('close', () => events.onClose())
    if (this.#socket.destroyed) queueMicrotask(() => events.onClose())
  }

  /** Takes the next line that has arrived. */
  next(): ParsedLine | undefined {
    return this.#parser.next()
  }

  /** Reads nothing until `resume`. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    if (this.#socket.isPaused()) this.#socket.resume()
  }

  /**
   * Sends a reply and waits until the client has room for more; cuts a client off that never
   * reads.
   */
  async send(reply: Reply): Promise<void> {
    if (!this.#socket.writable || this.#socket.write(formatReply(reply))) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#clock.schedule(() => this.#socket.destroy(), this.#sendTimeoutMs)
    this.#socket.once('drain', resolve)
    this.#socket.once('close', resolve)
    await promise
    cancel()
    this.#socket.off('drain', resolve)
    this.#socket.off('close', resolve)
  }

  /** Sends a reply unless earlier ones still wait. @returns whether it was sent. */
  trySend(reply: Reply): boolean {
    if (!this.#socket.writable || this.#socket.writableNeedDrain) return false
    this.#socket.write(formatReply(reply))
    return true
  }

  /** Resolves when the connection is gone, after what was sent had its chance to arrive. */
  async close(): Promise<void> {
    if (this.#socket.closed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#clock.schedule(() => this.#socket.destroy(), LINGER_MS)
    this.#socket.once('close', resolve)
    this.#socket.removeAllListeners('data')
    this.#socket.resume() // unread input would turn our end into a reset
    this.#socket.end()
    if (this.#socket.readableEnded) this.#socket.destroySoon()
    await promise
    cancel()
  }

  /** Cuts the connection. */
  destroy(): void {
    this.#socket.destroy()
  }
}
