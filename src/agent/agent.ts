import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'

/** Something with a life of its own inside the agent. */
export interface AgentService {
  /** As the log and `/readyz` call it. */
  readonly name: string
  start(options: { readonly signal: AbortSignal }): Promise<void>
  /** May be called at any time, also when `start` has failed half-way. */
  stop(): Promise<void>
}

/** What the line `ready {json}` says. */
export interface ReadyLine {
  readonly peerId: string
  readonly addresses: readonly string[]
  readonly gridftp?: string | undefined
  readonly http?: string | undefined
  readonly socket: string
  readonly pid: number
}

/** Starts the agent's services in the order of their needs and stops them in reverse. */
export class Agent {
  readonly #services: AgentService[]
  readonly #log: Logger
  readonly #describe: () => ReadyLine
  readonly #started: AgentService[] = []
  #startingAt = 0
  #stopping: Promise<void> | undefined

  constructor(services: readonly AgentService[], describe: () => ReadyLine, log: Logger) {
    this.#services = [...services]
    this.#describe = describe
    this.#log = log
  }

  /** Names of the services that do not run yet. */
  get notReady(): string[] {
    return this.#services.slice(this.#startingAt).map(({ name }) => name)
  }

  /** Adds services behind those there are; a service may do so while it starts. */
  add(services: readonly AgentService[]): void {
    this.#services.push(...services)
  }

  /** @throws {Error} what kept a service from starting; those before it have been stopped again then. */
  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    for (; this.#startingAt < this.#services.length; this.#startingAt++) {
      options.signal.throwIfAborted()
      const service = this.#services[this.#startingAt]
      if (service === undefined) return
      this.#started.push(service)
      this.#log.debug('starting %s', service.name)
      await service.start(options)
    }
  }

  async stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  ready(): ReadyLine {
    return this.#describe()
  }

  async #stop(): Promise<void> {
    for (const service of this.#started.toReversed()) {
      try {
        this.#log.debug('stopping %s', service.name)
        await service.stop()
      } catch (error) {
        this.#log.error('%s did not stop: %e', service.name, toError(error))
      }
    }
  }
}
