import { setTimeout as delay } from 'node:timers/promises'

/** Cancels what was scheduled; harmless when it has already run. */
export type Cancel = () => void

/** Time as a component, so that tests and simulations can own it. */
export interface Clock {
  /** Milliseconds since the epoch; may jump when the machine's clock is set. */
  now(): number
  /** Milliseconds from an arbitrary start that never go back; for durations and deadlines. */
  monotonic(): number
  /** Calls `run` once after `delayMs`. Does not keep the process alive. */
  schedule(run: () => void, delayMs: number): Cancel
  /** Resolves after `delayMs`. @throws {unknown} `signal.reason` if aborted first. */
  sleep(delayMs: number, options?: { signal?: AbortSignal }): Promise<void>
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule: (run, delayMs) => {
    const timer = setTimeout(run, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
  sleep: async (delayMs, options = {}) => {
    try {
      await delay(delayMs, undefined, options)
    } catch (error) {
      options.signal?.throwIfAborted()
      throw error
    }
  }
}
