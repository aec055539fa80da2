import type { Clock } from '../lib/clock.ts'
import { toError } from '../lib/to-error.ts'
import { networkOf } from './address.ts'
import { CommandRefusedError } from './errors.ts'

/** How much guessing is slowed down. */
export interface LoginThrottleOptions {
  /**
   * Wait after the first failure, in milliseconds; it doubles with every further one.
   *
   * @default 500
   */
  readonly baseDelayMs?: number
  /** Longest wait, in milliseconds. @default 8000 */
  readonly maxDelayMs?: number
  /** Failures are forgotten when this long ago, in milliseconds. @default 600000 */
  readonly forgetAfterMs?: number
  /** Addresses, and names known from them, that are remembered. @default 4096 */
  readonly maxRemembered?: number
  /** Passwords of one address that are checked at the same time before one was wrong. @default 4 */
  readonly maxAtOnce?: number
  /** Attempts of one address that may wait for their turn. @default 64 */
  readonly maxWaiting?: number
}

/** Attempts that wait for each other. */
interface Lane {
  failures: number
  lastFailureMs: number
  /** No password is checked before. */
  blockedUntilMs: number
  running: number
  readonly waiting: Set<() => void>
}

/**
 * Slows down who guesses passwords, by address (IPv6: by its /64), over all sessions, whether they
 * are open at the same time or one after the other.
 *
 * After a failure the attempts of that address are checked one by one, each the later the more
 * have failed; to hang up and come back changes nothing. Who has logged in from an address before
 * does not wait for what others there have got wrong.
 */
export class LoginThrottle {
  readonly #clock: Clock
  readonly #options: Required<LoginThrottleOptions>
  /** In order of their last failure. */
  readonly #lanes = new Map<string, Lane>()
  /** Address and name of those who have logged in. */
  readonly #known = new Set<string>()

  constructor(clock: Clock, options: LoginThrottleOptions = {}) {
    const { baseDelayMs = 500, maxDelayMs = 8000, forgetAfterMs = 600_000 } = options
    const { maxRemembered = 4096, maxAtOnce = 4, maxWaiting = 64 } = options
    this.#clock = clock
    const delays = { baseDelayMs, maxDelayMs, forgetAfterMs }
    this.#options = { ...delays, maxRemembered, maxAtOnce, maxWaiting }
  }

  /**
   * Checks a password when its turn comes, and answers late when it was wrong.
   *
   * @param check gives undefined for a wrong password.
   * @throws {CommandRefusedError} if too many wait already; `signal.reason` if aborted.
   */
  async attempt<T>(
    who: { readonly address: string; readonly name: string },
    check: () => Promise<T | undefined>,
    signal: AbortSignal
  ): Promise<T | undefined> {
    const network = networkOf(who.address)
    const person = `${network} ${who.name}`
    const key = this.#known.has(person) ? person : network
    const lane = this.#lane(key)
    await this.#turn(lane, signal)
    try {
      await this.#untilAllowed(lane, signal)
      const found = await check()
      if (found !== undefined) {
        this.#remember(person)
        if (key === person) lane.failures = 0
        return found
      }
      await this.#clock.sleep(this.#noteFailure(key, lane), { signal })
      return undefined
    } finally {
      this.#release(key, lane)
    }
  }

  /** Addresses, and names of them, with failures that are not forgotten or attempts under way. */
  get laneCount(): number {
    return this.#lanes.size
  }

  #lane(key: string): Lane {
    const known = this.#lanes.get(key)
    if (known === undefined) {
      const lane = { failures: 0, lastFailureMs: 0, blockedUntilMs: 0, running: 0 }
      const opened: Lane = { ...lane, waiting: new Set() }
      this.#lanes.set(key, opened)
      return opened
    }
    const isOld = this.#clock.monotonic() - known.lastFailureMs > this.#options.forgetAfterMs
    if (isOld) known.failures = 0
    return known
  }

  async #turn(lane: Lane, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (lane.running < this.#limit(lane)) lane.running += 1
    else if (lane.waiting.size < this.#options.maxWaiting) await handedOver(lane, signal)
    else throw new CommandRefusedError(421, 'Too many logins at once from your address.')
  }

  async #untilAllowed(lane: Lane, signal: AbortSignal): Promise<void> {
    const waitMs = lane.blockedUntilMs - this.#clock.monotonic()
    if (waitMs > 0) await this.#clock.sleep(waitMs, { signal })
  }

  #limit({ failures }: Lane): number {
    return failures === 0 ? this.#options.maxAtOnce : 1
  }

  #noteFailure(key: string, lane: Lane): number {
    const { baseDelayMs, maxDelayMs } = this.#options
    const nowMs = this.#clock.monotonic()
    lane.failures += 1
    lane.lastFailureMs = nowMs
    this.#lanes.delete(key) // the map stays in order of the last failure
    this.#lanes.set(key, lane)
    const delayMs = Math.min(maxDelayMs, baseDelayMs * 2 ** Math.min(lane.failures - 1, 30))
    lane.blockedUntilMs = Math.max(lane.blockedUntilMs, nowMs + delayMs)
    return delayMs
  }

  #release(key: string, lane: Lane): void {
    const [next] = lane.waiting
    if (next !== undefined && lane.running <= this.#limit(lane)) next()
    else lane.running -= 1
    if (lane.failures === 0 && lane.running === 0) this.#lanes.delete(key)
    if (this.#lanes.size <= this.#options.maxRemembered) return
    for (const [oldest, other] of this.#lanes) {
      if (other.running > 0) continue
      this.#lanes.delete(oldest)
      return
    }
  }

  #remember(person: string): void {
    this.#known.delete(person) // the set stays in order of the last login
    this.#known.add(person)
    if (this.#known.size <= this.#options.maxRemembered) return
    const [oldest] = this.#known
    if (oldest !== undefined) this.#known.delete(oldest)
  }
}

/** Resolves when an attempt before it has ended and its place is ours. */
async function handedOver(lane: Lane, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const take = (): void => {
    lane.waiting.delete(take)
    resolve()
  }
  const onAbort = (): void => {
    lane.waiting.delete(take)
    reject(toError(signal.reason))
  }
  lane.waiting.add(take)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await promise
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
