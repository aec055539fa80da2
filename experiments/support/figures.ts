/** Rounds to so many digits behind the point. */
export function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits))
}

/**
 * Gives the run in the middle by some figure; of an even number the lower one.
 *
 * @throws {RangeError} if there is none.
 */
export function median<T>(runs: readonly T[], by: (run: T) => number): T {
  const sorted = runs.toSorted((left, right) => by(left) - by(right))
  const middle = sorted[Math.floor((sorted.length - 1) / 2)]
  if (middle === undefined) throw new RangeError('there is no run')
  return middle
}
