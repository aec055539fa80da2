import type { Socket } from 'node:net'
import { toError } from '../lib/to-error.ts'
import { FtpConnectionError, FtpReplyError } from './client-errors.ts'
import { type FtpReply, ReplyReader, type ReplyReaderOptions } from './reply-reader.ts'

export interface ControlConnectionOptions extends ReplyReaderOptions {
  /** Replies that may wait to be read before the connection is given up. @default 1_000 */
  readonly maxWaitingReplies?: number | undefined
}

/** What a command is called in errors, and who wants to see its 1yz replies. */
export interface CommandOptions {
  /** @default the line itself */
  readonly name?: string
  readonly onPreliminary?: ((reply: FtpReply) => void) | undefined
}

/** The client's end of a control connection: commands go out, replies come in, in the same order. */
export class ControlConnection {
  readonly #socket: Socket
  readonly #reader: ReplyReader
  readonly #maxWaitingReplies: number
  readonly #waitingReplies: FtpReply[] = []
  #waiter: PromiseWithResolvers<FtpReply> | undefined
  #failure: Error | undefined

  /** Takes over a connected socket. */
  constructor(socket: Socket, options: ControlConnectionOptions = {}) {
    const { maxWaitingReplies = 1000 } = options
    this.#socket = socket
    this.#reader = new ReplyReader(options)
    this.#maxWaitingReplies = maxWaitingReplies
    socket.setNoDelay(true)
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => this.#fail(lost(error.message, error)))
    socket.on('end', () => this.#fail(lost('closed by the server')))
    socket.on('close', () => this.#fail(lost('closed')))
  }

  get localAddress(): string {
    return this.#socket.localAddress ?? ''
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress ?? ''
  }

  /**
   * Sends a command and waits for the reply that ends it.
   *
   * @returns a 2yz or 3yz reply.
   * @throws {FtpReplyError} if it is another one.
   * @throws {FtpConnectionError} if the connection is lost.
   * @throws {TypeError} if the line holds a line end or NUL.
   */
  async command(line: string, options: CommandOptions = {}): Promise<FtpReply> {
    const { name = line, onPreliminary } = options
    this.send(line)
    for (;;) {
      const reply = await this.next()
      if (reply.code < 200) onPreliminary?.(reply)
      else if (reply.code < 400) return reply
      else throw new FtpReplyError(name, reply)
    }
  }

  /** Sends a command without waiting. @throws {TypeError} if the line holds a line end or NUL. */
  send(line: string): void {
    if (/[\r\n\0]/.test(line)) {
      throw new TypeError(`an FTP command cannot hold line ends: ${JSON.stringify(line)}`)
    }
    if (this.#failure === undefined) this.#socket.write(`${line}\r\n`)
  }

  /** Waits for the next reply of any kind. One caller at a time. */
  async next(): Promise<FtpReply> {
    const waiting = this.#waitingReplies.shift()
    if (waiting !== undefined) return waiting
    if (this.#failure !== undefined) throw this.#failure
    if (this.#waiter !== undefined) throw new TypeError('two callers wait for a reply')
    this.#waiter = Promise.withResolvers<FtpReply>()
    return this.#waiter.promise
  }

  /** Closes at once; whoever waits gets `reason`. */
  destroy(reason: Error): void {
    this.#fail(reason)
    this.#socket.destroy(reason)
  }

  #receive(bytes: Buffer): void {
    try {
      for (const reply of this.#reader.push(bytes)) this.#deliver(reply)
    } catch (error) {
      this.destroy(toError(error))
    }
  }

  #deliver(reply: FtpReply): void {
    const waiter = this.#waiter
    if (waiter !== undefined) {
      this.#waiter = undefined
      waiter.resolve(reply)
    } else if (this.#waitingReplies.length < this.#maxWaitingReplies) {
      this.#waitingReplies.push(reply)
    } else {
      this.destroy(lost(`more than ${this.#maxWaitingReplies} replies that nobody asked for`))
    }
  }

  #fail(reason: Error): void {
    this.#failure ??= reason
    this.#waiter?.reject(this.#failure)
    this.#waiter = undefined
  }
}

function lost(how: string, cause?: Error): FtpConnectionError {
  return new FtpConnectionError(`control connection lost: ${how}`, { cause })
}
