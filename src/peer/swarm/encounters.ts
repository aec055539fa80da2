import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Counter } from '../../lib/metrics.ts'
import { toError } from '../../lib/to-error.ts'
import { isViolation } from '../bans.ts'
import {
  type GoodbyeReason,
  type HandshakeMessage,
  MAX_ADDRESSES,
  type SwarmMessage
} from '../protocols/swarm.ts'
import type { PeerNode } from '../types.ts'
import type { ChunkTable } from './chunk-table.ts'
import { GoodbyeError } from './errors.ts'
import type { Holdings } from './holdings.ts'
import { SwarmLink, type SwarmLinkOptions } from './link.ts'
import { type IntroducedChannel, meet, pagesHandshake } from './meeting.ts'
import { Neighbour } from './neighbour.ts'
import type { Neighbourhood } from './neighbourhood.ts'
import type { PageServer } from './page-server.ts'
import type { ScorecardOptions } from './scorecard.ts'
import type { Tasks } from './tasks.ts'

/** The session that agents are met for. */
export interface EncountersHost {
  readonly table: ChunkTable
  readonly holdings: Holdings
  /** Failure domain of this agent; empty if it is not to be told. */
  readonly zone: string
  /** This agent wants chunks now. */
  readonly wants: boolean
  /** Somebody is a neighbour from now on. */
  joined(neighbour: Neighbour): void
  /** Acts on what a neighbour says. @throws {ProtocolViolationError} if it breaks the protocol. */
  handle(neighbour: Neighbour, message: SwarmMessage): void
  /** Its channel has ended; resolves when nothing is done for it any more. */
  parted(neighbour: Neighbour): Promise<void>
}

export interface EncountersComponents {
  readonly host: EncountersHost
  readonly node: PeerNode
  readonly clock: Clock
  readonly log: Logger
  readonly neighbourhood: Neighbourhood
  readonly pages: PageServer
  readonly tasks: Tasks
  readonly refused?: Counter | undefined
}

export interface EncountersOptions {
  /** Time for connecting and for a handshake, each. @default 10 seconds */
  readonly handshakeMs?: number
  readonly link?: SwarmLinkOptions
  readonly scorecard?: ScorecardOptions
}

/** Meets agents for one image, whoever opened the channel: handshakes, refusals, and who becomes a neighbour. */
export class Encounters {
  readonly #components: EncountersComponents
  readonly #options: EncountersOptions

  constructor(components: EncountersComponents, options: EncountersOptions = {}) {
    this.#components = components
    this.#options = options
  }

  /** Serves a channel that another agent opened, until it ends. */
  async accept(opened: IntroducedChannel): Promise<void> {
    const { host, neighbourhood, pages, refused } = this.#components
    const { channel, handshake } = opened
    const { peerId } = channel.remote
    const link = this.#link(opened)
    const refusal = this.#refusal(peerId, peerId, handshake)
    if (refusal !== undefined) {
      refused?.add(1, { reason: refusal })
      const peers = neighbourhood.exchangeFor(peerId)
      if (refusal === 'full' && peers.length > 0) link.post({ type: 'peers', peers })
      link.close(refusal)
      await link.run(() => {})
      return
    }
    if (handshake.pagesOnly) {
      link.post(pagesHandshake(host.table.manifest.root))
      await pages.serve(link)
      return
    }
    link.post(this.#handshake())
    await this.#serve(this.#join(link, opened, peerId))
  }

  /** Opens a channel to a peer and makes it a neighbour. @throws {GoodbyeError} if it cannot be one. */
  async visit(peerId: string, options: AbortOptions): Promise<void> {
    const { node, host, tasks } = this.#components
    const { handshakeMs: timeoutMs } = this.#options
    const { holdings, table } = host
    let own = this.#handshake()
    const introduce = (): HandshakeMessage => {
      own = this.#handshake()
      return own
    }
    const opened = await meet(this.#components, peerId, introduce, { ...options, timeoutMs })
    const link = this.#link(opened)
    const refusal = this.#refusal(peerId, node.peerId, opened.handshake)
    if (refusal !== undefined) {
      link.close(refusal)
      tasks.track(link.run(() => {}))
      throw new GoodbyeError(peerId, refusal)
    }
    const neighbour = this.#join(link, opened, node.peerId)
    const told = own.bitfield ?? new Uint8Array(Math.ceil(table.count / 8))
    if (!own.holdsAll) link.announce(holdings.since(told))
    tasks.track(this.#serve(neighbour))
  }

  #handshake(): HandshakeMessage {
    const { host, node } = this.#components
    const { holdings, table, wants, zone } = host
    const isPartial = !holdings.hasAll && holdings.distinctCount > 0
    return {
      type: 'handshake',
      root: table.manifest.root,
      wants: wants && !holdings.hasAll,
      holdsAll: holdings.hasAll,
      pagesOnly: false,
      chunkCount: table.count,
      addresses: node.addresses().slice(0, MAX_ADDRESSES),
      zone,
      bitfield: isPartial ? holdings.encode() : undefined
    }
  }

  #link(opened: IntroducedChannel): SwarmLink {
    return new SwarmLink(opened, this.#components.clock, this.#options.link)
  }

  /** Why a channel that `opener` opened is not kept; undefined if it is. */
  #refusal(peer: string, opener: string, handshake: HandshakeMessage): GoodbyeReason | undefined {
    const { neighbourhood, pages, host } = this.#components
    if (neighbourhood.isClosed) return 'leaving'
    if (handshake.pagesOnly) return pages.isFull ? 'full' : undefined
    if (handshake.chunkCount !== host.table.count) return 'violation'
    return neighbourhood.refusal(peer, opener, handshake)
  }

  #join(link: SwarmLink, opened: IntroducedChannel, opener: string): Neighbour {
    const { host, neighbourhood } = this.#components
    const meeting = { link, opener, handshake: opened.handshake }
    const neighbour = new Neighbour(meeting, host.table, this.#options.scorecard)
    neighbourhood.join(neighbour)
    host.joined(neighbour)
    return neighbour
  }

  async #serve(neighbour: Neighbour): Promise<void> {
    const { host, log, neighbourhood } = this.#components
    try {
      await neighbour.link.run((message) => host.handle(neighbour, message))
    } catch (thrown) {
      const error = toError(thrown)
      if (isViolation(error)) {
        neighbour.leaving ??= 'violation'
        neighbourhood.punish(neighbour.peerId, error)
      } else log.debug('neighbour %p is gone: %e', neighbour.peerId, error)
    } finally {
      neighbourhood.remove(neighbour, 'ended')
      await host.parted(neighbour)
    }
  }
}
