import type { ChunkId } from '../../chunks/types.ts'
import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import { withDeadline } from '../../lib/deadline.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Random } from '../../lib/random.ts'
import { toError } from '../../lib/to-error.ts'
import type { Bans } from '../bans.ts'
import { PeerTimeoutError, ProtocolViolationError } from '../errors.ts'
import type { ExchangedPeer, GoodbyeReason } from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import {
  Candidates,
  type CandidatesCounts,
  type CandidatesOptions,
  type CandidatesWanted,
  type Origin
} from './candidates.ts'
import { GoodbyeError } from './errors.ts'

/** The session on whose behalf peers are dialled. */
export interface DiallingHost {
  readonly root: ChunkId
  /** Failure domain that this agent is in; empty if nobody has said so. */
  readonly zone: string
  isNeighbour(peerId: string): boolean
  /** Makes a peer a neighbour. @throws {unknown} if it could not be reached or does not want to. */
  visit(peerId: string, options: AbortOptions): Promise<void>
  /** Lets a source go that holds nothing of what is missing here, if there is one. */
  dismissUseless(): void
}

export interface DiallingComponents {
  readonly host: DiallingHost
  readonly node: PeerNode
  readonly directory: ImageDirectory
  readonly clock: Clock
  readonly random: Random
  readonly bans: Bans
  readonly log: Logger
}

/** What is being done to find neighbours. */
export interface SearchState {
  readonly isLookingUp: boolean
  /** Peers that are being connected to. */
  readonly connecting: readonly string[]
  /** Until somebody is dialled or the directory is asked again. */
  readonly nextInMs: number
}

export interface DiallingOptions extends CandidatesOptions {
  /** Neighbours besides sources that are looked for. @default 12 */
  readonly targetNeighbours?: number
  /** Sources named by the caller that are neighbours at a time; the useless make room for the next. @default 8 */
  readonly maxSources?: number
  /** Neighbours besides sources beyond which nobody is dialled, wherever they are. @default 18 */
  readonly maxOthers?: number
  /** Wait between two questions to the directory; doubles up to 64 times that. @default 500 ms */
  readonly lookUpMs?: number
}

const LOOK_UP_TIMEOUT_MS = 15_000
const timedOut = (): Error => new PeerTimeoutError('any', 'the directory', LOOK_UP_TIMEOUT_MS)
const MAX_FOUND = 64
// At a time: on busy hosts the first few are there long before all of a dozen would be.
const MAX_DIALS = 4
// So many are enough for chunks to come and go; the others may take their time.
const FIRST_OTHERS = 3
const PACE_MS = 200
// Of the time that a connection took: where that is long, hosts have more to do than to connect.
const PACE_FACTOR = 2
const MAX_PAUSE_MS = 2000
const MAX_LOOK_UP_FACTOR = 64
const OTHER_ORIGINS = ['exchange', 'directory'] as const

// When to try again with somebody who said goodbye.
const RETRY_AFTER_GOODBYE_MS: Record<GoodbyeReason, number> = {
  unknownImage: 60_000,
  full: 5000,
  banned: 60_000,
  duplicate: 1000,
  leaving: 2000,
  idle: 15_000,
  violation: 60_000
}

/** Finds and dials agents of one image, while it is told to by `tick`. */
export class Dialling {
  readonly #components: DiallingComponents
  readonly #options: Required<Omit<DiallingOptions, keyof CandidatesOptions>>
  readonly #candidates: Candidates
  readonly #stop = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  readonly #connecting = new Set<string>()
  /** When somebody is dialled besides the first few. */
  #nextDialMs = 0
  #nextLookUpMs = 0
  #lookUpFactor = 1
  #isLookingUp = false

  constructor(components: DiallingComponents, options: DiallingOptions = {}) {
    const { targetNeighbours = 12, maxSources = 8, maxOthers = 18, lookUpMs = 500 } = options
    this.#components = components
    this.#options = { targetNeighbours, maxSources, maxOthers, lookUpMs }
    this.#candidates = new Candidates(components.random, options)
  }

