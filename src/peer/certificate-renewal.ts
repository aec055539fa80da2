import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { PeerUnreachableError } from './errors.ts'
import type { Membership, MembershipDocuments } from './membership.ts'
import type { Member } from './types.ts'

export interface CertificateRenewalComponents {
  readonly membership: Membership
  /** Asks for a newer certificate. @returns undefined if there is nobody to ask. */
  readonly renew: (options: AbortOptions) => Promise<Uint8Array | undefined>
  /** Makes a certificate durable. */
  readonly save: (documents: MembershipDocuments) => Promise<void>
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** When it is begun, as a part of the lifetime, and for how much of it agents are spread. */
const DUE = 2 / 3
const SPREAD = 1 / 12

/** An operator is told when less than this part of the lifetime is left. */
const LATE = 1 / 6

/** Pauses between attempts, as a part of the lifetime and in milliseconds. */
const PAUSE = 1 / 200
const MIN_PAUSE_MS = 1000
const MAX_PAUSE_MS = 10 * 60_000

/** Clocks are set and machines sleep, so the time of day is looked at now and then. */
const MAX_WAIT_MS = 3_600_000

/**
 * Renews this agent's certificate in good time: after two thirds of its lifetime, each agent at another
 * moment, again and again until it has succeeded. Nothing that is open is closed for it.
 */
export class CertificateRenewal {
  readonly #components: CertificateRenewalComponents
  readonly #stopped = new AbortController()
  #task: Promise<void> = Promise.resolve()

  constructor(components: CertificateRenewalComponents) {
    this.#components = components
  }

  /** Renews from now on. Called once, by a member. */
  start(): void {
    this.#task = this.#run()
  }

  /** Resolves when nothing is renewed any more. */
  async stop(): Promise<void> {
    this.#stopped.abort(new NotRunningError('the renewal of certificates'))
    await this.#task
  }

  /**
   * Renews at once.
   *
   * @throws {PeerUnreachableError} if nobody could be asked.
   * @throws {ProtocolRefusedError | NotMemberError} if no newer certificate is given, or none that holds.
   */
  async renewNow(options: AbortOptions = {}): Promise<Member> {
    const { membership, renew, save, log } = this.#components
    const { clusterId } = membership.documents()
    const certificate = await renew(options)
    if (certificate === undefined) {
      throw new PeerUnreachableError('the authority', 'no connected member issues certificates')
    }
    const documents = { clusterId, certificate }
    membership.check(documents)
    await save(documents)
    const member = membership.enter(documents)
    log.info('the certificate was renewed until %s', new Date(member.expiresMs).toISOString())
    return member
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped
    while (!signal.aborted) {
      try {
        await this.#untilDue(signal)
        const before = this.#components.membership.self?.issuedMs ?? 0
        const { issuedMs } = await this.renewNow({ signal })
        if (issuedMs <= before) throw new Error('the same certificate was given again')
      } catch (thrown) {
        if (signal.aborted) return
        this.#report(toError(thrown))
        await this.#pause(this.#pauseMs(), signal)
      }
    }
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    const { membership, clock, random } = this.#components
    const spread = random()
    for (;;) {
      const { issuedMs, expiresMs } = membership.self ?? { issuedMs: 0, expiresMs: 0 }
      const dueMs = issuedMs + (expiresMs - issuedMs) * (DUE + SPREAD * spread)
      const leftMs = dueMs - clock.now()
      if (leftMs <= 0) return
      await clock.sleep(Math.min(leftMs, MAX_WAIT_MS), { signal })
    }
  }

  #pauseMs(): number {
    const { membership, random } = this.#components
    const { issuedMs = 0, expiresMs = 0 } = membership.self ?? {}
    const pauseMs = Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, PAUSE * (expiresMs - issuedMs)))
    return pauseMs * (0.5 + 0.5 * random())
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await this.#components.clock.sleep(ms, { signal }).catch(() => {}) // stopped, which ends the loop
  }

  /** The closer the end, the louder. */
  #report(error: Error): void {
    const { membership, clock, log } = this.#components
    const self = membership.self
    if (self === undefined) return
    const leftMs = self.expiresMs - clock.now()
    const until = new Date(self.expiresMs).toISOString()
    const what = 'the certificate, which ends at %s, could not be renewed: %e'
    const isRevoked = membership.revocationOf(self.peerId, self.issuedMs) !== undefined
    if (isRevoked) log.error('this agent was revoked, no other talks to it any more: %e', error)
    else if (leftMs <= 0) {
      log.error(
        'the certificate has expired at %s, no other agent talks to this one: %e',
        until,
        error
      )
    } else if (leftMs < LATE * (self.expiresMs - self.issuedMs)) log.error(what, until, error)
    else log.info(what, until, error)
  }
}
