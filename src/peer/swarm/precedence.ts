import type { Clock } from '../../lib/clock.ts'
import { settledOrAborted } from '../../lib/signals.ts'
import type { RequestClass } from '../protocols/swarm.ts'

// A demanded chunk goes out in less on any link worth the name; one for a neighbour that does not read
// must not hold up the others.
const MAX_YIELD_MS = 250

/**
 * Lets demanded chunks have an agent's way up to themselves: while one is being sent, the others wait
 * between two parts, but not for long, whoever asked.
 */
export class Precedence {
  readonly #clock: Pick<Clock, 'schedule'>
  #demandCount = 0
  #over: PromiseWithResolvers<void> | undefined

  constructor(clock: Pick<Clock, 'schedule'>) {
    this.#clock = clock
  }

  /** Tells whether a chunk of this class would wait now. */
  mustYield(requestClass: RequestClass): boolean {
    return requestClass !== 'demand' && this.#demandCount > 0
  }

  /** A chunk is being sent from now on. @returns what to call when that is over. */
  begin(requestClass: RequestClass): () => void {
    if (requestClass !== 'demand') return () => {}
    this.#demandCount++
    return () => {
      if (--this.#demandCount > 0) return
      this.#over?.resolve()
      this.#over = undefined
    }
  }

  /** Waits while a demanded chunk passes. @throws {unknown} `signal.reason` if aborted. */
  async yield(requestClass: RequestClass, options: { signal: AbortSignal }): Promise<void> {
    if (!this.mustYield(requestClass)) return
    this.#over ??= Promise.withResolvers<void>()
    const { promise: enough, resolve } = Promise.withResolvers<void>()
    const cancel = this.#clock.schedule(resolve, MAX_YIELD_MS)
    const { signal } = options
    try {
      await settledOrAborted(Promise.race([this.#over.promise, enough]), [signal])
    } finally {
      cancel()
    }
    signal.throwIfAborted()
  }
}
