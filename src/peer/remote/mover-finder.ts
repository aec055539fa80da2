import { blake3 } from '../../lib/blake3.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Logger, LoggerFactory } from '../../lib/logger.ts'
import { anySignal } from '../../lib/signals.ts'
import { toError } from '../../lib/to-error.ts'
import type { DataMover } from '../../metadata/stripe-types.ts'
import { MOVER_PROTOCOL } from '../protocols/mover.ts'
import type { ImageDirectory, PeerNode } from '../types.ts'
import { RemoteMover } from './mover.ts'

export interface MoverFinderComponents {
  readonly node: Pick<PeerNode, 'members' | 'onMembersChanged' | 'open'>
  /** The DHT; movers are announced in it as holders of an image are. */
  readonly directory: ImageDirectory
  readonly clock: Clock
  readonly logger: LoggerFactory
}

export interface MoverFinderOptions {
  /** This agent is a mover itself, and says so. */
  readonly isMover: boolean
  /** This agent is a front, and looks for movers. */
  readonly isFront: boolean
  /** Movers that a front uses at most. @default 16 */
  readonly maxMovers?: number
  /** Wait after the first search, in milliseconds; doubled each time. @default 1000 */
  readonly minIntervalMs?: number
  /** Longest wait between two searches. @default 30000 */
  readonly maxIntervalMs?: number
}

/** What stands in the place of a manifest root in the DHT; no page hashes to it by chance. */
const MOVERS = blake3(Buffer.from('blobswarm data movers'))

/**
 * Keeps a front connected to the cluster's data movers: each announces itself in the DHT. Whether it
 * is what it says is proven by its certificate in the hello.
 */
export class MoverFinder {
  readonly #components: MoverFinderComponents
  readonly #options: Required<MoverFinderOptions>
  readonly #log: Logger
  readonly #stopped = new AbortController()
  /** Those that have answered mover/1. */
  readonly #known = new Map<string, RemoteMover>()
  #tasks: readonly Promise<void>[] = []

  constructor(components: MoverFinderComponents, options: MoverFinderOptions) {
    const { maxMovers = 16, minIntervalMs = 1000, maxIntervalMs = 30_000 } = options
    if (!(minIntervalMs > 0) || !(maxIntervalMs >= minIntervalMs)) {
      throw new RangeError(`searches every ${minIntervalMs} to ${maxIntervalMs} ms`)
    }
    this.#components = components
    this.#options = { ...options, maxMovers, minIntervalMs, maxIntervalMs }
    this.#log = components.logger.forComponent('blobswarm:peer:mover-finder')
  }

  /** Movers that are connected now, in the same order as long as they are the same. */
  list(): readonly DataMover[] {
    const { node } = this.#components
    const connected = new Set(node.members().map(({ peerId }) => peerId))
    const found = [...this.#known.values()].filter(({ id }) => connected.has(id))
    return found
      .toSorted((left, right) => (left.id < right.id ? -1 : 1))
      .slice(0, this.#options.maxMovers)
  }

  /** Announces this agent, and looks for others in the background. Called once. */
  async start(): Promise<void> {
    if (this.#options.isMover) this.#components.directory.announce(MOVERS)
    if (this.#options.isFront) this.#tasks = [this.#keepMeeting(), this.#keepSearching()]
  }

  /** Resolves when nothing is looked for any more. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('the mover finder has stopped'))
    await Promise.all(this.#tasks)
  }

  /**
   * Whoever is connected for another reason need not be looked for. One that has just come may not
   * serve yet, so it is asked again.
   */
  async #keepMeeting(): Promise<void> {
    const { minIntervalMs, maxIntervalMs } = this.#options
    let waitMs = minIntervalMs
    while (!this.#stopped.signal.aborted) {
      for (const { peerId, roles } of this.#components.node.members()) {
        if (roles.has('gridftp') && !this.#known.has(peerId)) await this.#meet(peerId)
      }
      const changed = new AbortController()
      const stop = this.#components.node.onMembersChanged(() => changed.abort())
      await this.#pause(waitMs, changed.signal)
      stop()
      waitMs = changed.signal.aborted ? minIntervalMs : Math.min(2 * waitMs, maxIntervalMs)
      if (changed.signal.aborted) await this.#pause(minIntervalMs) // others may come with it
    }
  }

  async #keepSearching(): Promise<void> {
    const { minIntervalMs, maxIntervalMs } = this.#options
    for (let waitMs = minIntervalMs; !this.#stopped.signal.aborted; ) {
      await this.#meetAnnounced()
      await this.#pause(waitMs)
      waitMs = Math.min(2 * waitMs, maxIntervalMs)
    }
  }

  async #pause(waitMs: number, earlier?: AbortSignal): Promise<void> {
    const signal = anySignal([this.#stopped.signal, earlier])
    await this.#components.clock.sleep(waitMs, signal && { signal }).catch(() => {}) // ended early
  }

  async #meetAnnounced(): Promise<void> {
    const { signal } = this.#stopped
    const isConnected = new Set(this.#components.node.members().map(({ peerId }) => peerId))
    try {
      for await (const peerId of this.#components.directory.find(MOVERS, { signal })) {
        if (!this.#known.has(peerId) || !isConnected.has(peerId)) await this.#meet(peerId)
      }
    } catch (thrown) {
      if (!signal.aborted) this.#log.debug('no data movers found: %e', toError(thrown))
    }
  }

  /** Opening its protocol connects, says hello and shows that it is answered. */
  async #meet(peerId: string): Promise<void> {
    const { node, clock } = this.#components
    const { signal } = this.#stopped
    if (signal.aborted) return
    try {
      const channel = await node.open(peerId, MOVER_PROTOCOL, { signal })
      const isMover = channel.remote.roles.has('gridftp')
      await channel.close()
      if (!isMover || this.#known.has(peerId)) return
      this.#log.info('found the data mover %p', peerId)
      this.#known.set(peerId, new RemoteMover(peerId, { node, clock }))
    } catch (thrown) {
      if (this.#known.delete(peerId)) this.#log.info('data mover %p is gone', peerId)
      if (!signal.aborted) this.#log.debug('%p is no data mover: %e', peerId, toError(thrown))
    }
  }
}
