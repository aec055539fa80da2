import type { Logger } from '../../lib/logger.ts'
import { toError } from '../../lib/to-error.ts'

/** Work in the background that somebody waits for at the end. */
export class Tasks {
  readonly #log: Logger
  readonly #running = new Set<Promise<void>>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** Keeps a task until it is done; what it fails with is logged. */
  track(task: Promise<void>): void {
    const tracked = task
      .catch((error: unknown) => this.#log.debug('task failed: %e', toError(error)))
      .finally(() => this.#running.delete(tracked))
    this.#running.add(tracked)
  }

  /** Resolves when none runs any more. */
  async ended(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }
}
