import type { Swarm } from './swarm.ts'

const EVERY_MS = 10_000

/** Tells on stderr every ten seconds how far a simulation is. */
export class Progress {
  readonly #name: string
  readonly #before = process.cpuUsage()
  #toldMs = performance.now()
  #toldEvents = 0

  constructor(name: string) {
    this.#name = name
  }

  /** Processor seconds since this object was made. */
  get processorSeconds(): number {
    const { user, system } = process.cpuUsage(this.#before)
    return (user + system) / 1e6
  }

  readonly tell = (swarm: Swarm): void => {
    const nowMs = performance.now()
    const sinceMs = nowMs - this.#toldMs
    if (sinceMs < EVERY_MS) return
    const { nowMs: virtualMs, firedCount } = swarm.events
    const told = [
      `${(virtualMs / 1000).toFixed(2)} s of virtual time`,
      `${(swarm.doneShare * 100).toFixed(1)}% done`,
      `${Math.round(((firedCount - this.#toldEvents) / sinceMs) * 1000)} events/s`,
      `${this.processorSeconds.toFixed(0)} CPU s`,
      `${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`
    ]
    process.stderr.write(`${this.#name}: ${told.join(', ')}\n`)
    this.#toldMs = nowMs
    this.#toldEvents = firedCount
  }
}
