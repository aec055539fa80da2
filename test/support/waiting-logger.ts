import { format } from 'node:util'
import type { Logger, LoggerFactory } from '../../src/lib/logger.ts'

/** Lets a test wait for a line of the log. */
export class WaitingLogger implements LoggerFactory {
  readonly lines: string[] = []
  readonly #waiters = new Set<{ readonly pattern: RegExp; readonly resolve: () => void }>()

  forComponent(component: string): Logger {
    const write = (text: string, ...values: unknown[]): void => {
      this.#write(`${component} ${format(text.replaceAll(/%[pae]/g, '%s'), ...values)}`)
    }
    return { error: write, info: write, debug: write, trace: write }
  }

  /** Resolves at the next line that matches. */
  async next(pattern: RegExp): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.add({ pattern, resolve })
    })
  }

  #write(line: string): void {
    this.lines.push(line)
    for (const waiter of this.#waiters) {
      if (!waiter.pattern.test(line)) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }
}
