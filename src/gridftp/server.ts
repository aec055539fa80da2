import { createServer, isIP, isIPv4, type Server, type Socket } from 'node:net'
import { MIB } from '../lib/bytes.ts'
import { type Logger, noLogger } from '../lib/logger.ts'
import { networkOf, plainAddress, type SocketAddress } from './address.ts'
import { ChecksumThreads } from './checksum-threads.ts'
import { LoginThrottle } from './login-throttle.ts'
import { formatReply, reply } from './replies.ts'
import { Session } from './session.ts'
import { TransferRecorder } from './transfer-recorder.ts'
import type {
  GridFtpComponents,
  GridFtpOptions,
  GridFtpSettings,
  SessionServices
} from './types.ts'

/** Serves a storage to FTP and GridFTP clients. */
export class GridFtpServer {
  readonly #settings: GridFtpSettings
  readonly #services: SessionServices
  readonly #logger: Logger
  readonly #server: Server
  readonly #sessions = new Map<Session, Promise<void>>()
  readonly #perAddress = new Map<string, number>()
  #state: 'new' | 'running' | 'stopped' = 'new'

  /** @throws {RangeError} for options that cannot be. */
  constructor(components: GridFtpComponents, options: GridFtpOptions = {}) {
    const { openStorage, authenticator, clock, random, logger = noLogger, metrics } = components
    const { movers } = components
    this.#settings = settingsOf(options)
    this.#logger = logger.forComponent('blobswarm:gridftp')
    this.#services = {
      openStorage,
      authenticator,
      clock,
      random,
      logger: this.#logger,
      throttle: new LoginThrottle(clock, { baseDelayMs: this.#settings.loginDelayMs }),
      recorder: new TransferRecorder(logger.forComponent('blobswarm:gridftp:transfers'), metrics),
      checksums: new ChecksumThreads({ clock, metrics }),
      settings: this.#settings,
      movers
    }
    metrics?.gauge('blobswarm_gridftp_sessions', {
      help: 'Control connections open now',
      read: () => this.#sessions.size
    })
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
  }

  /** Sessions open now. */
  get sessionCount(): number {
    return this.#sessions.size
  }

  /** Where the server listens, with the real port; undefined while it does not. */
  get address(): SocketAddress | undefined {
    const address = this.#server.address()
    if (typeof address !== 'object' || address === null) return undefined
    return { host: plainAddress(address.address), port: address.port }
  }

  /** Begins to listen. @throws {Error} Node's own, if the address is taken. */
  async start(): Promise<SocketAddress> {
    if (this.#state !== 'new') throw new Error(`GridFTP server was started while ${this.#state}`)
    this.#state = 'running'
    const { host, port } = this.#settings
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once('error', reject)
    this.#server.listen({ host, port, backlog: 128 }, resolve)
    await promise
    this.#server.off('error', reject)
    this.#server.on('error', (error) => this.#logger.error('cannot accept: %e', error))
    return this.address ?? { host, port }
  }

  /** Ends every session; running transfers fail and leave nothing behind. */
  async stop(): Promise<void> {
    const wasRunning = this.#state === 'running'
    this.#state = 'stopped'
    const closed = Promise.withResolvers<void>()
    if (wasRunning) this.#server.close(() => closed.resolve())
    else closed.resolve()
    for (const session of this.#sessions.keys()) session.stop('Server is stopping.')
    await Promise.all(this.#sessions.values())
    await closed.promise
    await this.#services.checksums.stop()
  }

  #accept(socket: Socket): void {
    const { maxSessions, maxSessionsPerAddress } = this.#settings
    const address = plainAddress(socket.remoteAddress)
    const network = networkOf(address)
    const fromThere = this.#perAddress.get(network) ?? 0
    if (this.#sessions.size >= maxSessions) {
      this.#logger.info('session of %s refused: maxSessions (%d) are open', address, maxSessions)
      this.#refuse(socket, 'session')
      return
    }
    if (fromThere >= maxSessionsPerAddress) {
      const text = 'session of %s refused: maxSessionsPerAddress (%d) are open'
      this.#logger.info(text, address, maxSessionsPerAddress)
      this.#refuse(socket, 'sessionOfAddress')
      return
    }
    this.#perAddress.set(network, fromThere + 1)
    const session = new Session(this.#services, socket)
    this.#sessions.set(session, this.#serve(session, address))
  }

  #refuse(socket: Socket, what: 'session' | 'sessionOfAddress'): void {
    this.#services.recorder.refused(what)
    const whose = what === 'session' ? '' : ' of your address'
    socket.on('error', () => {})
    socket.resume() // unread input would turn our end into a reset
    socket.end(formatReply(reply(421, `Too many sessions${whose}, try again later.`)), () => {
      socket.destroySoon()
    })
  }

  async #serve(session: Session, address: string): Promise<void> {
    try {
      await session.run()
    } catch (error) {
      this.#logger.error('session of %s failed: %e', address, error)
    } finally {
      this.#sessions.delete(session)
      const network = networkOf(address)
      const left = (this.#perAddress.get(network) ?? 1) - 1
      if (left === 0) this.#perAddress.delete(network)
      else this.#perAddress.set(network, left)
    }
  }
}

function settingsOf(options: GridFtpOptions): GridFtpSettings {
  const { host = '127.0.0.1', port = 0, passivePorts, advertisedAddress, dataAddress } = options
  const { idleTimeoutMs = 600_000, loginTimeoutMs = 120_000, dataTimeoutMs = 120_000 } = options
  const { maxSessions = 256, maxSessionsPerAddress = 64, maxDataSockets = 64 } = options
  const { maxQueuedCommands = 256, maxLineBytes = 8192, allowsThirdParty = false } = options
  const { queueBytes = 16 * MIB, queueDepth = 64 } = options
  const { markerIntervalMs = 5000, loginDelayMs = 500 } = options
  const numbers = {
    idleTimeoutMs,
    loginTimeoutMs,
    dataTimeoutMs,
    maxSessions,
    maxSessionsPerAddress
  }
  const more = { maxDataSockets, maxQueuedCommands, maxLineBytes, queueBytes, queueDepth }
  const checked = { ...numbers, ...more, markerIntervalMs, loginDelayMs }
  for (const [name, value] of Object.entries(checked)) {
    if (!(value >= 1)) throw new RangeError(`${name} must be 1 or more, not ${value}`)
  }
  if (passivePorts !== undefined && !isPortRange(passivePorts)) {
    throw new RangeError(`passivePorts must be two ports in order, not ${passivePorts.join('-')}`)
  }
  if (advertisedAddress !== undefined && !isIPv4(advertisedAddress)) {
    throw new RangeError(`advertisedAddress must be an IPv4 address, not ${advertisedAddress}`)
  }
  if (dataAddress !== undefined && isIP(dataAddress) === 0) {
    throw new RangeError(`dataAddress must be an IP address, not ${dataAddress}`)
  }
  const addresses = { host, port, passivePorts, advertisedAddress, dataAddress }
  return { ...addresses, allowsThirdParty, ...checked }
}

function isPortRange([first, last]: readonly [number, number]): boolean {
  return isFreePort(first) && isFreePort(last) && first <= last
}

function isFreePort(port: number): boolean {
  return Number.isInteger(port) && port >= 1024 && port < 65_536
}
