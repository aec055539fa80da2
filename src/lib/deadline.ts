import type { Clock } from './clock.ts'
import { IdleTimer } from './idle-timer.ts'

export interface DeadlineOptions {
  readonly clock: Clock
  /** Time from the start, or from the last `extend`. */
  readonly timeoutMs: number
  /** Makes the error that the work is rejected with when the time is up. */
  readonly timedOut: () => Error
  readonly signal?: AbortSignal | undefined
}

/** What work under a deadline is given. */
export interface Deadline {
  /** Aborted when the time is up or the caller gave up. */
  readonly signal: AbortSignal
  /** Starts the time anew, because something has moved. */
  readonly extend: () => void
}

/**
 * Runs `work` under a deadline. Settles at the latest when the time is up or `options.signal` is
 * aborted, even if the work does not heed its signal. Leaves no timer and no listener behind.
 *
 * @throws {unknown} what `timedOut` made, or the reason of `options.signal`.
 */
export async function withDeadline<T>(
  work: (deadline: Deadline) => Promise<T>,
  options: DeadlineOptions
): Promise<T> {
  const { clock, timeoutMs, timedOut, signal } = options
  signal?.throwIfAborted()
  const controller = new AbortController()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const end = (reason: unknown): void => {
    controller.abort(reason)
    reject(reason)
  }
  const onAbort = (): void => end(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = new IdleTimer(clock, timeoutMs, () => end(timedOut()))
  try {
    const running = work({ signal: controller.signal, extend: () => timer.touch() })
    return await Promise.race([running, aborted])
  } finally {
    timer.stop()
    signal?.removeEventListener('abort', onAbort)
  }
}
