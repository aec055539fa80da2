import type { ComponentLogger, Logger as Libp2pLogger } from '@libp2p/interface'
import type { Logger, LoggerFactory } from '../lib/logger.ts'

/**
 * Makes libp2p log where everything else does, all of it at trace level: what an operator has to know is told
 * by the parts that use it. Its own way makes some ten logs for every connection and stream that comes.
 */
export function libp2pLogger(logger: LoggerFactory): ComponentLogger {
  return { forComponent: (name) => tracing(logger.forComponent(name)) }
}

function tracing(log: Logger): Libp2pLogger {
  const trace = (text: unknown, ...values: unknown[]): void => log.trace(String(text), ...values)
  const made: Libp2pLogger = Object.assign(trace, {
    enabled: false,
    error: trace,
    trace,
    newScope: () => made
  })
  return made
}
