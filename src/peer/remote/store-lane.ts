import { Budget } from '../../lib/budget.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Deadline, withDeadline } from '../../lib/deadline.ts'
import { PeerTimeoutError } from '../errors.ts'
import { KeptChannel } from '../kept-channel.ts'
import { STORE_PROTOCOL } from '../protocols/store.ts'
import type { Channel, PeerNode } from '../types.ts'
import { StoreSession } from './store-session.ts'

export interface StoreLaneComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** The provider's peer id. */
  readonly peerId: string
}

export interface StoreLaneOptions {
  /** What may be in flight at once, in bytes or requests; more waits. */
  readonly capacity: number
  /** Time without any progress of a request, in milliseconds. */
  readonly timeoutMs: number
  /** Time to connect and to agree on the protocol, in milliseconds. */
  readonly openTimeoutMs: number
}

/** One request of a lane. */
export interface LaneRequest {
  /** What it is called in errors. */
  readonly what: string
  /** How much of the capacity it takes. @default 1 */
  readonly amount?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** A kept stream of store/1 for one sort of requests, and how many of them there may be. */
export class StoreLane {
  readonly #peerId: string
  readonly #clock: Clock
  readonly #kept: KeptChannel<StoreSession>
  readonly #inFlight: Budget
  readonly #timeoutMs: number
  #requestCount = 0

  constructor(components: StoreLaneComponents, options: StoreLaneOptions) {
    const { node, clock, peerId } = components
    const { capacity, timeoutMs, openTimeoutMs } = options
    if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs must be above 0, not ${timeoutMs}`)
    this.#peerId = peerId
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#inFlight = new Budget(capacity, `requests to ${peerId}`)
    const attach = (channel: Channel): StoreSession => new StoreSession(channel, clock)
    const parts = { node, clock, peerId, spec: STORE_PROTOCOL, attach }
    this.#kept = new KeptChannel(parts, { openTimeoutMs })
  }

  get capacity(): number {
    return this.#inFlight.total
  }

  /** Whether nothing waits, for its turn or for an answer. */
  get isIdle(): boolean {
    return this.#requestCount === 0
  }

  /** Runs a request when there is room for it; its time counts from then on. */
  async run<T>(
    { what, amount = 1, signal }: LaneRequest,
    ask: (session: StoreSession, deadline: Deadline) => Promise<T>
  ): Promise<T> {
    const timeoutMs = this.#timeoutMs
    this.#requestCount += 1
    try {
      await this.#inFlight.acquire(amount, { signal })
      try {
        return await withDeadline(
          async (deadline) => ask(await this.#kept.session(deadline), deadline),
          {
            clock: this.#clock,
            timeoutMs,
            signal,
            timedOut: () => new PeerTimeoutError(this.#peerId, what, timeoutMs)
          }
        )
      } finally {
        this.#inFlight.release(amount)
      }
    } finally {
      this.#requestCount -= 1
    }
  }

  /** Closes the stream; what is in flight rejects. */
  async close(): Promise<void> {
    await this.#kept.close()
  }
}
