import type { Connection, ConnectionGater } from '@libp2p/interface'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import { Bans } from './bans.ts'
import { InboundConnections, type InboundConnectionsOptions } from './inbound-connections.ts'
import type { MembershipGate } from './membership-gate.ts'
import { Refusals } from './refusals.ts'
import { StreamGuard, type StreamGuardOptions } from './stream-guard.ts'

export interface DoorkeeperComponents {
  readonly gate: Pick<MembershipGate, 'isAdmitted'>
  readonly clock: Clock
  readonly log: Logger
  readonly metrics?: Metrics | undefined
}

export interface DoorkeeperOptions {
  readonly connections?: InboundConnectionsOptions
  readonly streams?: StreamGuardOptions
  /** How long there is nothing to do with a peer that flooded this agent, in milliseconds. @default 60000 */
  readonly floodBanMs?: number
}

/** Keeps those at bay who come in great numbers, below all protocols: connections, streams, and again. */
export class Doorkeeper {
  readonly refusals: Refusals
  /** Stands before the handshake of connections that others make. */
  readonly inbound: InboundConnections
  readonly #components: DoorkeeperComponents
  readonly #options: DoorkeeperOptions
  readonly #bans = new Bans()

  constructor(components: DoorkeeperComponents, options: DoorkeeperOptions = {}) {
    const { clock } = components
    this.#components = components
    this.#options = options
    this.refusals = new Refusals(components)
    this.inbound = new InboundConnections({ clock, refusals: this.refusals }, options.connections)
  }

  /** Refuses who is banned, both ways, as soon as it is known who it is. */
  readonly gater: ConnectionGater = {
    denyInboundEncryptedConnection: (peer) => {
      const peerId = peer.toString()
      const isBanned = this.#isBanned(peerId)
      if (isBanned) this.refusals.connection('flooding', peerId)
      return isBanned
    },
    denyDialPeer: (peer) => this.#isBanned(peer.toString())
  }

  /** Watches the streams of a new connection; `cut` is called when there is no end of them. */
  watch(connection: Connection, cut: (error: Error) => void): void {
    const { clock, gate, log } = this.#components
    const { streams = {}, floodBanMs = 60_000 } = this.#options
    const onFlood = (error: Error): void => {
      const peerId = connection.remotePeer.toString()
      log.info('%p is cut off for a while: %e', peerId, error)
      this.refusals.connection('flooding', peerId)
      this.#bans.add(peerId, clock.monotonic() + floodBanMs)
      cut(error)
    }
    const isAdmitted = (): boolean => gate.isAdmitted(connection)
    new StreamGuard({ clock, refusals: this.refusals, isAdmitted, onFlood }, streams).watch(
      connection
    )
  }

  #isBanned(peerId: string): boolean {
    return this.#bans.isBanned(peerId, this.#components.clock.monotonic())
  }
}
