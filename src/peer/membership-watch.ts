import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import type { Greeter } from './greeter.ts'
import type { Membership } from './membership.ts'
import type { AdmittedConnection, MembershipGate } from './membership-gate.ts'

export interface MembershipWatchComponents {
  readonly membership: Membership
  readonly gate: MembershipGate
  readonly greeter: Pick<Greeter, 'greet' | 'meetAgain' | 'part' | 'dismiss' | 'spread'>
  /** Ends every channel to a peer at once. */
  readonly abortChannels: (peerId: string, reason: Error) => void
  readonly clock: Clock
  readonly log: Logger
  readonly metrics?: Metrics | undefined
}

export interface MembershipWatchOptions {
  /** How often certificates are looked at, in milliseconds. @default 20000 */
  intervalMs?: number
}

/**
 * Keeps only members connected: whoever was revoked is dropped at once, and whose certificate has
 * expired within `intervalMs`, unless it has a newer one. Tells members what is new of the authority's
 * lists and of this agent's own certificate.
 */
export class MembershipWatch {
  readonly #components: MembershipWatchComponents
  readonly #intervalMs: number
  readonly #dropped: Counter | undefined
  readonly #stops: (() => void)[] = []
  readonly #tasks = new Set<Promise<void>>()
  #cancelTimer: Cancel = () => {}
  #isStopped = false

  constructor(components: MembershipWatchComponents, options: MembershipWatchOptions = {}) {
    const { intervalMs = 20_000 } = options
    if (!(intervalMs > 0)) throw new RangeError(`certificates looked at every ${intervalMs} ms`)
    this.#components = components
    this.#intervalMs = intervalMs
    const { metrics, membership, clock } = components
    this.#dropped = metrics?.counter('blobswarm_peer_members_dropped_total', {
      help: 'Connections closed because a certificate had expired or was revoked',
      labels: ['reason']
    })
    metrics?.gauge('blobswarm_peer_certificate_expires_seconds', {
      help: "Time until this agent's certificate expires; below 0 when it has",
      read: () => ((membership.self?.expiresMs ?? 0) - clock.now()) / 1000
    })
    metrics?.gauge('blobswarm_peer_revoked_members', {
      help: 'Peers on the newest revocation list that was seen',
      read: () => membership.revocations?.revoked.length ?? 0
    })
  }

  /** Watches from now on. Called once. */
  start(): void {
    const { membership, greeter } = this.#components
    const spread = (): void => this.#own(greeter.spread())
    this.#stops.push(
      membership.onMetadataListChanged(spread),
      membership.onRenewed(() => {
        this.#own(greeter.meetAgain())
        spread()
      }),
      membership.onRevocationsChanged(() => {
        this.#lookAtItself()
        this.#dropRevoked()
        spread()
      })
    )
    this.#schedule()
  }

  /** Resolves when nothing is looked at any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelTimer()
    for (const stop of this.#stops) stop()
    await Promise.all(this.#tasks)
  }

  /** Looks at all certificates, and tells what could not be told before. */
  async look(): Promise<void> {
    const { gate, greeter } = this.#components
    this.#dropRevoked()
    await Promise.all(gate.admitted().map(async (admitted) => this.#lookAt(admitted)))
    await greeter.spread()
  }

  #schedule(): void {
    if (this.#isStopped) return
    this.#cancelTimer = this.#components.clock.schedule(() => {
      this.#own(this.look().finally(() => this.#schedule()))
    }, this.#intervalMs)
  }

  #lookAtItself(): void {
    const { membership, log } = this.#components
    const { self } = membership
    if (self === undefined || membership.revocationOf(self.peerId, self.issuedMs) === undefined)
      return
    log.error('this agent is no member any more: %e', membership.objectionTo(self))
  }

  #dropRevoked(): void {
    const { membership, gate, greeter, abortChannels, log } = this.#components
    for (const { connection, member } of gate.admitted()) {
      const { peerId, issuedMs } = member
      if (membership.revocationOf(peerId, issuedMs) === undefined) continue
      const error = membership.objectionTo(member) ?? new Error('revoked')
      log.info('dropping %p: %e', peerId, error)
      this.#dropped?.add(1, { reason: 'revoked' })
      abortChannels(peerId, error)
      this.#own(greeter.part(connection, error))
    }
  }

  /** Asks who is about to expire for a newer certificate, in case its own hello was lost. */
  async #lookAt({ connection, member }: AdmittedConnection): Promise<void> {
    const { membership, greeter, clock, abortChannels, log } = this.#components
    if (member.expiresMs - clock.now() > 2 * this.#intervalMs) return
    try {
      await greeter.greet(connection)
    } catch (error) {
      log.debug('no newer certificate of %p: %e', member.peerId, toError(error))
      const objection = membership.objectionTo(member)
      if (objection === undefined) return
      log.info('dropping %p: %e', member.peerId, objection)
      this.#dropped?.add(1, { reason: 'expired' })
      abortChannels(member.peerId, objection)
      greeter.dismiss(connection, objection)
    }
  }

  /** Keeps a task that handles its own errors until it is done. */
  #own(task: Promise<void>): void {
    const owned = task
      .catch((error: unknown) => this.#components.log.error('members not told: %e', toError(error)))
      .finally(() => this.#tasks.delete(owned))
    this.#tasks.add(owned)
  }
}
