import type { Clock } from '../../lib/clock.ts'
import { settledOrAborted } from '../../lib/signals.ts'

// A demanded chunk goes out in less on any link worth the name; one for a neighbour that does not read
// must not hold up the others.
const MAX_YIELD_MS = 250

/**
 * Lets demanded chunks have an agent's way up to themselves: while a neighbour has not been sent one that it
 * asked for, the others wait between two parts, but not for long, whoever asked. What is sent to that
 * neighbour itself waits for nobody: its demand comes behind that. A slot is whatever sends to one neighbour.
 */
export class Precedence<Slot extends object = object> {
  readonly #clock: Pick<Clock, 'schedule'>
  readonly #demanded = new Set<Slot>()
  #over: PromiseWithResolvers<void> | undefined

  constructor(clock: Pick<Clock, 'schedule'>) {
    this.#clock = clock
  }

  /** Tells whether a slot would wait now. */
  mustYield(slot: Slot): boolean {
    return this.#demanded.size > 0 && !this.#demanded.has(slot)
  }

  /** Takes note whether a slot has a demanded chunk to send, or is sending one. */
  note(slot: Slot, hasDemand: boolean): void {
    if (hasDemand) this.#demanded.add(slot)
    else if (this.#demanded.delete(slot) && this.#demanded.size === 0) {
      this.#over?.resolve()
      this.#over = undefined
    }
  }

  /** Waits while demanded chunks of other slots pass. @throws {unknown} `signal.reason` if aborted. */
  async yield(slot: Slot, options: { signal: AbortSignal }): Promise<void> {
    if (!this.mustYield(slot)) return
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
