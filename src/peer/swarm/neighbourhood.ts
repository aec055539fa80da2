import type { Clock } from '../../lib/clock.ts'
import type { EventLog } from '../../lib/events.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Random } from '../../lib/random.ts'
import type { Bans } from '../bans.ts'
import { PeerTimeoutError } from '../errors.ts'
import {
  type ExchangedPeer,
  type GoodbyeReason,
  type HandshakeMessage,
  MAX_EXCHANGED_PEERS
} from '../protocols/swarm.ts'
import type { LeaveReason, SwarmEvent } from './events.ts'
import type { Neighbour } from './neighbour.ts'

export interface NeighbourhoodComponents {
  /** Manifest root, hexadecimal. */
  readonly image: string
  readonly clock: Clock
  readonly random: Random
  readonly bans: Bans
  readonly log: Logger
  readonly events: EventLog<SwarmEvent>
  /** Tells whether this agent wants chunks now. */
  readonly wants: () => boolean
  /** Tells whether a neighbour holds nothing of what this agent lacks. */
  readonly isUseless: (neighbour: Neighbour) => boolean
  readonly onLeft: (neighbour: Neighbour) => void
}

export interface NeighbourhoodOptions {
  /** Neighbours of one image, whoever dialled; more are turned away. @default 24 */
  readonly maxNeighbours?: number
  /**
   * A neighbour that does not read for this long is dropped; for each other that is being sent something, which may be
   * why, it has as long again, up to `silenceMs`. @default 20 seconds
   */
  readonly sendTimeoutMs?: number
  /** Silence after which a neighbour is taken for dead; a third of it is the keep-alive. @default 90 seconds */
  readonly silenceMs?: number
  /** How long two agents that want nothing of each other stay connected. @default 15 seconds */
  readonly lingerMs?: number
  /** How often neighbours are told about new ones. @default 2 seconds */
  readonly exchangeMs?: number
}

/** The neighbours of one image: who may be one, who has gone, and what they are told about each other. */
export class Neighbourhood {
  readonly #components: NeighbourhoodComponents
  readonly #options: Required<NeighbourhoodOptions>
  readonly #members = new Map<string, Neighbour>()
  #newcomers: ExchangedPeer[] = []
  #exchangedMs: number
  #changedMs: number
  #isClosed = false

