import type { RepairFigures, RepairOverview } from '../chunks/maintenance-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { Wakeup } from '../lib/wakeup.ts'
import { RepairAcquaintance } from './repair-acquaintance.ts'
import { RepairDeeds, showRepairFigures } from './repair-deeds.ts'
import { type LookSituation, RepairLook, type RepairLookComponents } from './repair-look.ts'
import {
  type RepairerComponents,
  type RepairerOptions,
  type RepairSettings,
  RepairTally
} from './repair-types.ts'

/** Looks that have not found out everything are at most so long apart, in milliseconds. */
const MOST_RETRY_MS = 60_000

/** Pages whose lost chunks the log has named; more are named again. */
const MAX_LAMENTED = 4096

const DEFAULTS: RepairSettings = {
  replicas: 1,
  everyMs: 600_000,
  settleMs: 1000,
  againMs: 60_000,
  thoroughMs: 86_400_000,
  retryMs: 5000,
  deadAfterMs: 300_000,
  maxCopies: 16,
  maxQueued: 65_536,
  askTimeoutMs: 15_000
}

/**
 * Keeps as many copies of every chunk as wanted: looks at all location records again and again, and
 * soon after a provider was lost, has come, drains or has found chunks broken. It is one for the
 * whole cluster, at the provider manager. All that it knows can be found out again.
 */
export class Repairer implements RepairOverview {
  readonly #components: RepairerComponents
  readonly #settings: RepairSettings
  readonly #log: Logger
  readonly #deeds: RepairDeeds
  readonly #lamented = new Set<string>()
  readonly #wakeup = new Wakeup()
  readonly #stopping = new AbortController()
  readonly #waiting = new Set<PromiseWithResolvers<RepairFigures>>()
  readonly #acquaintance: RepairAcquaintance
  #startedMs = 0
  #dueMs = Number.POSITIVE_INFINITY
  #retryMs: number
  #changes = 0
  #changedMs = Number.NEGATIVE_INFINITY
  /** Changes that the look at hand, and the last complete one, began after. */
  #lookChanges = 0
  #knownChanges = -1
  #look: RepairLook | undefined
  #tally: RepairTally | undefined
  #lookedMs = 0
  #stopListening: () => void = () => {}
  #task: Promise<void> | undefined

  constructor(components: RepairerComponents, options: RepairerOptions = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined)
    const settings: RepairSettings = { ...DEFAULTS, ...Object.fromEntries(given) }
    for (const [name, value] of Object.entries(settings)) {
      if (!(value > 0)) throw new RangeError(`${name} must be above 0, not ${value}`)
    }
    this.#components = components
    this.#settings = settings
    this.#retryMs = settings.retryMs
    this.#log = components.logger.forComponent('blobswarm:metadata:repair')
    this.#acquaintance = new RepairAcquaintance({ ...components, log: this.#log }, settings)
    this.#deeds = new RepairDeeds(components.metrics)
    showRepairFigures(components.metrics, () => this.#tally && this.#figuresOf(this.#tally))
  }

  /** Called once. */
  start(): void {
    if (this.#task !== undefined) throw new Error('repair was started before')
    const { providers, clock } = this.#components
    this.#startedMs = clock.monotonic()
    this.#dueMs = this.#startedMs + this.#settings.settleMs
    this.#stopListening = providers.onChange(() => this.#changed())
    this.#task = this.#run()
  }

  /** Ends the look that runs; copies that are on their way may still be made. */
  async stop(): Promise<void> {
    this.#stopListening()
    this.#stopping.abort(new NotRunningError('repair'))
    this.#wakeup.wake()
    await this.#task
  }

  async figures(options: AbortOptions = {}): Promise<RepairFigures | undefined> {
    options.signal?.throwIfAborted()
    return this.#tally === undefined ? undefined : this.#figuresOf(this.#tally)
  }

  /** Looks as soon as nothing else is looked at. @returns the figures when it has ended. */
  async lookNow(options: AbortOptions = {}): Promise<RepairFigures> {
    this.#stopping.signal.throwIfAborted()
    const waiting = Promise.withResolvers<RepairFigures>()
    this.#waiting.add(waiting)
    this.#dueMs = this.#components.clock.monotonic()
    this.#wakeup.wake()
    return await abortable(waiting.promise, options.signal)
  }

  /** A look that only waits for copies gives way to one that knows what has changed. */
  #changed(): void {
    this.#changes++
    this.#changedMs = this.#components.clock.monotonic()
    this.#retryMs = this.#settings.retryMs
    this.#dueMs = Math.min(this.#dueMs, this.#changedMs + this.#settings.settleMs)
    this.#wakeup.wake()
  }

