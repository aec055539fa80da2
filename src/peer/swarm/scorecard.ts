import { MIB } from '../../lib/bytes.ts'
import { RateMeter } from '../../lib/rate-meter.ts'

/** What to do with a neighbour from now on. */
export type Verdict =
  | { readonly action: 'keep' }
  | { readonly action: 'drop'; readonly reason: 'lied' | 'failing'; readonly banMs: number }

export interface ScorecardOptions {
  /** Bytes that may be asked for and unanswered, whatever its rate. @default 0 */
  readonly creditBytes?: number
  /** Bytes that a fast neighbour may be asked for ahead. @default 4 MiB */
  readonly maxCreditBytes?: number
  /** Failures in a row after which a neighbour is dropped. @default 3 */
  readonly maxFailures?: number
  /** How long a peer that sent wrong bytes is banned. @default 10 minutes */
  readonly lieBanMs?: number
  /** How long a peer that kept failing is banned. @default 30 seconds */
  readonly failureBanMs?: number
}

// Asked for ahead, so that a neighbour has something to send while the next request is on its way.
const CREDIT_TIME_MS = 100

const DEFAULTS: Required<ScorecardOptions> = {
  creditBytes: 0,
  maxCreditBytes: 4 * MIB,
  maxFailures: 3,
  lieBanMs: 600_000,
  failureBanMs: 30_000
}

const KEEP: Verdict = { action: 'keep' }

/** What one neighbour did for this agent: bytes, rate, failures, lies, and what follows from them. */
export class Scorecard {
  readonly #options: Required<ScorecardOptions>
  readonly #rate = new RateMeter()
  #bytes = 0
  #chunks = 0
  #failuresInRow = 0
  #failures = 0

  constructor(options?: ScorecardOptions) {
    this.#options = options === undefined ? DEFAULTS : { ...DEFAULTS, ...options }
  }

  /** Bytes of right chunks received. */
  get bytes(): number {
    return this.#bytes
  }

  /** Right chunks received. */
  get chunks(): number {
    return this.#chunks
  }

  /** Times that it failed to answer. */
  get failures(): number {
    return this.#failures
  }

  /** Bytes a second, of late. */
  ratePerSecond(nowMs: number): number {
    return this.#rate.perSecond(nowMs)
  }

  /** It has just failed, and gets one chunk at a time until one comes. */
  get isOnProbation(): boolean {
    return this.#failuresInRow > 0
  }

  /** Bytes that may be outstanding however slow it is. */
  get creditBytes(): number {
    return this.#options.creditBytes
  }

  /** Bytes that it sends while a request is on its way to it: with no more than these to come, it is asked for more. */
  aheadBytes(nowMs: number): number {
    const wanted = (this.ratePerSecond(nowMs) * CREDIT_TIME_MS) / 1000
    return Math.min(wanted, this.#options.maxCreditBytes)
  }

  /** Notes a right chunk. */
  received(bytes: number, nowMs: number): void {
    this.#bytes += bytes
    this.#chunks++
    this.#failuresInRow = 0
    this.#rate.add(bytes, nowMs)
  }

  /** Notes that it did not answer, or said that it could not. */
  failed(): Verdict {
    this.#failures++
    this.#failuresInRow++
    const { maxFailures, failureBanMs } = this.#options
    if (this.#failuresInRow < maxFailures) return KEEP
    return { action: 'drop', reason: 'failing', banMs: failureBanMs }
  }

  /** Notes wrong bytes. There is no innocent reason: everybody verifies before serving. */
  lied(): Verdict {
    return { action: 'drop', reason: 'lied', banMs: this.#options.lieBanMs }
  }
}
