import type { Logger } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { type SocketAddress } from './address.ts'
import { connectDataSocket, type DataSocket } from './data-socket.ts'
import { CommandRefusedError, DataChannelError } from './errors.ts'
import { PassiveListener, type PortRange } from './passive-listener.ts'

/** What a data channel uses. */
export interface DataChannelComponents {
  readonly random: Random
  readonly logger: Logger
}

/** Who may connect, where, and how often. */
export interface DataChannelOptions {
  /** Address of our end of the control connection: where passive ports are opened. */
  readonly localHost: string
  /** Address of the client's end: the only one that data may come from or go to. */
  readonly peerHost: string
  readonly passivePorts?: PortRange | undefined
  /** Data may also come from and go to other machines (transfers between two servers). */
  readonly allowsThirdParty: boolean
  /** Data connections that one session may have open. */
  readonly maxSockets: number
}

type Endpoint =
  | { readonly kind: 'none' }
  | { readonly kind: 'passive'; readonly listener: PassiveListener }
  | { readonly kind: 'active'; readonly target: SocketAddress }

/** Data connections that go to a receiver of extended blocks while a transfer runs. */
export interface SocketFeed {
  /** Connections of an earlier transfer are used again. */
  readonly isReused: boolean
  /** Hands over no connection any more; later ones are kept for the next transfer. */
  stop(): void
}

/**
 * The data side of one session: where connections come from or go to, and those that stay open
 * between transfers in extended block mode.
 *
 * A passive port goes on accepting while a transfer runs and after it. Only the client's own
 * address is let in; others are cut off and nothing else happens.
 */
export class DataChannel {
  readonly #components: DataChannelComponents
  readonly #options: DataChannelOptions
  #endpoint: Endpoint = { kind: 'none' }
  /** Open connections without a transfer: accepted early, or cached. */
  #idle: DataSocket[] = []
  #inUse = 0
  #onSocket: ((socket: DataSocket) => void) | undefined

  constructor(components: DataChannelComponents, options: DataChannelOptions) {
    this.#components = components
    this.#options = options
  }

  /** Opens a new port and drops everything older. @throws {DataChannelError} if no port is free. */
  async listen(): Promise<number> {
    this.close()
    const { localHost, passivePorts } = this.#options
    const listener = await PassiveListener.open({
      host: localHost,
      ports: passivePorts,
      random: this.#components.random,
      accepts: (socket) => this.#accepts(socket),
      onSocket: (socket) => this.#arrived(socket)
    })
    this.#endpoint = { kind: 'passive', listener }
    return listener.port
  }

  /**
   * Sets where to connect to and drops everything older.
   *
   * @throws {CommandRefusedError} for a privileged port or somebody else's address: a server that
   * connects anywhere is a tool for attacks on third parties (RFC 2577).
   */
  connectTo(target: SocketAddress): void {
    if (target.port < 1024) throw new CommandRefusedError(501, 'Illegal port: below 1024.')
    if (!this.#isAllowed(target.host)) {
      throw new CommandRefusedError(501, `Illegal address: ${target.host} is not yours.`)
    }
    this.close()
    this.#endpoint = { kind: 'active', target }
  }

