import type { Clock } from '../lib/clock.ts'
import type { Collector } from '../metadata/collection.ts'
import type { AgentService } from './agent.ts'

export interface CollectionTimerComponents {
  readonly collector: Pick<Collector, 'collect'>
  readonly clock: Clock
}

/** Collects again and again; the collector itself logs how it went. */
export class CollectionTimer implements AgentService {
  readonly name = 'collection'
  readonly #components: CollectionTimerComponents
  readonly #everyMs: number
  readonly #stopped = new AbortController()
  #running: Promise<void> = Promise.resolve()

  /** @param everyMs from the end of one collection to the beginning of the next. */
  constructor(components: CollectionTimerComponents, everyMs: number) {
    this.#components = components
    this.#everyMs = everyMs
  }

  async start(): Promise<void> {
    this.#running = this.#run()
  }

  /** Ends the collections, also one that is under way. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('collection stopped'))
    await this.#running
  }

  async #run(): Promise<void> {
    const { collector, clock } = this.#components
    const { signal } = this.#stopped
    while (!signal.aborted) {
      try {
        await clock.sleep(this.#everyMs, { signal })
        await collector.collect({ isDryRun: false }, { signal })
      } catch {
        // Stopped, which ends the loop; or failed, which is logged and counted: it is tried again.
      }
    }
  }
}
