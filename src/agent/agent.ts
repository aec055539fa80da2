import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'

/** Something with a life of its own inside the agent. */
export interface AgentService {
  /** As the log and `/readyz` call it. */
  readonly name: string
  /** Resolves when it serves. */
  start(options: { readonly signal: AbortSignal }): Promise<void>
  /** May be called at any time, also when `start` has failed half-way. */
  stop(): Promise<void>
}

/** What the line `ready {json}` says. */
export interface ReadyLine {
  readonly peerId: string
  /** Full multiaddrs for other agents. */
  readonly addresses: readonly string[]
  /** `HOST:PORT`; undefined where the agent has no such front. */
  readonly gridftp?: string | undefined
  readonly http?: string | undefined
  /** Path of the control socket. */
  readonly socket: string
  readonly pid: number
}

/** Starts the agent's services in the order of their needs and stops them in reverse. */
export class Agent {
  readonly #services: AgentService[]
  readonly #log: Logger
  readonly #describe: () => ReadyLine
  readonly #started: AgentService[] = []
  #runningCount = 0
  #stopping: Promise<void> | undefined

  constructor(services: readonly AgentService[], describe: () => ReadyLine, log: Logger) {
    this.#services = [...services]
    this.#describe = describe
    this.#log = log
  }

  /** Names of the services that do not run yet. */
  get notReady(): string[] {
    return this.#services.slice(this.#runningCount).map(({ name }) => name)
  }

  /** Adds services behind those there are; a service may do so while it starts. */
  add(services: readonly AgentService[]): void {
    this.#services.push(...services)
  }

  /**
   * Starts every service. Called once.
   *
   * @throws {unknown} what kept a service from starting, or the signal's reason; everything that was started has been
   *   stopped again then.
   */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    try {
      for (const service of this.#services) {
        options.signal.throwIfAborted()
        if (this.#stopping !== undefined) throw new NotRunningError('the agent')
        this.#started.push(service)
        this.#log.debug('starting %s', service.name)
        await service.start(options)
        this.#runningCount++
      }
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Stops what was started, the last first. A service that fails to stop is logged and does not keep the others. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  /** What clients need to reach this agent; complete once `start` has resolved. */
  ready(): ReadyLine {
    return this.#describe()
  }

  async #stop(): Promise<void> {
    for (let last = this.#started.pop(); last !== undefined; last = this.#started.pop()) {
      try {
        this.#log.debug('stopping %s', last.name)
        await last.stop()
      } catch (error) {
        this.#log.error('%s did not stop: %e', last.name, toError(error))
      }
    }
  }
}
