import type { Connection } from '@libp2p/interface'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Member, Role } from './types.ts'

/** A connection as far as its idleness goes. */
export type WatchedConnection = Pick<Connection, 'direction' | 'streams' | 'close' | 'abort'>

export interface IdleConnectionsComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Connections to members that are open now. */
  readonly connections: () => readonly {
    readonly connection: WatchedConnection
    readonly member: Member
  }[]
  /** Tells whether a connection to a peer is kept open whatever happens. */
  readonly isKept: (peerId: string) => boolean
}

export interface IdleConnectionsOptions {
  /** Connections in all, beyond which new ones are refused. @default 2000 */
  readonly maxConnections?: number | undefined
  /** A connection that this agent made goes when it has been idle for this long, in milliseconds. @default 3 minutes */
  readonly idleMs?: number | undefined
  /** … and any when there is hardly room for new ones. @default 15 seconds */
  readonly crowdedIdleMs?: number | undefined
}

const LOOK_MS = 10_000
// Of the connections that there may be, so that those who come find room.
const CROWDED_SHARE = 0.8
const CLOSE_TIMEOUT_MS = 5000
// Everybody keeps a connection to one of each, and the cluster's metadata list is made of such connections.
const KEPT_ROLES: readonly Role[] = ['metadata', 'versionManager', 'providerManager']

/** Lets connections go on which no protocol is spoken, so that agents can be many more than connections. */
export class IdleConnections {
  readonly #components: IdleConnectionsComponents
  readonly #maxConnections: number
  readonly #idleMs: number
  readonly #crowdedIdleMs: number
  readonly #idleSince = new WeakMap<WatchedConnection, number>()
  readonly #closing = new Set<Promise<void>>()
  #cancel: Cancel = () => {}

  constructor(components: IdleConnectionsComponents, options: IdleConnectionsOptions = {}) {
    const { maxConnections = 2000, idleMs = 180_000, crowdedIdleMs = 15_000 } = options
    this.#components = components
    this.#maxConnections = maxConnections
    this.#idleMs = idleMs
    this.#crowdedIdleMs = crowdedIdleMs
  }

  start(): void {
    this.#cancel = this.#components.clock.schedule(() => {
      this.look()
      this.start()
    }, LOOK_MS)
  }

  /** Resolves when nothing is being closed any more. */
  async stop(): Promise<void> {
    this.#cancel()
    await Promise.all(this.#closing)
  }

  /** Looks at all connections and lets go of those that have been idle for too long. */
  look(): void {
    const { clock, connections } = this.#components
    const nowMs = clock.monotonic()
    const all = connections()
    const idle = all
      .filter(({ connection, member }) => this.#isIdle(connection, member, nowMs))
      .map(({ connection }) => ({ connection, ms: nowMs - this.#since(connection, nowMs) }))
      .toSorted((left, right) => right.ms - left.ms)
    const excess = Math.max(0, all.length - Math.floor(this.#maxConnections * CROWDED_SHARE))
    for (const [at, { connection, ms }] of idle.entries()) {
      const isOver = connection.direction === 'outbound' && ms >= this.#idleMs
      if (isOver || (at < excess && ms >= this.#crowdedIdleMs)) this.#close(connection)
    }
  }

  #isIdle(connection: WatchedConnection, { peerId, roles }: Member, nowMs: number): boolean {
    if (connection.streams.length > 0) {
      this.#idleSince.delete(connection)
      return false
    }
    this.#since(connection, nowMs)
    return !KEPT_ROLES.some((role) => roles.has(role)) && !this.#components.isKept(peerId)
  }

  #since(connection: WatchedConnection, nowMs: number): number {
    const sinceMs = this.#idleSince.get(connection) ?? nowMs
    this.#idleSince.set(connection, sinceMs)
    return sinceMs
  }

  #close(connection: WatchedConnection): void {
    const { log } = this.#components
    const closing = connection
      .close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
      .catch((error: unknown) => {
        log.debug('an idle connection did not close: %e', error)
        connection.abort(toError(error))
      })
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}