  constructor(components: NeighbourhoodComponents, options: NeighbourhoodOptions = {}) {
    this.#components = components
    this.#options = {
      maxNeighbours: 24,
      sendTimeoutMs: 20_000,
      silenceMs: 90_000,
      lingerMs: 15_000,
      exchangeMs: 2000,
      ...options
    }
    this.#exchangedMs = components.clock.monotonic()
    this.#changedMs = this.#exchangedMs
  }

  /** Neighbours by peer id. */
  get members(): ReadonlyMap<string, Neighbour> {
    return this.#members
  }

  /** When somebody last came or went, monotonic. */
  get changedMs(): number {
    return this.#changedMs
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Why a peer cannot become a neighbour over a channel that `opener` opened; undefined if it can. */
  refusal(peer: string, opener: string, handshake: HandshakeMessage): GoodbyeReason | undefined {
    const { bans, clock, wants } = this.#components
    if (bans.isBanned(peer, clock.monotonic())) return 'banned'
    if (!handshake.wants && !wants()) return 'idle'
    const known = this.#members.get(peer)
    if (known === undefined) {
      const hasRoom = this.#members.size < this.#options.maxNeighbours
      return hasRoom || this.#leastUseful() !== undefined ? undefined : 'full'
    }
    // When both dialled, both keep the channel that the lower peer id opened; from the same opener, the
    // newer one, because it knows that the older is dead.
    const isNewer = known.opener === opener
    return isNewer || opener < known.opener ? undefined : 'duplicate'
  }

  /**
   * Takes a neighbour in that was not refused. One over an older channel to the same peer goes; when there is
   * no room, one that is of no use to either end does.
   */
  join(neighbour: Neighbour): void {
    const { peerId: peer, addresses, zone } = neighbour
    const { clock, events, image } = this.#components
    const known = this.#members.get(peer)
    if (known !== undefined) this.dismiss(known, 'duplicate', 'duplicate')
    else if (this.#members.size >= this.#options.maxNeighbours) {
      const least = this.#leastUseful()
      if (least !== undefined) this.dismiss(least, 'idle', 'idle')
    }
    const others = this.exchangeFor(peer)
    this.#members.set(peer, neighbour)
    this.#newcomers.push({ peerId: peer, addresses, zone })
    this.#changedMs = clock.monotonic()
    const { isSource, isProvider, heldCount: chunks } = neighbour
    const isDialled = neighbour.opener !== peer
    const joined = { image, peer, isSource, isProvider, isDialled, zone, chunks }
    events.emit({ event: 'neighbour-joined', ...joined })
    if (neighbour.wants && others.length > 0) neighbour.link.post({ type: 'peers', peers: others })
  }

  /** Lets a neighbour go whose channel has ended or will. Harmless when it has gone. */
  remove(neighbour: Neighbour, reason: LeaveReason): void {
    const { peerId: peer } = neighbour
    if (this.#members.get(peer) !== neighbour) return
    const { clock, events, image, onLeft } = this.#components
    neighbour.leaving ??= reason
    this.#members.delete(peer)
    this.#newcomers = this.#newcomers.filter(({ peerId }) => peerId !== peer)
    this.#changedMs = clock.monotonic()
    events.emit({ event: 'neighbour-left', image, peer, reason: neighbour.leaving })
    onLeft(neighbour)
  }

  /** Says goodbye to a neighbour, which is none any more from now on. */
  dismiss(neighbour: Neighbour, reason: LeaveReason, goodbye: GoodbyeReason): void {
    this.remove(neighbour, reason)
    neighbour.link.close(goodbye)
  }

  /** Dismisses a neighbour for what it did or did not do. */
  drop(neighbour: Neighbour, reason: LeaveReason, banMs: number): void {
    const { bans, clock, image, log } = this.#components
    log.info('neighbour %p of image %s is dropped: %s', neighbour.peerId, image, reason)
    const untilMs = clock.monotonic() + banMs
    if (reason === 'failing') bans.suspend(neighbour.peerId, untilMs)
    else if (banMs > 0) bans.add(neighbour.peerId, untilMs)
    this.dismiss(neighbour, reason, reason === 'lied' ? 'violation' : 'leaving')
  }

  /** Has nothing to do with a peer that broke the protocol for a while. */
  punish(peer: string, error: Error): void {
    const { bans, clock, image, log } = this.#components
    log.info('neighbour %p of image %s is dropped and banned: %e', peer, image, error)
    bans.punish(peer, clock.monotonic())
  }

  /** Neighbours that another peer may like to know, a random few if there are many; none that may be dead. */
  exchangeFor(peer: string): ExchangedPeer[] {
    const { random, clock } = this.#components
    const aliveMs = clock.monotonic() - this.#options.silenceMs / 2
    return this.#members
      .values()
      .filter(({ peerId, link }) => peerId !== peer && link.receivedMs >= aliveMs)
      .map((neighbour) => ({ neighbour, rank: random() }))
      .toArray()
      .toSorted((left, right) => left.rank - right.rank)
      .slice(0, MAX_EXCHANGED_PEERS)
      .map(({ neighbour: { peerId, addresses, zone } }) => ({ peerId, addresses, zone }))
  }

  /** Drops the dead, lets the idle go, keeps the rest awake and tells them about newcomers. */
  tick(nowMs: number): void {
    const sendTimeoutMs = this.#sendTimeoutMs()
    for (const neighbour of Array.from(this.#members.values())) {
      this.#check(neighbour, sendTimeoutMs, nowMs)
    }
    if (nowMs - this.#exchangedMs < this.#options.exchangeMs) return
    this.#exchangedMs = nowMs
    const newcomers = this.#newcomers.splice(0).slice(-MAX_EXCHANGED_PEERS)
    for (const { link, peerId, wants } of this.#members.values()) {
      const peers = newcomers.filter((newcomer) => newcomer.peerId !== peerId)
      if (wants && peers.length > 0) link.post({ type: 'peers', peers })
    }
  }

  /** Says goodbye to all; nobody can join any more. */
  close(): void {
    this.#isClosed = true
    for (const neighbour of this.#members.values()) this.dismiss(neighbour, 'closed', 'leaving')
  }

  /** A neighbour that could go for another: neither it nor this agent wants anything of the other. */
  #leastUseful(): Neighbour | undefined {
    const { isUseless } = this.#components
    return this.#members.values().find((neighbour) => !neighbour.wants && isUseless(neighbour))
  }

  /** A narrow way up is shared by all, so that each message takes as many times as long. */
  #sendTimeoutMs(): number {
    const { sendTimeoutMs, silenceMs } = this.#options
    let busyCount = 0
    for (const { link } of this.#members.values())
      if (link.sendingSinceMs !== undefined) busyCount++
    return Math.max(sendTimeoutMs, Math.min(sendTimeoutMs * busyCount, silenceMs))
  }

  #check(neighbour: Neighbour, sendTimeoutMs: number, nowMs: number): void {
    const { silenceMs, lingerMs } = this.#options
    const { link } = neighbour
    const isStuck = nowMs - (link.sendingSinceMs ?? nowMs) > sendTimeoutMs
    if (isStuck || nowMs - link.receivedMs > silenceMs) {
      this.drop(neighbour, 'silent', 0)
      const waitedMs = isStuck ? sendTimeoutMs : silenceMs
      link.channel.abort(new PeerTimeoutError(link.peerId, 'a message', waitedMs))
      return
    }
    const isOfUse = this.#components.wants() || neighbour.wants
    neighbour.idleSinceMs = isOfUse ? undefined : (neighbour.idleSinceMs ?? nowMs)
    if (nowMs - (neighbour.idleSinceMs ?? nowMs) >= lingerMs) {
      this.dismiss(neighbour, 'idle', 'idle')
    } else if (nowMs - link.sentMs > silenceMs / 3) link.post({ type: 'have', indexes: [] })
  }
}