  /** Peers that are remembered as worth dialling. */
  get candidateCount(): number {
    return this.#candidates.size
  }

  /** Takes note of peers that may hold the image. */
  add(peers: Iterable<string>, origin: Origin): void {
    for (const peer of peers) {
      if (peer !== this.#components.node.peerId) this.#candidates.add(peer, origin)
    }
  }

  /** Takes note of what a neighbour said about others. */
  exchanged(peers: readonly ExchangedPeer[]): void {
    const { node, log } = this.#components
    for (const { peerId, addresses, zone } of peers) {
      if (peerId === node.peerId || !this.#candidates.add(peerId, 'exchange', zone)) continue
      if (addresses.length === 0) continue
      const learning = node.learnAddresses(peerId, addresses).catch((error: unknown) => {
        log.debug('addresses of %p are of no use: %e', peerId, toError(error))
      })
      this.#track(learning)
    }
  }

  joined(peer: string, zone = ''): void {
    this.#candidates.joined(peer, zone)
  }

  /** A neighbour is gone; it may be dialled again after a while. */
  left(peer: string, retryMs = 1000): void {
    this.#candidates.left(peer, this.#components.clock.monotonic() + retryMs)
  }

  /** A peer said goodbye; when it may be dialled again depends on why. */
  refused(peer: string, reason: GoodbyeReason): void {
    this.left(peer, RETRY_AFTER_GOODBYE_MS[reason])
  }

  /** Dials whom it may, and asks the directory when there are too few neighbours. */
  tick(): void {
    if (this.#stop.signal.aborted) return
    const nowMs = this.#components.clock.monotonic()
    this.#dialSources(nowMs)
    this.#dialOthers(nowMs)
    const { others } = this.#counts
    const lacking = this.#options.targetNeighbours - others
    const isAlone = this.#candidates.waitingCount(nowMs, OTHER_ORIGINS) < lacking
    if (isAlone && nowMs >= this.#nextLookUpMs && !this.#isLookingUp) {
      this.#track(this.#lookUp(nowMs))
    }
  }

  /** What is being done now. */
  get state(): SearchState {
    const nowMs = this.#components.clock.monotonic()
    const dialInMs = Math.max(this.#candidates.delayMs(nowMs) ?? Infinity, this.#pauseMs(nowMs))
    return {
      isLookingUp: this.#isLookingUp,
      connecting: Array.from(this.#connecting),
      nextInMs: Math.min(dialInMs, Math.max(0, this.#nextLookUpMs - nowMs))
    }
  }

  /**
   * Dials everybody who is known, also those that were of no use before, and asks the directory at once, however
   * often that has failed.
   */
  hurry(): void {
    this.#nextDialMs = 0
    this.#nextLookUpMs = 0
    this.#lookUpFactor = 1
    for (const peer of this.#candidates.hurry()) this.#components.bans.pardon(peer)
    this.tick()
  }

  /** Gives up what runs and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the image is no longer looked for'))
    await Promise.allSettled(this.#tasks)
  }

  get #counts(): CandidatesCounts {
    return this.#candidates.counts(this.#components.host.zone)
  }

  #dialSources(nowMs: number): void {
    let free = this.#options.maxSources - this.#counts.sources
    while (free > 0 && this.#dialNext({ origins: ['source'] }, nowMs)) free--
    if (free <= 0 && this.#candidates.isWaiting(nowMs, 'source')) {
      this.#components.host.dismissUseless()
    }
  }

  /**
   * Half of those looked for are of this agent's own zone, even if that makes a few more; the rest are
   * any, so that the zones hang together. The first few at once and the others one after the other: when
   * many begin together, connections that are made later are also made by others, and fewer of them.
   */
  #dialOthers(nowMs: number): void {
    const { targetNeighbours, maxOthers } = this.#options
    const { zone: ownZone } = this.#components.host
    const origins = OTHER_ORIGINS
    for (;;) {
      const { others, near } = this.#counts
      const isNearWanted = ownZone !== '' && near < targetNeighbours / 2
      const zone = isNearWanted ? ownZone : ''
      const isEnough = others >= targetNeighbours
      if (isEnough && (!isNearWanted || others >= maxOthers)) return
      if (this.#connecting.size >= MAX_DIALS) return
      const isConnectedOnly = this.#pauseMs(nowMs) > 0
      const connected = this.#connected()
      const wanted = { origins, zone, isZoneOnly: isEnough, connected, isConnectedOnly }
      if (!this.#dialNext(wanted, nowMs)) return
      this.#nextDialMs = nowMs + PACE_MS
    }
  }

  /** Until the next one may be dialled. */
  #pauseMs(nowMs: number): number {
    return this.#counts.others < FIRST_OTHERS ? 0 : Math.max(0, this.#nextDialMs - nowMs)
  }

  #connected(): ReadonlySet<string> {
    return new Set(this.#components.node.members().map(({ peerId }) => peerId))
  }

  #dialNext(wanted: CandidatesWanted, nowMs: number): boolean {
    const { bans, host } = this.#components
    const peer = this.#candidates.next(nowMs, wanted)
    if (peer === undefined) return false
    if (host.isNeighbour(peer)) this.#candidates.joined(peer)
    else if (bans.isBanned(peer, nowMs)) this.left(peer, bans.remainingMs(peer, nowMs))
    else this.#track(this.#dial(peer))
    return true
  }

  async #dial(peer: string): Promise<void> {
    const { host, log, clock, bans } = this.#components
    const startedMs = clock.monotonic()
    this.#connecting.add(peer)
    try {
      await host.visit(peer, { signal: this.#stop.signal })
      const nowMs = clock.monotonic()
      const pauseMs = Math.min(MAX_PAUSE_MS, PACE_FACTOR * (nowMs - startedMs))
      this.#nextDialMs = Math.max(this.#nextDialMs, nowMs + pauseMs)
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('peer %p is not a neighbour: %e', peer, error)
      if (host.isNeighbour(peer)) return // it dialled, too, and that channel was kept
      if (error instanceof GoodbyeError) {
        this.exchanged(error.peers)
        this.refused(peer, error.reason)
      } else {
        this.#candidates.failed(peer, clock.monotonic())
        if (!(error instanceof ProtocolViolationError)) return
        log.info('peer %p is banned: %e', peer, error)
        bans.punish(peer, clock.monotonic())
      }
    } finally {
      this.#connecting.delete(peer)
      this.tick()
    }
  }

  async #lookUp(nowMs: number): Promise<void> {
    const { clock, directory, host, log } = this.#components
    this.#isLookingUp = true
    this.#nextLookUpMs = nowMs + this.#options.lookUpMs * this.#lookUpFactor
    this.#lookUpFactor = Math.min(this.#lookUpFactor * 2, MAX_LOOK_UP_FACTOR)
    const { signal } = this.#stop
    try {
      await withDeadline(async (deadline) => this.#takeFound(directory.find(host.root, deadline)), {
        clock,
        timeoutMs: LOOK_UP_TIMEOUT_MS,
        timedOut,
        signal
      })
    } catch (error) {
      log.debug('looking for agents of an image: %e', toError(error))
    } finally {
      this.#isLookingUp = false
    }
  }

  async #takeFound(found: AsyncIterable<string>): Promise<void> {
    let count = 0
    for await (const peer of found) {
      this.add([peer], 'directory')
      this.tick()
      if (++count === MAX_FOUND) return
    }
  }

  #track(task: Promise<void>): void {
    this.#tasks.add(task)
    task.finally(() => this.#tasks.delete(task)).catch(() => {})
  }
}
