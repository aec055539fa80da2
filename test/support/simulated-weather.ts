import type { Clock } from '../../src/lib/clock.ts'
import type { Random } from '../../src/lib/random.ts'

/** Ends a fault. Harmless when it has ended. */
export type Heal = () => void

interface Path {
  /** Faults that keep everything on this path from arriving. */
  blockers: number
  /** What would have arrived since, in order. */
  readonly parked: (() => void)[]
}

// A sender tries again when its retransmission timer lets it, not when the path is whole again.
const MIN_RETRY_MS = 200
const MAX_RETRY_MS = 1000

/**
 * What goes wrong between hosts: one-way paths that let nothing through for a while, packets that are
 * lost, delays that vary. Whatever is held back arrives later, in order, as over TCP.
 */
export class Weather {
  /** Share of the pieces of 16 KiB that have to be sent again. */
  lossRate = 0
  /** Added to the latency, at most. */
  jitterMs = 0
  readonly #clock: Clock
  readonly #random: Random
  readonly #onHealed: (from: string, to: string) => void
  readonly #paths = new Map<string, Path>()

  constructor(clock: Clock, random: Random, onHealed: (from: string, to: string) => void) {
    this.#clock = clock
    this.#random = random
    this.#onHealed = onHealed
  }

  /** Number of one-way paths that let nothing through. */
  get blockedCount(): number {
    return this.#paths.size
  }

  isBlocked(from: string, to: string): boolean {
    return this.#paths.has(`${from}>${to}`)
  }

  /** Lets nothing through from one host to another; the other way stays open. */
  block(from: string, to: string): Heal {
    const key = `${from}>${to}`
    const path = this.#paths.get(key) ?? { blockers: 0, parked: [] }
    this.#paths.set(key, path)
    path.blockers++
    let isHealed = false
    return () => {
      if (isHealed) return
      isHealed = true
      if (--path.blockers === 0) this.#heal(key, path, [from, to])
    }
  }

  /** Cuts hosts into groups that hear nothing of each other. */
  partition(groups: readonly (readonly string[])[]): Heal {
    const heals = groups.flatMap((group, place) => {
      const others = groups.filter((_, other) => other !== place).flat()
      return group.flatMap((from) => others.map((to) => this.block(from, to)))
    })
    return () => {
      for (const heal of heals) heal()
    }
  }

  /** Extra time that something takes to arrive. */
  delayMs(): number {
    return this.jitterMs === 0 ? 0 : this.#random() * this.jitterMs
  }

  /** For how long a flow stands still because a piece was lost; 0 if it was not. */
  lossMs(roundTripMs: number): number {
    if (this.lossRate === 0 || this.#random() >= this.lossRate) return 0
    // Mostly other packets tell the sender soon; the last one of a flight costs a whole time-out.
    return this.#random() < 0.8 ? roundTripMs : MIN_RETRY_MS + roundTripMs
  }

  /** Runs something after a time, and when the path from one host to the other is open. */
  deliver(from: string, to: string, delayMs: number, run: () => void): void {
    this.#clock.schedule(() => {
      const path = this.#paths.get(`${from}>${to}`)
      if (path === undefined) run()
      else path.parked.push(run)
    }, delayMs)
  }

  #heal(key: string, path: Path, [from, to]: readonly [string, string]): void {
    const retryMs = MIN_RETRY_MS + this.#random() * (MAX_RETRY_MS - MIN_RETRY_MS)
    path.blockers++ // until the sender has tried
    this.#clock.schedule(() => {
      if (--path.blockers > 0) return
      this.#paths.delete(key)
      for (const run of path.parked.splice(0)) run()
      this.#onHealed(from, to)
    }, retryMs)
  }
}
