import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { addressFamily, type SocketAddress } from './address.ts'
import {
  DataAdmission,
  type DataAdmissionComponents,
  type DataAdmissionOptions
} from './data-admission.ts'
import { type DataEndpoint, noEndpoint, type PassiveVerb, stripesOnly } from './data-endpoint.ts'
import { connectDataSocket, type DataSocket } from './data-socket.ts'
import { DataChannelError } from './errors.ts'
import { PassiveListener, type PortRange } from './passive-listener.ts'
import type { Stripes } from './stripes.ts'

/** What a data channel uses. */
export interface DataChannelComponents extends DataAdmissionComponents {
  readonly random: Random
}

/** Who may connect, where, and how often. */
export interface DataChannelOptions extends DataAdmissionOptions {
  /** Address of our end of the control connection. */
  readonly localHost: string
  /** Where passive ports are opened and where we connect from. @default localHost */
  readonly dataHost?: string | undefined
  /** IPv4 address that clients are told instead, where they reach us through another one. */
  readonly advertisedHost?: string | undefined
  readonly passivePorts?: PortRange | undefined
}

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
  readonly #admission: DataAdmission
  #endpoint: DataEndpoint = { kind: 'none' }
  /** Open connections without a transfer: accepted early, or cached. */
  #idle: DataSocket[] = []
  #inUse = 0
  #onSocket: ((socket: DataSocket) => void) | undefined
  /** Data movers that send to the targets. */
  #outgoing: Stripes | undefined
  readonly #closing = new Set<Promise<void>>()

  constructor(components: DataChannelComponents, options: DataChannelOptions) {
    this.#components = components
    this.#options = options
    this.#admission = new DataAdmission(components, options)
  }

  /**
   * Opens a new port and drops everything older.
   *
   * @param host EPSV has no place for an address: the client comes to the control connection's.
   * @throws {DataChannelError} if no port is free.
   */
  async listen(host = this.#dataHost): Promise<number> {
    this.close()
    const { passivePorts, peerHost } = this.#options
    const { random, logger, recorder } = this.#components
    try {
      const listener = await PassiveListener.open({
        host,
        ports: passivePorts,
        random,
        accepts: (socket) => this.#accepts(socket),
        onSocket: (socket) => this.#arrived(socket)
      })
      this.#endpoint = { kind: 'passive', listener }
      return listener.port
    } catch (error) {
      recorder?.refused('passivePort')
      logger.error('no data connection for %s: %s', peerHost, toError(error).message)
      throw error
    }
  }

  /** Leaves the opening of a passive port to the transfer, and drops everything older. */
  delay(verb: PassiveVerb): void {
    this.close()
    this.#endpoint = { kind: 'delayed', verb }
  }

  /** The command whose port has still to be opened. */
  get delayed(): PassiveVerb | undefined {
    return this.#endpoint.kind === 'delayed' ? this.#endpoint.verb : undefined
  }

  /** Address of a passive port as clients are told it. */
  get toldHost(): string {
    const { advertisedHost } = this.#options
    const isUsable = advertisedHost !== undefined && addressFamily(this.#dataHost) === 1
    return isUsable ? advertisedHost : this.#dataHost
  }

  /**
   * Sets where to connect to and drops everything older.
   *
   * @throws {CommandRefusedError} for a privileged port or somebody else's address: a server that
   * connects anywhere is a tool for attacks on third parties (RFC 2577).
   */
  connectTo(target: SocketAddress): void {
    this.#admission.verifyTarget(target)
    this.close()
    this.#endpoint = { kind: 'active', target }
  }

  /**
   * Sets several targets for data movers to connect to, and drops everything older. Throws as
   * `connectTo` does.
   */
  connectToAll(targets: readonly SocketAddress[]): void {
    for (const target of targets) this.#admission.verifyTarget(target)
    this.close()
    this.#endpoint = { kind: 'targets', targets }
  }

  /** Takes data movers whose ports are the endpoint from now on, and drops everything older. */
  useStripes(stripes: Stripes): void {
    this.close()
    this.#endpoint = { kind: 'striped', stripes }
  }

  /** Data movers whose ports are the endpoint; undefined if it is anything else. */
  get incomingStripes(): Stripes | undefined {
    return this.#endpoint.kind === 'striped' ? this.#endpoint.stripes : undefined
  }

  /** Where to connect to; undefined if the client connects. */
  get targets(): readonly SocketAddress[] | undefined {
    const endpoint = this.#endpoint
    if (endpoint.kind === 'targets') return endpoint.targets
    return endpoint.kind === 'active' ? [endpoint.target] : undefined
  }

  /** Data movers that have sent to these targets. */
  get outgoingStripes(): Stripes | undefined {
    return this.#outgoing
  }

  /** Keeps data movers as long as the targets; those that were kept are let go. */
  keepOutgoing(stripes: Stripes | undefined): void {
    if (this.#outgoing !== stripes) this.#letGo(this.#outgoing)
    this.#outgoing = stripes
  }

  /** Connections of this agent itself are open that carried a transfer. */
  get hasUsedSockets(): boolean {
    return this.#idle.some((socket) => socket.wasUsed && socket.isOpen)
  }

  /** Drops connections that carried a transfer; the endpoint stays. For a change of the mode. */
  dropUsed(): void {
    if (this.#endpoint.kind === 'striped' && this.#endpoint.stripes.wasUsed) this.close()
    this.keepOutgoing(undefined)
    for (const socket of this.#idle) if (socket.wasUsed) socket.close()
    this.#idle = this.#idle.filter((socket) => !socket.wasUsed)
  }

  /** Drops the endpoint and all connections that are not in a transfer. */
  close(): void {
    if (this.#endpoint.kind === 'passive') this.#endpoint.listener.close()
    if (this.#endpoint.kind === 'striped') this.#letGo(this.#endpoint.stripes)
    this.keepOutgoing(undefined)
    this.#endpoint = { kind: 'none' }
    for (const socket of this.#idle) socket.close()
    this.#idle = []
  }

  /** Resolves when all data movers that were let go have ended their part. */
  async settled(): Promise<void> {
    await Promise.all(this.#closing)
  }

  /** @throws {DataChannelError} if neither a passive port nor a target is set. */
  verifyEndpoint(): void {
    const { kind } = this.#endpoint
    if (kind === 'none') throw noEndpoint()
    if (kind === 'striped' || kind === 'targets') throw stripesOnly()
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
    if (endpoint.kind === 'striped' || endpoint.kind === 'targets') throw stripesOnly()
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
    if (endpoint.kind === 'passive' || endpoint.kind === 'delayed') {
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
    if (endpoint.kind !== 'active') throw stripesOnly()
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
    if (this.#endpoint.kind === 'striped') throw stripesOnly()
    if (this.#endpoint.kind === 'active' || this.#endpoint.kind === 'targets') {
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

  /** Cuts a connection off that turned out to be none of the sender's. */
  dropStranger(socket: DataSocket, reason: Error): void {
    const { logger } = this.#components
    logger.info('data connection from %s dropped: %s', socket.peer, reason.message)
    this.#components.recorder?.refused('stranger')
    this.discard([socket])
  }

  get #dataHost(): string {
    return this.#options.dataHost ?? this.#options.localHost
  }

  #accepts(socket: DataSocket): boolean {
    this.#idle = this.#idle.filter((idle) => idle.isOpen)
    return this.#admission.admits(socket.peer, this.#idle.length + this.#inUse)
  }

  #letGo(stripes: Stripes | undefined): void {
    if (stripes === undefined) return
    const closing = stripes.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #arrived(socket: DataSocket): void {
    if (this.#onSocket === undefined) this.#idle.push(socket)
    else this.#onSocket(socket)
  }

  async #connect(target: SocketAddress, signal: AbortSignal): Promise<DataSocket> {
    return await connectDataSocket(target, this.#dataHost, signal)
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
