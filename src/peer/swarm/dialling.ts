import type { AbortOptions, ChunkId } from '../../chunks/types.ts'
import type { Clock } from '../../lib/clock.ts'
import { withDeadline } from '../../lib/deadline.ts'
import type { Logger } from '../../lib/logger.ts'
import type { Random } from '../../lib/random.ts'
import { toError } from '../../lib/to-error.ts'
import { PeerTimeoutError } from '../errors.ts'
import type { ExchangedPeer, GoodbyeReason } from '../protocols/swarm.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import type { Bans } from './bans.ts'
import { Candidates, type CandidatesOptions, type Origin } from './candidates.ts'
import { GoodbyeError } from './errors.ts'

/** The session on whose behalf peers are dialled. */
export interface DiallingHost {
  readonly root: ChunkId
  /** Neighbours that are sources, and those that are not, now. */
  neighbourCounts(): { sources: number; others: number }
  isNeighbour(peerId: string): boolean
  /** Makes a peer a neighbour. @throws {unknown} if it could not be reached or does not want to. */
  visit(peerId: string, options: AbortOptions): Promise<void>
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

export interface DiallingOptions extends CandidatesOptions {
  /** Neighbours besides sources that are looked for. @default 12 */
  readonly targetNeighbours?: number
  /** Sources named by the caller that are dialled whatever else there is. @default 32 */
  readonly maxSources?: number
  /** Wait between two questions to the directory; doubles up to 16 times that. @default 2 seconds */
  readonly lookUpMs?: number
}

const LOOK_UP_TIMEOUT_MS = 15_000
const timedOut = (): Error => new PeerTimeoutError('any', 'the directory', LOOK_UP_TIMEOUT_MS)
const MAX_FOUND = 64
const MAX_LOOK_UP_FACTOR = 16

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
  readonly #connecting = new Map<string, Origin>()
  #nextLookUpMs = 0
  #lookUpFactor = 1
  #isLookingUp = false

  constructor(components: DiallingComponents, options: DiallingOptions = {}) {
    const { targetNeighbours = 12, maxSources = 32, lookUpMs = 2000, ...candidates } = options
    this.#components = components
    this.#options = { targetNeighbours, maxSources, lookUpMs }
    this.#candidates = new Candidates(components.random, candidates)
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
    for (const { peerId, addresses } of peers) {
      if (peerId === node.peerId || !this.#candidates.add(peerId, 'exchange')) continue
      if (addresses.length === 0) continue
      const learning = node.learnAddresses(peerId, addresses).catch((error: unknown) => {
        log.debug('addresses of %p are of no use: %e', peerId, toError(error))
      })
      this.#track(learning)
    }
  }

  joined(peer: string): void {
    this.#candidates.joined(peer)
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
    const { maxSources, targetNeighbours } = this.#options
    const { host } = this.#components
    const { sources, others } = host.neighbourCounts()
    let freeForSources = maxSources - sources - this.#connectingTo('source')
    let freeForOthers = targetNeighbours - others - this.#connectingTo('exchange', 'directory')
    while (freeForSources > 0 && this.#dialNext(['source'], nowMs)) freeForSources--
    while (freeForOthers > 0 && this.#dialNext(['exchange', 'directory'], nowMs)) freeForOthers--
    if (freeForOthers > 0 && nowMs >= this.#nextLookUpMs && !this.#isLookingUp) {
      this.#track(this.#lookUp(nowMs))
    }
  }

  /** Gives up what runs and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the image is no longer looked for'))
    await Promise.allSettled(this.#tasks)
  }

  #connectingTo(...origins: Origin[]): number {
    return this.#connecting
      .values()
      .filter((origin) => origins.includes(origin))
      .toArray().length
  }

  #dialNext(origins: readonly Origin[], nowMs: number): boolean {
    const { bans, host } = this.#components
    const peer = this.#candidates.next(nowMs, origins)
    if (peer === undefined) return false
    if (host.isNeighbour(peer)) this.#candidates.joined(peer)
    else if (bans.isBanned(peer, nowMs)) this.refused(peer, 'banned')
    else this.#track(this.#dial(peer, origins[0] ?? 'exchange'))
    return true
  }

  async #dial(peer: string, origin: Origin): Promise<void> {
    const { host, log, clock } = this.#components
    this.#connecting.set(peer, origin)
    try {
      await host.visit(peer, { signal: this.#stop.signal })
    } catch (thrown) {
      const error = toError(thrown)
      log.debug('peer %p is not a neighbour: %e', peer, error)
      if (host.isNeighbour(peer)) return // it dialled, too, and that channel was kept
      if (error instanceof GoodbyeError) {
        this.exchanged(error.peers)
        this.refused(peer, error.reason)
      } else this.#candidates.failed(peer, clock.monotonic())
    } finally {
      this.#connecting.delete(peer)
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
