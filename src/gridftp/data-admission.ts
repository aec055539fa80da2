import type { Logger } from '../lib/logger.ts'
import type { SocketAddress } from './address.ts'
import { CommandRefusedError } from './errors.ts'
import type { TransferRecorder } from './transfer-recorder.ts'

/** What an admission uses. */
export interface DataAdmissionComponents {
  readonly logger: Logger
  /** Counts what is turned away. */
  readonly recorder?: Pick<TransferRecorder, 'refused'> | undefined
}

/** Who may connect, and how often. */
export interface DataAdmissionOptions {
  /** Address of the client's end: the only one that data may come from or go to. */
  readonly peerHost: string
  /** Data may also come from and go to other machines (transfers between two servers). */
  readonly allowsThirdParty: boolean
  /** Data connections that one session may have open. */
  readonly maxSockets: number
}

/** Decides which machines a session exchanges data with. */
export class DataAdmission {
  readonly #components: DataAdmissionComponents
  readonly #options: DataAdmissionOptions

  constructor(components: DataAdmissionComponents, options: DataAdmissionOptions) {
    this.#components = components
    this.#options = options
  }

  /**
   * Checks where the client wants us to connect to.
   *
   * @throws {CommandRefusedError} for a privileged port or somebody else's address: a server that
   * connects anywhere is a tool for attacks on third parties (RFC 2577).
   */
  verifyTarget({ host, port }: SocketAddress): void {
    if (port < 1024) throw new CommandRefusedError(501, 'Illegal port: below 1024.')
    if (!this.#isAllowed(host)) {
      throw new CommandRefusedError(501, `Illegal address: ${host} is not yours.`)
    }
  }

  /** Tells whether a connection to a passive port may stay; `openCount` others are open. */
  admits(host: string, openCount: number): boolean {
    const { logger, recorder } = this.#components
    const { peerHost, maxSockets } = this.#options
    if (!this.#isAllowed(host)) {
      recorder?.refused('stranger')
      logger.info('data connection from %s refused: the client is %s', host, peerHost)
      return false
    }
    if (openCount < maxSockets) return true
    recorder?.refused('dataConnection')
    logger.info('data connection from %s refused: %d are open', host, maxSockets)
    return false
  }

  #isAllowed(host: string): boolean {
    const { peerHost, allowsThirdParty } = this.#options
    return allowsThirdParty || host === peerHost
  }
}
