/** Signals that may be left out, as options have them. */
export type MaybeSignals = readonly (AbortSignal | undefined)[]

/**
 * Resolves or rejects with `promise`, or resolves with undefined as soon as one of `signals` is
 * aborted; the caller asks the signals which it was. Leaves no listener behind.
 */
export async function settledOrAborted<T>(
  promise: Promise<T>,
  signals: MaybeSignals
): Promise<T | undefined> {
  const present = signals.filter((signal) => signal !== undefined)
  if (present.some((signal) => signal.aborted)) {
    promise.catch(() => {}) // nobody waits for it any more
    return undefined
  }
  const { promise: aborted, resolve } = Promise.withResolvers<undefined>()
  const onAbort = (): void => resolve(undefined)
  for (const signal of present) signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    for (const signal of present) signal.removeEventListener('abort', onAbort)
  }
}

/** One signal out of those that are there; undefined when there is none. */
export function anySignal(signals: MaybeSignals): AbortSignal | undefined {
  const present = signals.filter((signal) => signal !== undefined)
  return present.length > 1 ? AbortSignal.any(present) : present[0]
}
