import type { LocalProvider } from '../chunks/local-provider.ts'
import type { ProviderManager, ReportAnswer } from '../chunks/provider-manager-types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { anySignal } from '../lib/signals.ts'
import { toError } from '../lib/to-error.ts'
import type { AgentService } from './agent.ts'

/** Remembers a short text between starts; the data directory does. */
export interface TextMemory {
  readText(name: string): Promise<string | undefined>
  writeText(name: string, text: string): Promise<void>
}

/** Whose store it reports, and to whom. */
export interface HeartbeatComponents {
  readonly provider: LocalProvider
  /** Keeps whether this provider drains. */
  readonly memory: TextMemory
  readonly providers: ProviderManager
  readonly clock: Clock
  readonly log: Logger
}

export interface HeartbeatOptions {
  readonly zone: string
  /** From the end of one report to the next, in milliseconds. */
  readonly intervalMs: number
  /** Version of this program. */
  readonly version: string
}

const DRAINING_FILE = 'draining'

/**
 * Tells the provider manager, again and again, that this agent's store lives and how full it is.
 * Whether it drains is as the manager last answered, also after a restart of either.
 */
export class Heartbeat implements AgentService {
  readonly name = 'heartbeat'
  readonly #components: HeartbeatComponents
  readonly #options: HeartbeatOptions
  readonly #abort = new AbortController()
  #beating: Promise<void> = Promise.resolve()
  #isHeard = true
  #isDraining = false

  constructor(components: HeartbeatComponents, options: HeartbeatOptions) {
    this.#components = components
    this.#options = options
  }

  /** Resolves when the first report was heard, or failed; if nobody hears it, the next may be heard. */
  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { memory, log } = this.#components
    this.#isDraining = (await memory.readText(DRAINING_FILE))?.trim() === 'yes'
    if (this.#isDraining) log.info('this provider is being drained')
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
      await clock.sleep(this.#options.intervalMs, { signal }).catch(() => {}) // stopped: the loop ends
      if (!signal.aborted) await this.#beat()
    }
  }

  async #beat(starting?: AbortSignal): Promise<void> {
    const { clock, log } = this.#components
    const timeoutMs = this.#options.intervalMs * 2
    const signal = anySignal([this.#abort.signal, starting])
    const timedOut = (): Error => new Error(`no answer within ${timeoutMs} ms`)
    try {
      const within = { clock, timeoutMs, timedOut, signal }
      const { isDraining } = await withDeadline((deadline) => this.#report(deadline), within)
      if (!this.#isHeard) log.info('heartbeat heard again')
      this.#isHeard = true
      await this.#setDraining(isDraining)
    } catch (error) {
      if (signal?.aborted === true) return
      if (this.#isHeard) log.info('heartbeat not heard: %e', toError(error))
      this.#isHeard = false
    }
  }

  async #report(deadline: AbortOptions): Promise<ReportAnswer> {
    const { provider, providers } = this.#components
    const { zone, version } = this.#options
    const report = await provider.report(zone, { isDraining: this.#isDraining, version })
    return await providers.report(report, deadline)
  }

  /** Reports it only once it is on the disk; until then the manager repeats itself. */
  async #setDraining(isDraining: boolean): Promise<void> {
    if (isDraining === this.#isDraining) return
    const { memory, log } = this.#components
    try {
      await memory.writeText(DRAINING_FILE, isDraining ? 'yes\n' : 'no\n')
      this.#isDraining = isDraining
      log.info(isDraining ? 'this provider is being drained' : 'this provider is in use again')
    } catch (error) {
      log.error('cannot remember whether to drain: %e', toError(error))
    }
  }
}
