import { isIPv6, type Socket } from 'node:net'
import type { Cancel, Clock } from '../lib/clock.ts'
import { MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { CommandOptions, ControlConnection } from './client-control.ts'
import { type DataAddress, DataConnections } from './client-data.ts'
import { FtpConnectionError, FtpDataConnectionError, FtpReplyError } from './client-errors.ts'
import type { FtpReply } from './reply-reader.ts'

export interface OperationComponents {
  readonly control: ControlConnection
  readonly clock: Clock
  readonly log: Logger
  /** Hears that something moved. */
  readonly touch: () => void
}

/** A transfer's two halves: what the server says, and the bytes. */
export interface TransferSteps {
  /** Moves the bytes; told by the signal that the server has given up. */
  readonly move: (signal: AbortSignal) => Promise<void>
  readonly onPreliminary?: ((reply: FtpReply) => void) | undefined
}

/** How long a server may take to say why its data connection broke. */
const EXPLAIN_MS = 10_000

/** One operation of the client: commands, and the data connections that it needs. */
export class Operation {
  readonly data = new DataConnections()
  readonly touch: () => void
  readonly #control: ControlConnection
  readonly #clock: Clock
  readonly #log: Logger

  constructor(components: OperationComponents) {
    this.touch = components.touch
    this.#control = components.control
    this.#clock = components.clock
    this.#log = components.log
  }

  /** Sends a command. @throws {FtpReplyError} if the reply is not 2yz or 3yz. */
  async command(line: string, options: CommandOptions = {}): Promise<FtpReply> {
    const { name = line, onPreliminary } = options
    this.#log.trace('> %s', name)
    const heard = (reply: FtpReply): void => {
      this.touch()
      this.#log.trace('< %d %s', reply.code, reply.lines.join(' | '))
    }
    const reply = await this.#control.command(line, {
      name,
      onPreliminary: (preliminary) => {
        heard(preliminary)
        onPreliminary?.(preliminary)
      }
    })
    heard(reply)
    return reply
  }

  /** Sends a command that a server need not know. @returns undefined if it was refused. */
  async tryCommand(line: string): Promise<FtpReply | undefined> {
    try {
      return await this.command(line)
    } catch (error) {
      if (error instanceof FtpReplyError) return undefined
      throw error
    }
  }

  /**
   * Asks the server to listen. The address in its answer is ignored: data goes to the host of the
   * control connection, which also works behind address translation and cannot be bent elsewhere.
   */
  async passive(): Promise<DataAddress> {
    const host = this.#control.remoteAddress
    const isExtended = isIPv6(host)
    const { lines } = await this.command(isExtended ? 'EPSV' : 'PASV')
    const port = isExtended ? parseEpsv(lines[0] ?? '') : parsePasv(lines[0] ?? '')
    return { host, port }
  }

  /** Listens itself and tells the server where; its connections go to `onConnection`. */
  async active(maxConnections: number, onConnection: (socket: Socket) => void): Promise<void> {
    const host = this.#control.localAddress
    const peer = this.#control.remoteAddress
    const port = await this.data.listen({ host, peer }, maxConnections, onConnection)
    const legacy = `${host.replaceAll('.', ',')},${port >> 8},${port & 0xff}`
    await this.command(isIPv6(host) ? `EPRT |2|${host}|${port}|` : `PORT ${legacy}`)
  }

  /**
   * Runs a transfer command beside the bytes that it moves, until both are through.
   *
   * @returns the final reply.
   * @throws what failed on this side, else the server's refusal, else what broke a data connection.
   */
  async transfer(line: string, steps: TransferSteps): Promise<FtpReply> {
    const refused = new AbortController()
    const ended = this.command(line, { onPreliminary: steps.onPreliminary })
    const moved = steps.move(refused.signal)
    let cancel: Cancel | undefined
    ended.catch((error: unknown) => {
      refused.abort(error)
      this.data.reset()
    })
    moved.catch(() => {
      this.data.reset()
      cancel = this.#clock.schedule(() => this.#control.destroy(unexplained(line)), EXPLAIN_MS)
    })
    const [end, movement] = await Promise.allSettled([ended, moved])
    cancel?.()
    if (movement.status === 'rejected') {
      const isOurs = !(movement.reason instanceof FtpDataConnectionError)
      if (isOurs || end.status === 'fulfilled') throw movement.reason
    }
    if (end.status === 'rejected') throw end.reason
    return end.value
  }
}

/** Reads `(h1,h2,h3,h4,p1,p2)`, with or without the brackets. */
export function parsePasv(text: string): number {
  const match = /(?:\d{1,3},){4}(\d{1,3}),(\d{1,3})/.exec(text)
  return checkPort(Number(match?.[1]) * 256 + Number(match?.[2]), text)
}

/** Reads `(|||port|)` or `(|1|address|port|)`. */
export function parseEpsv(text: string): number {
  const match = /\((.)\d?\1[^)]*?\1(\d{1,5})\1\)/.exec(text)
  return checkPort(Number(match?.[2]), text)
}

function checkPort(port: number, text: string): number {
  if (port > 0 && port < 65_536) return port
  throw new MalformedError('passive mode reply', `no port in "${text.slice(0, 80)}"`)
}

function unexplained(line: string): FtpConnectionError {
  return new FtpConnectionError(
    `${line}: no reply within ${EXPLAIN_MS} ms after the data connection broke`
  )
}
