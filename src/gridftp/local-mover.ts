import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { LimitExceededError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import type { Repository } from '../metadata/repository.ts'
import type { DataMover, StripeAccess, StripeSession } from '../metadata/stripe-types.ts'
import { LocalStripeSession } from './local-stripe-session.ts'
import type { PortRange } from './passive-listener.ts'

/** What a mover stores into and reads from. */
export type StripeStorage = Pick<Repository, 'openExtents' | 'openSealed'>

/** What a mover uses. */
export interface LocalMoverComponents {
  readonly storage: StripeStorage
  readonly clock: Clock
  /** Chooses passive ports. */
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
}

/** Where a mover listens, and its limits. */
export interface LocalMoverOptions {
  /** Address that data connections are awaited on and made from. */
  readonly host: string
  /** Address that clients are told, where they reach us through another. @default `host` */
  readonly advertisedHost?: string | undefined
  /** First and last port for data connections. @default any port */
  readonly passivePorts?: PortRange | undefined
  /** Sessions at the same time, of all fronts together. @default 256 */
  readonly maxSessions?: number
  /** Data connections that one session may have open, whatever its front asks. @default 64 */
  readonly maxSockets?: number
  /** Bytes of one stripe that may wait for the storage. @default 16777216 */
  readonly queueBytes?: number
  /** Writes of one stripe that may be under way in the storage. @default 16 */
  readonly queueDepth?: number
}

/** What all sessions of a mover share. */
export interface MoverServices {
  readonly storage: StripeStorage
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly bytes: Counter | undefined
}

/** This agent as a data mover. */
export class LocalMover implements DataMover {
  readonly id: string
  readonly #services: MoverServices
  readonly #options: LocalMoverOptions
  readonly #sessions = new Set<LocalStripeSession>()

  /** @param id how fronts know this agent. */
  constructor(id: string, components: LocalMoverComponents, options: LocalMoverOptions) {
    const { logger, metrics, ...rest } = components
    this.id = id
    this.#options = options
    this.#services = {
      ...rest,
      logger: logger.forComponent('blobswarm:gridftp:mover'),
      bytes: metrics?.counter('blobswarm_gridftp_mover_bytes', {
        help: 'Bytes of files that this agent moved as a data mover, for any front',
        labels: ['direction']
      })
    }
    metrics?.gauge('blobswarm_gridftp_mover_sessions', {
      help: 'Control sessions of fronts that this data mover serves now',
      read: () => this.#sessions.size
    })
  }

  /** Sessions open now. */
  get sessionCount(): number {
    return this.#sessions.size
  }

  /** @throws {LimitExceededError} if there are too many. */
  async open(access: StripeAccess, options: AbortOptions = {}): Promise<StripeSession> {
    options.signal?.throwIfAborted()
    const { maxSessions = 256, maxSockets = 64 } = this.#options
    if (this.#sessions.size >= maxSessions) {
      throw new LimitExceededError('sessions of a data mover', maxSessions)
    }
    const session = new LocalStripeSession(this.id, this.#services, {
      ...this.#options,
      ...access,
      maxSockets: Math.min(maxSockets, access.maxSockets),
      onClosed: () => this.#sessions.delete(session)
    })
    this.#sessions.add(session)
    return session
  }

  /** Ends every session. */
  async stop(): Promise<void> {
    await Promise.all([...this.#sessions].map(async (session) => session.close()))
  }
}
