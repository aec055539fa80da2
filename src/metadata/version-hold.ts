import type { AbortOptions } from '../lib/abort-options.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { errorCode } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import type { HoldRequest, VersionManager } from './version-manager-types.ts'

export interface VersionHoldComponents {
  readonly versions: Pick<VersionManager, 'hold' | 'release'>
  readonly clock: Clock
  readonly logger: Logger
}

export interface VersionHoldOptions {
  /** How long the hold stays if its holder dies, at most 7 days. @default 600000 */
  readonly forMs?: number | undefined
  /** Time between two renewals. @default 180000 */
  readonly renewMs?: number | undefined
  /** How long to wait for an answer of the version manager. @default 5000 */
  readonly answerMs?: number | undefined
}

/** What is held, by whom and what for. Holds of one purpose do not get in each other's way. */
export type HeldVersion = Omit<HoldRequest, 'forMs'>

/** Characters of a purpose; longer ones are cut. */
const MAX_PURPOSE_LENGTH = 200

const FINAL_CODES: ReadonlySet<string | undefined> = new Set([
  'ERR_UNKNOWN_VERSION',
  'ERR_UNKNOWN_BLOB'
])

/**
 * Keeps a version from collection while something works with it, and is renewed until it is
 * released. That the version manager cannot be asked is only logged, once, because who reads has
 * all that it needs without it; the next renewal tries again.
 */
export class VersionHold {
  /** Holds taken by this process: holder and purpose name a hold, so each purpose gets a number. */
  static #taken = 0
  readonly #components: VersionHoldComponents
  readonly #held: HeldVersion
  readonly #forMs: number
  readonly #renewMs: number
  readonly #answerMs: number
  readonly #released = new AbortController()
  #cancel: Cancel = () => {}
  #hasFailed = false
  #renewing: Promise<void> = Promise.resolve()

  private constructor(
    components: VersionHoldComponents,
    held: HeldVersion,
    options: VersionHoldOptions
  ) {
    const { forMs = 600_000, renewMs = 180_000, answerMs = 5000 } = options
    if (!(forMs > 0) || !(renewMs > 0) || !(answerMs > 0)) {
      throw new RangeError(`a hold of ${forMs} ms, renewed every ${renewMs}, asked for ${answerMs}`)
    }
    this.#components = components
    const purpose = `${held.purpose.slice(0, MAX_PURPOSE_LENGTH)} (${++VersionHold.#taken})`
    this.#held = { ...held, purpose: purpose.toWellFormed() }
    this.#forMs = forMs
    this.#renewMs = renewMs
    this.#answerMs = answerMs
  }

  /**
   * Takes a hold and begins to renew it.
   *
   * @throws {UnknownVersionError | UnknownBlobError} if there is nothing to hold any more.
   */
  static async take(
    components: VersionHoldComponents,
    held: HeldVersion,
    options: VersionHoldOptions & AbortOptions = {}
  ): Promise<VersionHold> {
    const hold = new VersionHold(components, held, options)
    try {
      await hold.#ask(options.signal)
    } catch (error) {
      options.signal?.throwIfAborted()
      if (FINAL_CODES.has(errorCode(error))) throw error
      hold.#logFailure(error)
    }
    hold.#scheduleNext()
    return hold
  }

  /**
   * Ends the hold, or leaves it to run out if the version manager cannot be asked in time or before `signal` is
   * aborted. Never rejects.
   */
  async release({ signal }: AbortOptions = {}): Promise<void> {
    if (this.#released.signal.aborted) return
    this.#released.abort()
    this.#cancel()
    await this.#renewing
    const { versions, logger } = this.#components
    try {
      await this.#answered((options) => versions.release(this.#held, options), signal)
    } catch (error) {
      logger.info('hold of "%s" is left to run out: %e', this.#held.purpose, error)
    }
  }

  #scheduleNext(): void {
    this.#cancel = this.#components.clock.schedule(() => {
      this.#renewing = this.#renew()
    }, this.#renewMs)
  }

  async #renew(): Promise<void> {
    const { signal } = this.#released
    try {
      await this.#ask(signal)
    } catch (error) {
      if (signal.aborted) return
      this.#logFailure(error)
    }
    if (!signal.aborted) this.#scheduleNext()
  }

  async #ask(signal: AbortSignal | undefined): Promise<void> {
    const request = { ...this.#held, forMs: this.#forMs }
    await this.#answered((options) => this.#components.versions.hold(request, options), signal)
  }

  async #answered<T>(
    call: (options: AbortOptions) => Promise<T>,
    signal: AbortSignal | undefined
  ): Promise<T> {
    const timeoutMs = this.#answerMs
    const timedOut = (): Error => new Error(`no answer for ${timeoutMs} ms`) // only to be logged
    return await withDeadline(call, { clock: this.#components.clock, timeoutMs, timedOut, signal })
  }

  #logFailure(error: unknown): void {
    const { blob, version, purpose } = this.#held
    if (this.#hasFailed) return
    this.#hasFailed = true
    const { logger } = this.#components
    logger.info('version %d of %s is not held for "%s": %e', version, blob, purpose, error)
  }
}