  async #run(): Promise<void> {
    const { clock } = this.#components
    const { signal } = this.#stopping
    let looking: Promise<void> | undefined
    while (!signal.aborted) {
      const waitMs = this.#dueMs - clock.monotonic()
      if (waitMs <= 0 && looking === undefined) {
        looking = this.#lookOnce().finally(() => {
          looking = undefined
          this.#wakeup.wake()
        })
        continue
      }
      if (waitMs <= 0 && this.#look?.hasScanned === true) this.#look.cut()
      const isTimed = Number.isFinite(waitMs) && waitMs > 0
      const cancel = isTimed ? clock.schedule(() => this.#wakeup.wake(), waitMs) : () => {}
      await this.#wakeup.wait()
      cancel()
    }
    await looking
    for (const { reject } of this.#waiting) reject(toError(signal.reason))
    this.#waiting.clear()
  }

  async #lookOnce(): Promise<void> {
    const { clock } = this.#components
    const { signal } = this.#stopping
    const startedMs = clock.monotonic()
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    this.#dueMs = Number.POSITIVE_INFINITY // what changes from now on makes it due earlier
    this.#lookChanges = this.#changes
    try {
      const situation = await this.#acquaintance.situation({ signal })
      const { expected, strangers, providers } = situation
      const counts = [providers.size, expected.size, strangers.size]
      this.#log.debug('looking: %d providers, %d usable, %d asked about everything', ...counts)
      const look = new RepairLook(this.#lookComponents(), this.#settings, situation)
      this.#look = look
      await look.run({ signal })
      this.#ended(look, situation)
      for (const { resolve } of waiting) resolve(this.#figuresOf(look.tally))
    } catch (thrown) {
      const error = toError(thrown)
      for (const { reject } of waiting) reject(error)
      if (signal.aborted) return
      this.#deeds.looked('failed')
      this.#log.info('chunks could not be looked at: %e', error)
      this.#retry()
    } finally {
      this.#look = undefined
      if (this.#lamented.size > MAX_LAMENTED) this.#lamented.clear()
    }
    const { everyMs, againMs, deadAfterMs } = this.#settings
    // When what was being written has its records, and when whoever has not reported is lost.
    for (const atMs of [this.#changedMs + againMs, this.#startedMs + deadAfterMs]) {
      if (startedMs < atMs) this.#dueMs = Math.min(this.#dueMs, atMs)
    }
    this.#dueMs = Math.min(this.#dueMs, clock.monotonic() + everyMs)
  }

  #lookComponents(): RepairLookComponents {
    return {
      ...this.#components,
      deeds: this.#deeds,
      log: this.#log,
      lamented: this.#lamented,
      onScanned: () => this.#wakeup.wake(),
      rank: async (options) => await this.#acquaintance.rank(options)
    }
  }

  #ended(look: RepairLook, situation: LookSituation): void {
    const { clock } = this.#components
    const { tally } = look
    const isComplete = tally.unread === 0
    tally.unanswered = [...look.mute].filter((id) => situation.expected.has(id)).length
    this.#tally = tally
    this.#lookedMs = clock.now()
    this.#acquaintance.note(look, situation)
    if (isComplete) this.#knownChanges = this.#lookChanges
    this.#deeds.looked(isComplete ? 'complete' : 'incomplete')
    this.#logLook(tally)
    if (!isComplete || tally.failed > 0 || tally.unanswered > 0) {
      this.#retry()
      return
    }
    this.#retryMs = this.#settings.retryMs
    // What was left over for lack of room, or is surplus only since others have got it.
    const isToGoOn = tally.dropped > 0 || hasDrained(tally, situation)
    const { settleMs, againMs } = this.#settings
    if (isToGoOn) this.#dueMs = Math.min(this.#dueMs, clock.monotonic() + settleMs)
    // Surplus copies stay as long as their leases, which nobody says the end of.
    if (tally.surplus > 0) this.#dueMs = Math.min(this.#dueMs, clock.monotonic() + againMs)
  }

  #logLook(tally: RepairTally): void {
    const { chunks, underReplicated, unreachable, surplus, unread, failed } = tally
    const format =
      'looked at %d chunks: %d under-replicated, %d unreachable, %d surplus, ' +
      '%d pages not read, %d copies failed'
    const values = [chunks, underReplicated, unreachable, surplus, unread, failed]
    if (underReplicated + unreachable + unread + failed > 0) this.#log.info(format, ...values)
    else this.#log.debug(format, ...values)
  }

  #retry(): void {
    const mostMs = Math.min(MOST_RETRY_MS, this.#settings.everyMs)
    this.#dueMs = Math.min(this.#dueMs, this.#components.clock.monotonic() + this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, mostMs)
  }

  #figuresOf(last: RepairTally): RepairFigures {
    const look = this.#look
    const now = look === undefined || look.hasScanned ? (look?.tally ?? last) : undefined
    const { chunks, underReplicated, unreachable, surplus } = now ?? mostOf(last, look?.tally)
    const pending = look?.pending ?? 0
    const isWhole = last.unread + last.failed + last.dropped + last.unanswered === 0
    return {
      replicas: this.#settings.replicas,
      chunks,
      underReplicated,
      unreachable,
      surplus,
      isCurrent: isWhole && pending === 0 && this.#knownChanges === this.#changes,
      lookedMs: this.#lookedMs,
      pending,
      ...this.#deeds.figures
    }
  }
}

/** Tells whether copies were made in a look that draining providers can be relieved of. */
function hasDrained({ mended }: RepairTally, { providers }: LookSituation): boolean {
  return mended > 0 && [...providers.values()].some(({ standing }) => standing === 'draining')
}

/** While a look runs, what it has found already counts where it is more than what was known. */
function mostOf(last: RepairTally, running = new RepairTally()): RepairTally {
  return Object.assign(new RepairTally(), last, {
    chunks: Math.max(last.chunks, running.chunks),
    underReplicated: Math.max(last.underReplicated, running.underReplicated),
    unreachable: Math.max(last.unreachable, running.unreachable),
    surplus: Math.max(last.surplus, running.surplus)
  })
}
