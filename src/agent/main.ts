import { abortable } from '../lib/abortable.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Agent } from './agent.ts'
import { composeAgent } from './compose.ts'
import type { AgentConfig } from './config.ts'
import { EXIT_DONE, EXIT_FAILED } from './exit-codes.ts'
import { pinoLogger } from './log-sink.ts'

/** How a process runs its agent. */
export interface StartOptions {
  /** Used only while the data directory holds no certificate. */
  readonly joinToken?: string | undefined
  /** The process ends this many milliseconds after it began to stop, even if something hangs. */
  readonly stopWithinMs: number
  /** Takes the line `ready {json}`. */
  readonly print: (line: string) => void
}

/** Why the agent is to stop when nothing is wrong. */
class SignalReceived extends Error {}

/**
 * Runs an agent in this process until SIGTERM or SIGINT, then stops accepting, finishes or fails what runs, and exits
 * with 0, also when it has not finished starting. A second signal ends it at once.
 *
 * @throws {Error} what kept the agent from starting, after everything that was started has been stopped.
 */
export async function startAgent(config: AgentConfig, options: StartOptions): Promise<void> {
  const logger = pinoLogger(config.agent.logLevel)
  const log = logger.forComponent('blobswarm:agent')
  const ending = endingOf(log, options.stopWithinMs)
  let agent: Agent | undefined
  try {
    const composing = composeAgent(config, {
      joinToken: options.joinToken,
      logger,
      stopOnFailure: (error) => {
        log.error('stopping because of a failure: %e', error)
        ending.begin(error)
      }
    })
    agent = await abortable(composing, ending.signal)
    await agent.start({ signal: ending.signal })
    options.print(`ready ${JSON.stringify(agent.ready())}`)
    await ending.begun
  } catch (error) {
    if (!ending.signal.aborted) throw error
  } finally {
    ending.limit()
    await agent?.stop()
  }
  log.info('stopped')
  process.exit(ending.signal.reason instanceof SignalReceived ? EXIT_DONE : EXIT_FAILED)
}

/** Knows when this process is to end: at a signal, a failure, or an error that nobody caught. */
function endingOf(log: Logger, stopWithinMs: number) {
  const abort = new AbortController()
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const begin = (reason: Error): void => {
    abort.abort(reason)
    resolve()
  }
  const limit = (): void => {
    setTimeout(() => {
      log.error('still not stopped after %d ms, exiting', stopWithinMs)
      process.exit(process.exitCode ?? EXIT_FAILED)
    }, stopWithinMs).unref()
  }
  const onSignal = (name: NodeJS.Signals): void => {
    if (abort.signal.aborted) process.exit(EXIT_FAILED)
    log.info('%s: stopping', name)
    limit()
    begin(new SignalReceived(`${name} received`))
  }
  const onStray = (thrown: unknown): void => {
    const error = toError(thrown)
    log.error('ending because of an error that nobody caught: %e', error)
    process.stderr.write(`${error.stack ?? error.message}\n`)
    process.exit(EXIT_FAILED)
  }
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  process.on('unhandledRejection', onStray).on('uncaughtException', onStray)
  return { signal: abort.signal, begun, begin, limit }
}
