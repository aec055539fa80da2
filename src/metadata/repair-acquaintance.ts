import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import type { ProviderState } from '../chunks/provider-manager-types.ts'
import type { RankedProvider } from '../chunks/repair-plan.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { KIB } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import type { LookSituation, RepairLook } from './repair-look.ts'
import type { RepairerComponents, RepairSettings } from './repair-types.ts'

/** Size of a chunk while no provider has any. */
const USUAL_CHUNK_BYTES = 256 * KIB

/** A chunk that nobody has, to see who answers at all. */
const NO_CHUNK = new Uint8Array(CHUNK_ID_BYTES).fill(1)

export interface RepairAcquaintanceComponents
  extends Pick<RepairerComponents, 'providers' | 'directory' | 'clock'> {
  readonly log: Logger
}

/**
 * What repair knows of the providers from one look to the next: who answers, and of whom the
 * records name all that they hold. It is found out again after a restart.
 */
export class RepairAcquaintance {
  readonly #components: RepairAcquaintanceComponents
  readonly #settings: Pick<RepairSettings, 'deadAfterMs' | 'thoroughMs'>
  readonly #startedMs: number
  /** Since when the records have named all that a provider holds, by the monotonic clock. */
  readonly #acquainted = new Map<ProviderId, number>()
  /** Since when providers that report do not answer questions, by the monotonic clock. */
  readonly #muteSince = new Map<ProviderId, number>()

  constructor(
    components: RepairAcquaintanceComponents,
    settings: Pick<RepairSettings, 'deadAfterMs' | 'thoroughMs'>
  ) {
    this.#components = components
    this.#settings = settings
    this.#startedMs = components.clock.monotonic()
  }

  /** What the next look goes by. */
  async situation(options: AbortOptions): Promise<LookSituation> {
    const { providers: manager, clock } = this.#components
    const states = await manager.list(options)
    await this.#callMute(options)
    const ranked = states.map((state) => this.#rank(state))
    const usable = ranked.filter(isUsable)
    const strangers = usable.filter(
      ({ id, standing }) => standing === 'draining' || !this.#isAcquainted(id)
    )
    const stored = states.reduce((sum, { storedBytes }) => sum + storedBytes, 0)
    const count = states.reduce((sum, { chunkCount }) => sum + chunkCount, 0)
    return {
      providers: new Map(ranked.map((one) => [one.id, one])),
      expected: new Set(usable.map(({ id }) => id)),
      strangers: new Set(strangers.map(({ id }) => id)),
      isSettled: clock.monotonic() - this.#startedMs >= this.#settings.deadAfterMs,
      chunkBytes: count === 0 ? USUAL_CHUNK_BYTES : Math.ceil(stored / count)
    }
  }

  /** How the providers are now. */
  async rank(options: AbortOptions): Promise<RankedProvider[]> {
    const states = await this.#components.providers.list(options)
    return states.map((state) => this.#rank(state))
  }

  #rank({ id, zone, freeBytes, condition, isDraining }: ProviderState): RankedProvider {
    const isLost = condition === 'dead' || this.#isLongMute(id)
    const standing = isDraining ? 'draining' : condition
    return { id, zone, freeBytes, standing: isLost ? 'dead' : standing }
  }

  #isLongMute(id: ProviderId): boolean {
    const sinceMs = this.#muteSince.get(id) ?? Number.POSITIVE_INFINITY
    return this.#components.clock.monotonic() - sinceMs >= this.#settings.deadAfterMs
  }

  /** Finds out whether those that are not asked any more would answer again. */
  async #callMute(options: AbortOptions): Promise<void> {
    const { directory } = this.#components
    for (const id of this.#muteSince.keys()) {
      if (!this.#isLongMute(id)) continue
      try {
        const provider = directory.open(id)
        if (provider === undefined) continue
        await provider.holds([NO_CHUNK], options)
        this.#muteSince.delete(id)
        this.#components.log.info('%p answers again', id)
      } catch {
        options.signal?.throwIfAborted()
      }
    }
  }

  /** Learns from a look that has ended. */
  note(look: RepairLook, situation: LookSituation): void {
    const unanswered = [...look.mute].filter((id) => situation.expected.has(id))
    this.#noteMute(new Set(unanswered))
    this.#acquaint(look, situation)
  }

  #noteMute(unanswered: ReadonlySet<ProviderId>): void {
    const nowMs = this.#components.clock.monotonic()
    for (const id of this.#muteSince.keys()) {
      if (!unanswered.has(id) && !this.#isLongMute(id)) this.#muteSince.delete(id)
    }
    for (const id of unanswered) {
      if (this.#muteSince.has(id)) continue
      this.#muteSince.set(id, nowMs)
      this.#components.log.info('%p reports but does not say what it holds', id)
    }
  }

  /** Remembers whom it is enough to ask about what the records say of them. */
  #acquaint({ tally, mute, leftAt }: RepairLook, { providers, strangers }: LookSituation): void {
    for (const id of this.#acquainted.keys()) {
      const standing = providers.get(id)?.standing ?? 'dead'
      if (standing === 'dead' || leftAt.has(id)) this.#acquainted.delete(id)
    }
    if (tally.unread > 0) return
    for (const id of strangers) {
      if (mute.has(id) || leftAt.has(id)) continue
      this.#acquainted.set(id, this.#components.clock.monotonic())
    }
  }

  #isAcquainted(id: ProviderId): boolean {
    const sinceMs = this.#acquainted.get(id)
    if (sinceMs === undefined) return false
    return this.#components.clock.monotonic() - sinceMs < this.#settings.thoroughMs
  }
}

function isUsable({ standing }: RankedProvider): boolean {
  return standing === 'live' || standing === 'draining'
}
