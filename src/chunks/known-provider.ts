import type { Candidate } from './placement.ts'
import type {
  FailureReason,
  ProviderCondition,
  ProviderReport,
  ProviderState
} from './provider-manager-types.ts'
import type { ProviderId } from './types.ts'

/** When silence makes a provider suspect, dead and forgotten, in milliseconds. */
export interface SilenceLimits {
  readonly suspectAfterMs: number
  readonly deadAfterMs: number
  readonly forgetAfterMs: number
}

/** The moment of an event: time of day, and the monotonic time by which silence is measured. */
export interface Moment {
  readonly nowMs: number
  readonly at: number
}

/** How long a provider counts as full after its second refusal since it kept its word … */
const FIRST_FULL_MS = 10_000
/** … and at most; a time as long without a refusal is forgiveness. */
const LONGEST_FULL_MS = 600_000

/**
 * What the provider manager knows of one provider. Its condition follows from the last report, from
 * failures since, and from the time:
 *
 * ```text
 *          report                 silent or failed             silent for longer
 * unknown ───────► live ────────────────────────────► suspect ──────────────────► dead
 *                   ▲                report              │           report        │
 *                   └────────────────────────────────────┴────────────────────────┘
 * ```
 *
 * Whether it drains is its own word, unless an order says otherwise; the order stands until the
 * provider reports that it follows it.
 */
export class KnownProvider {
  #report: ProviderReport
  /** Monotonic time of the last report, so that a clock that is set kills no provider. */
  #seen: Moment
  #hasFailed = false
  #hasRefused = false
  #refusals = 0
  #fullUntil = Number.NEGATIVE_INFINITY
  #order: boolean | undefined
  #promisedBytes = 0
  #placedCount: number

  /** @param placedCount chunks that it counts as having been given. */
  constructor(report: ProviderReport, moment: Moment, placedCount: number) {
    this.#report = report
    this.#seen = moment
    this.#placedCount = placedCount
  }

  get id(): ProviderId {
    return this.#report.id
  }

  get zone(): string {
    return this.#report.zone
  }

  get freeBytes(): number {
    return this.#report.freeBytes
  }

  get lostCount(): number {
    return this.#report.lostCount
  }

  get placedCount(): number {
    return this.#placedCount
  }

  /** Whether it takes no new chunks because an operator wants it empty. */
  get isDraining(): boolean {
    return this.#order ?? this.#report.isDraining
  }

  /** suspect, dead → live. What was promised has arrived by now, or never will. */
  report(report: ProviderReport, moment: Moment): void {
    this.#report = report
    this.#seen = moment
    this.#promisedBytes = 0
    this.#hasFailed = false
    this.#hasRefused = false
    if (moment.at - this.#fullUntil > LONGEST_FULL_MS) this.#refusals = 0
    if (report.isDraining === this.#order) this.#order = undefined
  }

  /** Tells it, with the answer to its next report, to drain or not to. */
  order(isDraining: boolean): void {
    this.#order = isDraining === this.#report.isDraining ? undefined : isDraining
  }

  /**
   * live → suspect, or live and full. One that reports room and refuses for lack of it counts as
   * full for longer each time; refusals while it counts as full are those of one time.
   */
  fail(reason: FailureReason, at: number): void {
    if (reason === 'failed') {
      this.#hasFailed = true
      return
    }
    if (this.#countsAsFull(at)) return
    this.#hasRefused = true
    const fullMs = this.#refusals === 0 ? 0 : FIRST_FULL_MS * 2 ** (this.#refusals - 1)
    this.#fullUntil = at + Math.min(fullMs, LONGEST_FULL_MS)
    this.#refusals++
  }

  /** Counts chunks that were placed on it. */
  promise(chunkBytes: number): void {
    this.#promisedBytes += chunkBytes
    this.#placedCount++
  }

  /** Makes the count of chunks that it was given at least this, so that it is not flooded. */
  catchUp(placedCount: number): void {
    this.#placedCount = Math.max(this.#placedCount, placedCount)
  }

  /** Its condition at a monotonic time. */
  conditionAt(at: number, { suspectAfterMs, deadAfterMs }: SilenceLimits): ProviderCondition {
    const silentMs = this.silentMs(at)
    if (silentMs > deadAfterMs) return 'dead'
    return silentMs > suspectAfterMs || this.#hasFailed ? 'suspect' : 'live'
  }

  /** Time since its last report, in milliseconds. */
  silentMs(at: number): number {
    return at - this.#seen.at
  }

  /** The monotonic time from which on silence changes its condition; undefined for never. */
  nextChangeAfter(at: number, limits: SilenceLimits): number | undefined {
    const { suspectAfterMs, deadAfterMs, forgetAfterMs } = limits
    const silentMs = this.silentMs(at)
    const next = [suspectAfterMs, deadAfterMs, forgetAfterMs].find((limit) => silentMs <= limit)
    return next === undefined ? undefined : this.#seen.at + next
  }

  /** As it is listed. */
  stateAt(at: number, limits: SilenceLimits): ProviderState {
    const condition = this.conditionAt(at, limits)
    const { isDraining } = this
    return { ...this.#report, condition, isDraining, seenMs: this.#seen.nowMs }
  }

  /** As placement sees it. */
  candidateAt(at: number, limits: SilenceLimits): Candidate {
    const { id, zone, freeBytes, load } = this.#report
    return {
      id,
      zone,
      freeBytes: this.#countsAsFull(at) ? 0 : freeBytes,
      load,
      condition: this.conditionAt(at, limits),
      isDraining: this.isDraining,
      promisedBytes: this.#promisedBytes,
      placedCount: this.#placedCount
    }
  }

  #countsAsFull(at: number): boolean {
    return this.#hasRefused || at < this.#fullUntil
  }
}
