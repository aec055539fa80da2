import { z } from 'zod'
import { type ScrubReport, scrub } from '../chunks/scrub.ts'
import type { CheckableStore } from '../chunks/store-types.ts'
import type { ChunkId } from '../chunks/types.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Counter, Metrics } from '../lib/metrics.ts'
import { toError } from '../lib/to-error.ts'
import type { AgentService } from './agent.ts'
import type { DataDirectory } from './data-directory.ts'

const FILE = 'scrub.json'

/** How often the place is remembered, in milliseconds. */
const REMEMBER_MS = 60_000

/** How soon a round that failed goes on, in milliseconds. */
const RETRY_MS = 600_000

const countsSchema = z.object({
  checked: z.number(),
  corrupt: z.number(),
  missing: z.number(),
  unreadable: z.number()
})

const stateSchema = z.object({
  endedMs: z.number(),
  last: countsSchema.optional(),
  running: z.object({ after: z.hex().length(64), found: countsSchema }).optional()
})

/** What is remembered: when the last round ended, what it found, and where the one at hand is. */
type ScrubState = z.infer<typeof stateSchema>

/** Scrubbing as operators see it; times in ISO 8601. */
export interface ScrubFigures {
  /** Absent before the first round has ended. */
  readonly last?: (ScrubReport & { readonly ended: string }) | undefined
  /** What the round at hand has found so far; absent between rounds. */
  readonly running?: ScrubReport | undefined
}

export interface ScrubTimerComponents {
  readonly store: CheckableStore
  /** Where the place is remembered. */
  readonly data: Pick<DataDirectory, 'readText' | 'writeText'>
  readonly clock: Clock
  readonly log: Logger
  readonly metrics?: Metrics | undefined
}

export interface ScrubTimerOptions {
  /** From the end of one round to the beginning of the next, in milliseconds. */
  readonly everyMs: number
  /** Bytes read a second at most. */
  readonly bytesPerSecond: number
}

/**
 * Has a provider read all its chunks again and again, slowly. The store drops what is broken and
 * counts it; the provider manager sees that in the next report and has it copied anew. A restart
 * goes on where it was.
 */
export class ScrubTimer implements AgentService {
  readonly name = 'scrubber'
  readonly #components: ScrubTimerComponents
  readonly #options: ScrubTimerOptions
  readonly #checked: Counter | undefined
  readonly #damaged: Counter | undefined
  readonly #stopped = new AbortController()
  #state: ScrubState = { endedMs: 0 }
  #running: Promise<void> = Promise.resolve()

  constructor(components: ScrubTimerComponents, options: ScrubTimerOptions) {
    this.#components = components
    this.#options = options
    const { metrics } = components
    this.#checked = metrics?.counter('blobswarm_scrub_checked_chunks_total', {
      help: 'Chunks that the scrubber has read and hashed again'
    })
    this.#damaged = metrics?.counter('blobswarm_scrub_damaged_chunks_total', {
      help: 'Chunks that the scrubber found corrupt, missing or unreadable',
      labels: ['damage']
    })
    metrics?.gauge('blobswarm_scrub_last_end_seconds', {
      help: 'When the last round ended, seconds since the epoch; 0 before the first',
      read: () => (this.#state.last === undefined ? 0 : this.#state.endedMs / 1000)
    })
  }

  /** How it is getting on. */
  get figures(): ScrubFigures {
    const { endedMs, last, running } = this.#state
    return {
      ...(last && { last: { ended: new Date(endedMs).toISOString(), ...last } }),
      ...(running && { running: running.found })
    }
  }

  async start(): Promise<void> {
    this.#state = await this.#load()
    this.#running = this.#run()
  }

  /** Ends the round that runs; the next start goes on with it. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('scrubber stopped'))
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#components
    const { everyMs } = this.#options
    const { signal } = this.#stopped
    while (!signal.aborted) {
      try {
        if (this.#state.running === undefined) {
          const waitMs = this.#state.endedMs + everyMs - clock.now()
          // However the clock was set meanwhile.
          await clock.sleep(Math.min(Math.max(0, waitMs), everyMs), { signal })
        }
        await this.#round(signal)
      } catch (error) {
        if (signal.aborted) break
        log.error('the scrubber cannot go on for now: %e', toError(error))
        await clock.sleep(RETRY_MS, { signal }).catch(() => {}) // stopped: the loop ends
      }
    }
    await this.#save()
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.#components
    const { bytesPerSecond } = this.#options
    const { running } = this.#state
    const found = running?.found ?? { checked: 0, corrupt: 0, missing: 0, unreadable: 0 }
    const after = running === undefined ? undefined : fromHex(running.after)
    let rememberedMs = clock.monotonic()
    let saving: Promise<void> = Promise.resolve()
    await scrub(store, clock, {
      signal,
      bytesPerSecond,
      after,
      onChecked: (id: ChunkId, damage) => {
        found.checked++
        this.#checked?.add(1)
        if (damage !== undefined) {
          found[damage]++
          this.#damaged?.add(1, { damage })
          log.debug('chunk %s is %s', toHex(id), damage) // the store has told that it is lost
        }
        this.#state = { ...this.#state, running: { after: toHex(id), found } }
        if (clock.monotonic() - rememberedMs < REMEMBER_MS) return
        rememberedMs = clock.monotonic()
        saving = saving.then(async () => await this.#save())
      }
    })
    await saving
    this.#state = { endedMs: clock.now(), last: found }
    await this.#save()
    const { checked, corrupt, missing, unreadable } = found
    const format = 'all %d chunks read again: %d corrupt, %d missing, %d unreadable'
    const counts = [checked, corrupt, missing, unreadable]
    if (corrupt + missing + unreadable > 0) log.error(format, ...counts)
    else log.info(format, ...counts)
  }

  async #load(): Promise<ScrubState> {
    const { data, clock, log } = this.#components
    try {
      const text = await data.readText(FILE)
      if (text !== undefined) return stateSchema.parse(JSON.parse(text))
    } catch (error) {
      log.info('%s is not to be used, the scrubber begins anew: %e', FILE, toError(error))
    }
    return { endedMs: clock.now() }
  }

  /** What is not remembered is read twice, no more. */
  async #save(): Promise<void> {
    try {
      await this.#components.data.writeText(FILE, `${JSON.stringify(this.#state)}\n`)
    } catch (error) {
      this.#components.log.info('%s is not written: %e', FILE, toError(error))
    }
  }
}
