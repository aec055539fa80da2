import { toError } from '../lib/to-error.ts'
import { composeAgent } from './compose.ts'
import type { AgentConfig } from './config.ts'
import { pinoLogger } from './log-sink.ts'

export interface StartOptions {
  /** Used only while the data directory holds no certificate. */
  readonly joinToken?: string | undefined
  /** SIGTERM ends the process after this many milliseconds even if something hangs. */
  readonly stopWithinMs: number
  /** Takes the line `ready {json}`. */
  readonly print: (line: string) => void
}

/**
 * Runs an agent in this process until SIGTERM or SIGINT: stops accepting, finishes or fails what runs,
 * exits 0. A second signal ends it at once.
 */
export async function startAgent(config: AgentConfig, options: StartOptions): Promise<void> {
  const logger = pinoLogger(config.agent.logLevel)
  const log = logger.forComponent('blobswarm:agent')
  const abort = new AbortController()
  const stopped = Promise.withResolvers<void>()
  const onSignal = (signal: NodeJS.Signals): void => {
    if (abort.signal.aborted) process.exit(1)
    log.info('%s: stopping', signal)
    abort.abort(new Error(`${signal} received`))
    setTimeout(() => {
      log.error('still not stopped after %d ms, exiting', options.stopWithinMs)
      process.exit(1)
    }, options.stopWithinMs).unref()
    stopped.resolve()
  }
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  process.on('unhandledRejection', (thrown) => {
    const error = toError(thrown)
    log.error('unhandled rejection: %e', error)
    process.stderr.write(`${error.stack ?? error.message}\n`)
    process.exit(1)
  })
  const agent = await composeAgent(config, {
    joinToken: options.joinToken,
    logger,
    stopOnFailure: onFailure
  })
  function onFailure(error: Error): void {
    log.error('stopping because of a failure: %e', error)
    process.exitCode = 1
    stopped.resolve()
  }
  try {
    await agent.start({ signal: abort.signal })
    options.print(`ready ${JSON.stringify(agent.ready())}`)
    await stopped.promise
  } finally {
    await agent.stop()
  }
  log.info('stopped')
  process.exit()
}
