/**
 * One component's log. The first argument is a format for `util.format` plus `%p` peer id, `%a`
 * address and `%e` error. error: an operator must act; info: rare state changes; debug and trace: per
 * request.
 */
export interface Logger {
  error(format: string, ...values: unknown[]): void
  info(format: string, ...values: unknown[]): void
  debug(format: string, ...values: unknown[]): void
  trace(format: string, ...values: unknown[]): void
}

/** Gives each component its log, named like `blobswarm:peer:downloader`. */
export interface LoggerFactory {
  forComponent(name: string): Logger
}

const silent = (): void => {}

/** Drops everything. */
export const noLogger: LoggerFactory = {
  forComponent: () => ({ error: silent, info: silent, debug: silent, trace: silent })
}

export interface LogLine {
  readonly component: string
  readonly level: keyof Logger
  readonly format: string
  readonly values: readonly unknown[]
}

/** Keeps what was logged, for tests that assert on it. */
export class MemoryLogger implements LoggerFactory {
  readonly lines: LogLine[] = []

  forComponent(component: string): Logger {
    const record =
      (level: keyof Logger) =>
      (format: string, ...values: unknown[]): void => {
        this.lines.push({ component, level, format, values })
      }
    return {
      error: record('error'),
      info: record('info'),
      debug: record('debug'),
      trace: record('trace')
    }
  }
}
