import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Ticket } from './ticket-types.ts'
import type { VersionManager } from './version-manager-types.ts'

export interface LeaseKeeperComponents {
  readonly versions: Pick<VersionManager, 'renew'>
  readonly clock: Clock
  readonly logger: Logger
}

/** Shortest time between two renewals. */
const MIN_INTERVAL_MS = 100

/** Longest, so that a clock that differs from the version manager's does not lose the lease. */
const MAX_INTERVAL_MS = 10_000

/**
 * Renews the lease of a ticket each time half of it is over. If that fails the version may be
 * finished by somebody else, which does no harm, so it is only logged.
 */
export class LeaseKeeper {
  readonly #components: LeaseKeeperComponents
  readonly #ticket: Ticket
  readonly #stopped = new AbortController()
  #cancel: Cancel = () => {}
  #renewing: Promise<void> = Promise.resolve()

  constructor(components: LeaseKeeperComponents, ticket: Ticket) {
    this.#components = components
    this.#ticket = ticket
  }

  /** Begins to renew. Called once. */
  start(): void {
    this.#scheduleNext(this.#ticket.leaseUntilMs)
  }

  /** Resolves when no renewal is under way and none will be. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#cancel()
    await this.#renewing
  }

  #scheduleNext(leaseUntilMs: number): void {
    if (this.#stopped.signal.aborted) return
    const { clock } = this.#components
    const halfMs = (leaseUntilMs - clock.now()) / 2
    const delayMs = Math.min(Math.max(MIN_INTERVAL_MS, halfMs), MAX_INTERVAL_MS)
    this.#cancel = clock.schedule(() => {
      this.#renewing = this.#renew()
    }, delayMs)
  }

  async #renew(): Promise<void> {
    const { versions, logger } = this.#components
    const { blob, version } = this.#ticket
    const { signal } = this.#stopped
    try {
      this.#scheduleNext(await versions.renew(blob, version, { signal }))
    } catch (error) {
      if (signal.aborted) return
      logger.info('lease of version %d of %s was not renewed: %e', version, blob, error)
    }
  }
}
