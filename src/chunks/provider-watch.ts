import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { KnownProvider, SilenceLimits } from './known-provider.ts'
import type { ProviderFigures } from './provider-figures.ts'
import type { ProviderCondition } from './provider-manager-types.ts'
import type { ProviderId } from './types.ts'

export interface ProviderWatchComponents {
  /** Who is known; those silent for too long are taken out. */
  readonly providers: Map<ProviderId, KnownProvider>
  readonly clock: Clock
  readonly log: Logger
  readonly figures: ProviderFigures
}

/** What others are told of when it changes. */
interface Seen {
  readonly condition: ProviderCondition
  readonly isDraining: boolean
  readonly lostCount: number
}

/** Timers take no more. */
const LONGEST_WAIT_MS = 86_400_000

/**
 * Notices when a provider comes, goes, changes its condition, begins or ends draining, or has lost
 * chunks: told by `review` that something has happened to it, and by itself as time passes.
 */
export class ProviderWatch {
  readonly #components: ProviderWatchComponents
  readonly #limits: SilenceLimits
  readonly #seen = new Map<ProviderId, Seen>()
  readonly #listeners = new Set<() => void>()
  #changes = 0
  #next: { readonly at: number; readonly cancel: Cancel } | undefined
  #isStopped = false

  constructor(components: ProviderWatchComponents, limits: SilenceLimits) {
    this.#components = components
    this.#limits = limits
  }

  /** Grows with every change. */
  get changes(): number {
    return this.#changes
  }

  /** Calls the listener after each change. @returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Tells whether the provider was live when it was last looked at. */
  isLive(id: ProviderId): boolean {
    return this.#seen.get(id)?.condition === 'live'
  }

  /** Tells whether the provider was live and not draining when it was last looked at. */
  isInUse(id: ProviderId): boolean {
    return this.isLive(id) && this.#seen.get(id)?.isDraining === false
  }

  /** Looks at nobody's silence any more. */
  stop(): void {
    this.#isStopped = true
    this.#next?.cancel()
    this.#next = undefined
  }

  /** Looks at these providers: tells if something has changed, and plans when to look again. */
  review(ids: Iterable<ProviderId>): void {
    const { providers, clock } = this.#components
    const at = clock.monotonic()
    let changed = 0
    let next = Infinity
    for (const id of ids) {
      const known = providers.get(id)
      if (known === undefined) continue
      if (this.#hasChanged(known, at)) changed++
      next = Math.min(next, known.nextChangeAfter(at, this.#limits) ?? Infinity)
    }
    this.#reviewAfter(next)
    if (changed === 0) return
    this.#changes++
    for (const listener of this.#listeners) listener()
  }

  #hasChanged(known: KnownProvider, at: number): boolean {
    const { id, isDraining, lostCount } = known
    const before = this.#seen.get(id)
    if (known.silentMs(at) > this.#limits.forgetAfterMs) return this.#forget(id, before)
    const condition = known.conditionAt(at, this.#limits)
    const isSame = before?.condition === condition && before.isDraining === isDraining
    if (isSame && before.lostCount === lostCount) return false
    const after = { condition, isDraining, lostCount }
    this.#seen.set(id, after)
    this.#components.figures.noteChange(before, after)
    if (before !== undefined) this.#logChange(known, before, at)
    return true
  }

  #forget(id: ProviderId, before: Seen | undefined): true {
    const { providers, log, figures } = this.#components
    providers.delete(id)
    this.#seen.delete(id)
    figures.noteChange(before, undefined)
    log.info('provider %p is forgotten', id)
    return true
  }

  #logChange(known: KnownProvider, before: Seen, at: number): void {
    const { log } = this.#components
    const { id, isDraining, lostCount } = known
    const condition = known.conditionAt(at, this.#limits)
    if (before.condition !== condition) {
      const level = condition === 'dead' ? 'error' : 'info'
      const silentSeconds = Math.round(known.silentMs(at) / 1000)
      const said = 'provider %p is %s (was %s), last heard of %d s ago'
      log[level](said, id, condition, before.condition, silentSeconds)
    }
    if (before.isDraining !== isDraining) {
      log.info('provider %p %s', id, isDraining ? 'shall be drained' : 'is not drained any more')
    }
    if (lostCount > before.lostCount) {
      log.info('provider %p has lost %d chunks', id, lostCount - before.lostCount)
    }
  }

  /** Conditions change with time alone: looks at all right after the next moment when one can. */
  #reviewAfter(at: number): void {
    if (this.#isStopped || at === Infinity) return
    if (this.#next !== undefined && this.#next.at <= at) return
    this.#next?.cancel()
    const { clock, providers } = this.#components
    const waitMs = Math.min(Math.max(0, at - clock.monotonic()) + 1, LONGEST_WAIT_MS)
    const run = (): void => {
      this.#next = undefined
      this.review(providers.keys())
    }
    this.#next = { at, cancel: clock.schedule(run, waitMs) }
  }
}
