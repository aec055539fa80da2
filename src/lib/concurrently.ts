import type { AbortOptions } from './abort-options.ts'

/**
 * Calls `task` for every item, at most `limit` calls at a time (a whole number, at least 1),
 * in order of the items. The first failure aborts the signal that the tasks are given, and
 * is thrown once all of them have ended.
 *
 * @throws {unknown} what a task threw, or `signal.reason`.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  task: (item: T, signal: AbortSignal) => Promise<void>,
  options: AbortOptions = {}
): Promise<void> {
  const failed = new AbortController()
  const { signal: outer } = options
  const signal = outer === undefined ? failed.signal : AbortSignal.any([outer, failed.signal])
  const iterator =
    Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  const work = async (): Promise<void> => {
    try {
      for (;;) {
        signal.throwIfAborted()
        const next = await iterator.next()
        if (next.done === true) return
        await task(next.value, signal)
      }
    } catch (error) {
      failed.abort(error)
    }
  }
  await Promise.all(Array.from({ length: limit }, work))
  signal.throwIfAborted()
}
