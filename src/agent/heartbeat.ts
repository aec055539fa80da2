import type { LocalProvider } from '../chunks/local-provider.ts'
import type { ProviderManager } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { AgentService } from './agent.ts'

export interface HeartbeatComponents {
  readonly provider: LocalProvider
  readonly providers: ProviderManager
  readonly clock: Clock
  readonly log: Logger
}

/** Tells the provider manager, again and again, that this agent's store lives and how full it is. */
export class Heartbeat implements AgentService {
  readonly name = 'heartbeat'
  readonly #components: HeartbeatComponents
  readonly #zone: string
  readonly #intervalMs: number
  readonly #abort = new AbortController()
  #beating: Promise<void> = Promise.resolve()

  constructor(components: HeartbeatComponents, zone: string, intervalMs: number) {
    this.#components = components
    this.#zone = zone
    this.#intervalMs = intervalMs
  }

  async start(): Promise<void> {
    // The first one is waited for: an agent that is ready takes chunks. If nobody hears it yet, the next may.
    await this.#beat()
    this.#beating = this.#keepBeating()
  }

  async stop(): Promise<void> {
    this.#abort.abort(new Error('heartbeat stopped'))
    await this.#beating
  }

  async #keepBeating(): Promise<void> {
    const { clock } = this.#components
    const { signal } = this.#abort
    while (!signal.aborted) {
      await clock.sleep(this.#intervalMs, { signal }).catch(() => {}) // stopped: the loop ends
      if (!signal.aborted) await this.#beat()
    }
  }

  async #beat(): Promise<void> {
    const { provider, providers, log } = this.#components
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#intervalMs * 2)])
    try {
      await providers.report(await provider.report(this.#zone), { signal })
    } catch (error) {
      if (!this.#abort.signal.aborted) log.info('heartbeat not heard: %e', toError(error))
    }
  }
}
