import { availableParallelism } from 'node:os'
import { timesOfTree } from '../support/process-tree.ts'
import { ProcessorUse } from '../support/processor.ts'
import type { LinkCounters } from '../testbed/wire-reader.ts'
import type { Stage } from './stage.ts'

/** What a run has cost, from the start signal to the last host. */
export interface Costs {
  readonly seconds: number
  /** Of the whole machine's processors, 0 to 1. */
  readonly busy: number
  /** Processor seconds of the whole machine, and of the method's processes alone. */
  readonly machineSeconds: number
  readonly processSeconds: number
  /** What passed each host's link meanwhile; the source first. */
  readonly links: readonly LinkCounters[]
}

/** What passed the links until some moment. */
export interface LinkSample {
  readonly ms: number
  readonly links: readonly LinkCounters[]
}

const SAMPLE_MS = 250

/** Looks at the wire and the processors while a deployment runs. */
export class Measurement {
  readonly #stage: Stage
  readonly #use: ProcessorUse
  readonly #processSeconds: number
  readonly #startedMs: number
  readonly #before: readonly LinkCounters[]
  readonly #samples: LinkSample[] = []
  #timer: NodeJS.Timeout | undefined

  private constructor(stage: Stage, before: Before) {
    this.#stage = stage
    this.#use = before.use
    this.#processSeconds = before.processSeconds
    this.#before = before.links
    this.#startedMs = performance.now()
  }

  /** @param isTraced notes the counters of all links every 250 ms. */
  static async begin(stage: Stage, isTraced: boolean): Promise<Measurement> {
    const processSeconds = await secondsOfChildren()
    const use = await ProcessorUse.begin([])
    const links = stage.wire.read()
    const measurement = new Measurement(stage, { use, processSeconds, links })
    if (isTraced) measurement.#trace()
    return measurement
  }

  /** The start signal, in milliseconds of `performance.now()`. */
  get startedMs(): number {
    return this.#startedMs
  }

  /** What passed the links since the start signal. */
  moved(): LinkCounters[] {
    const now = this.#stage.wire.read()
    return now.map((link, host) => difference(link, this.#before[host]))
  }

  /** Ends the looks at the links, whatever has become of the run. */
  stop(): void {
    clearInterval(this.#timer)
  }

  async end(): Promise<Costs> {
    this.stop()
    const seconds = (performance.now() - this.#startedMs) / 1000
    const links = this.moved()
    const { idle } = await this.#use.end()
    return {
      seconds,
      busy: 1 - idle,
      machineSeconds: (1 - idle) * seconds * availableParallelism(),
      processSeconds: (await secondsOfChildren()) - this.#processSeconds,
      links
    }
  }

  get samples(): readonly LinkSample[] {
    return this.#samples
  }

  #trace(): void {
    this.#timer = setInterval(() => {
      try {
        this.#samples.push({ ms: performance.now() - this.#startedMs, links: this.moved() })
      } catch {
        this.stop() // the testbed is being taken down
      }
    }, SAMPLE_MS)
  }
}

interface Before {
  readonly use: ProcessorUse
  readonly processSeconds: number
  readonly links: readonly LinkCounters[]
}

function difference(now: LinkCounters, before: LinkCounters | undefined): LinkCounters {
  return {
    sentBytes: now.sentBytes - (before?.sentBytes ?? 0),
    sentPackets: now.sentPackets - (before?.sentPackets ?? 0),
    receivedBytes: now.receivedBytes - (before?.receivedBytes ?? 0),
    receivedPackets: now.receivedPackets - (before?.receivedPackets ?? 0)
  }
}

/** Processor seconds of all that this process has started, those that have ended included, without itself. */
async function secondsOfChildren(): Promise<number> {
  const { user, system } = await timesOfTree(process.pid)
  const own = process.cpuUsage()
  return user + system - (own.user + own.system) / 1e6
}
