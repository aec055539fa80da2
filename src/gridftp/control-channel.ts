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

/** … and after this where the server ends the session. */
const SHORT_LINGER_MS = 1000

/** Lines in, replies out, over the control connection of one session. */
export class ControlChannel {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #parser: CommandParser
  readonly #sendTimeoutMs: number
  #isCorked = false
  #onGivenUp: (() => void) | undefined
  #isGivenUp = false

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
   *
   * @returns false for a client that has not read for too long.
   */
  async send(reply: Reply): Promise<boolean> {
    if (!this.#socket.writable || this.#write(formatReply(reply))) return true
    if (this.#isGivenUp) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const cancel = this.#clock.schedule(() => {
      this.#socket.destroy()
      resolve(false)
    }, this.#sendTimeoutMs)
    const onReady = (): void => resolve(true)
    this.#onGivenUp = onReady
    this.#socket.once('drain', onReady)
    this.#socket.once('close', onReady)
    const isTaken = await promise
    cancel()
    this.#onGivenUp = undefined
    this.#socket.off('drain', onReady)
    this.#socket.off('close', onReady)
    return isTaken
  }

  /** Waits for the client no longer, neither to read nor to close: the server ends the session. */
  giveUp(): void {
    this.#isGivenUp = true
    this.#onGivenUp?.()
  }

  /** Sends a reply unless earlier ones still wait. @returns whether it was sent. */
  trySend(reply: Reply): boolean {
    if (!this.#socket.writable || this.#socket.writableNeedDrain) return false
    this.#write(formatReply(reply))
    return true
  }

  /** Resolves when the connection is gone, after what was sent had its chance to arrive. */
  async close(): Promise<void> {
    if (this.#socket.closed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const lingerMs = this.#isGivenUp ? SHORT_LINGER_MS : LINGER_MS
    const cancel = this.#clock.schedule(() => this.#socket.destroy(), lingerMs)
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

  /** What is sent in one go, as the last markers and the reply behind them, is one packet. */
  #write(text: string): boolean {
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      process.nextTick(() => {
        this.#isCorked = false
        this.#socket.uncork()
      })
    }
    return this.#socket.write(text)
  }
}
