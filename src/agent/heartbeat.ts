import type { LocalProvider } from '../chunks/local-provider.ts'
import type { ProviderManager } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type { AgentService } from './agent.ts'

/** Whose store it reports, and to whom. */
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
  #isHeard = true

  /** @param intervalMs from the end of one report to the next. */
  constructor(components: HeartbeatComponents, zone: string, intervalMs: number) {
    this.#components = components
    this.#zone = zone
    this.#intervalMs = intervalMs
  }

  /** Resolves when the first report was heard, or failed; if nobody hears it, the next may be heard. */
  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    await this.#beat(signal)
    signal.throwIfAborted()
    this.#beating = this.#keepBeating()
  }

  /** Ends the reports, also one that is under way. */
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

  async #beat(starting?: AbortSignal): Promise<void> {
    const { provider, providers, clock, log } = this.#components
    const timeoutMs = this.#intervalMs * 2
    const signal = anySignal([this.#abort.signal, starting])
    const timedOut = (): Error => new Error(`no answer within ${timeoutMs} ms`)
    try {
      await withDeadline(
        async (deadline) => providers.report(await provider.report(this.#zone), deadline),
        { clock, timeoutMs, timedOut, signal }
      )
      if (!this.#isHeard) log.info('heartbeat heard again')
      this.#isHeard = true
    } catch (error) {
      if (signal?.aborted === true) return
      if (this.#isHeard) log.info('heartbeat not heard: %e', toError(error))
      this.#isHeard = false
    }
  }
}
