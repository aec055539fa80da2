import { setImmediate } from 'node:timers/promises'

/**
 * Resolves in the next turn of the event loop, so that long work lets sockets and timers in
 * between.
 */
export async function nextTurn(): Promise<void> {
  await setImmediate()
}