  /** Drops connections that carried a transfer; the endpoint stays. For a change of the mode. */
  dropUsed(): void {
    for (const socket of this.#idle) if (socket.wasUsed) socket.close()
    this.#idle = this.#idle.filter((socket) => !socket.wasUsed)
  }

  /** Drops the endpoint and all connections that are not in a transfer. */
  close(): void {
    if (this.#endpoint.kind === 'passive') this.#endpoint.listener.close()
    this.#endpoint = { kind: 'none' }
    for (const socket of this.#idle) socket.close()
    this.#idle = []
  }

  /** @throws {DataChannelError} if neither a passive port nor a target is set. */
  verifyEndpoint(): void {
    if (this.#endpoint.kind === 'none') throw noEndpoint()
  }

  /**
   * Opens the one connection of a stream mode transfer, or waits for it. The endpoint is used up.
   *
   * @throws {DataChannelError} if there is no endpoint or the connection fails.
   */
  async openOne(signal: AbortSignal): Promise<DataSocket> {
    this.dropUsed()
    const endpoint = this.#endpoint
    if (endpoint.kind === 'none') throw noEndpoint()
    try {
      const socket =
        endpoint.kind === 'active'
          ? await this.#connect(endpoint.target, signal)
          : await this.#accept(signal)
      this.#inUse += 1
      return socket
    } finally {
      if (this.#endpoint === endpoint) this.close()
    }
  }

  /**
   * Gives the connections to send extended blocks on: those kept from the transfer before, or
   * `count` new ones.
   *
   * @throws {DataChannelError} unless PORT or EPRT was given, or if a connection fails.
   */
  async openForSending(
    count: number,
    signal: AbortSignal
  ): Promise<{ sockets: DataSocket[]; isReused: boolean }> {
    const endpoint = this.#endpoint
    if (endpoint.kind === 'passive') {
      throw new DataChannelError(
        425,
        'The sender connects in mode E: give PORT before this command.'
      )
    }
    const cached = this.#idle.filter((socket) => socket.isOpen)
    this.#idle = []
    if (cached.length > 0) {
      this.#inUse += cached.length
      return { sockets: cached, isReused: true }
    }
    if (endpoint.kind === 'none') throw noEndpoint()
    const wanted = Math.min(count, this.#options.maxSockets)
    const opened = await Promise.allSettled(
      Array.from({ length: wanted }, async () => await this.#connect(endpoint.target, signal))
    )
    const sockets = opened.flatMap((result) =>
      result.status === 'fulfilled' ? [result.value] : []
    )
    const failed = opened.find((result) => result.status === 'rejected')
    this.#inUse += sockets.length
    if (failed === undefined) return { sockets, isReused: false }
    this.discard(sockets)
    throw toError(failed.reason)
  }

  /**
   * Hands every open connection, and every one that arrives until `stop`, to a receiver of extended
   * blocks.
   *
   * @throws {DataChannelError} unless PASV, EPSV or SPAS was given.
   */
  feed(onSocket: (socket: DataSocket) => void): SocketFeed {
    if (this.#endpoint.kind === 'active') {
      throw new DataChannelError(
        425,
        'The sender connects in mode E: give PASV before this command.'
      )
    }
    const early = this.#idle
    const isReused = early.some((socket) => socket.wasUsed)
    if (this.#endpoint.kind === 'none' && early.length === 0) throw noEndpoint()
    this.#idle = []
    this.#onSocket = (socket) => {
      this.#inUse += 1
      onSocket(socket)
    }
    for (const socket of early) this.#onSocket(socket)
    const stop = (): void => {
      this.#onSocket = undefined
    }
    return { isReused, stop }
  }

  /** Keeps connections for the next transfer. */
  keep(sockets: readonly DataSocket[]): void {
    this.#inUse -= sockets.length
    this.#idle.push(...sockets.filter((socket) => socket.isOpen))
  }

  /** Cuts connections off whose transfer failed. */
  discard(sockets: readonly DataSocket[]): void {
    this.#inUse -= sockets.length
    for (const socket of sockets) socket.reset()
  }

  #accepts(socket: DataSocket): boolean {
    const { logger } = this.#components
    if (!this.#isAllowed(socket.peer)) {
      logger.info(
        'data connection from %s refused: the client is %s',
        socket.peer,
        this.#options.peerHost
      )
      return false
    }
    this.#idle = this.#idle.filter((idle) => idle.isOpen)
    if (this.#idle.length + this.#inUse < this.#options.maxSockets) return true
    logger.info(
      'data connection from %s refused: %d are open',
      socket.peer,
      this.#options.maxSockets
    )
    return false
  }

  #isAllowed(host: string): boolean {
    const { peerHost, allowsThirdParty } = this.#options
    return allowsThirdParty || host === peerHost
  }

  #arrived(socket: DataSocket): void {
    if (this.#onSocket === undefined) this.#idle.push(socket)
    else this.#onSocket(socket)
  }

  async #connect(target: SocketAddress, signal: AbortSignal): Promise<DataSocket> {
    return await connectDataSocket(target, this.#options.localHost, signal)
  }

  async #accept(signal: AbortSignal): Promise<DataSocket> {
    const early = this.#idle.shift()
    if (early !== undefined) return early
    const { promise, resolve, reject } = Promise.withResolvers<DataSocket>()
    const onAbort = (): void => {
      this.#onSocket = undefined
      reject(toError(signal.reason))
    }
    this.#onSocket = (socket) => {
      this.#onSocket = undefined // later ones wait, and are closed with the port
      resolve(socket)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}

function noEndpoint(): DataChannelError {
  return new DataChannelError(425, 'No data connection: give PASV or PORT first.')
}
