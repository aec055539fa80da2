import type { Random } from '../../lib/random.ts'
import type { RequestClass } from '../protocols/swarm.ts'
import type { Availability, LevelRange } from './availability.ts'

// A queue is searched this far for a chunk that the neighbour holds; behind that a lower class is chosen.
const MAX_PROBES = 1024

/** A choice: what to ask for, and how urgent it is. */
export interface Pick {
  readonly chunk: number
  readonly requestClass: RequestClass
}

/** Whether the neighbour that is to be asked holds a chunk. */
export type Holds = (chunk: number) => boolean

/** What the picker uses; it never changes it. */
export interface PickerComponents {
  readonly availability: Availability
  readonly random: Random
}

export interface PickerOptions {
  /** Chunks of the boot profile that are wanted at a time, in order of first touch. @default 32 */
  readonly profileWindow?: number
  /** Chunks that may wait with a class above `rest`, in all. @default 262,144 */
  readonly maxPrioritised?: number
}

/**
 * Chooses what to ask a neighbour for. Order: demand, then read-ahead, both in the order in which they
 * were asked for; then the boot profile, rarest first inside a window that moves in order of first
 * touch; then the rest, rarest first. While a demanded chunk is missing nothing else is chosen.
 */
export class Picker {
  readonly #availability: Availability
  readonly #random: Random
  readonly #profileWindow: number
  readonly #maxPrioritised: number
  readonly #demand = new Set<number>()
  readonly #readAhead = new Set<number>()
  readonly #window = new Set<number>()
  /** Profile chunks behind the window, a Set for its order and quick removal. */
  readonly #profile = new Set<number>()

  constructor(components: PickerComponents, options: PickerOptions = {}) {
    const { profileWindow = 32, maxPrioritised = 2 ** 18 } = options
    this.#availability = components.availability
    this.#random = components.random
    this.#profileWindow = profileWindow
    this.#maxPrioritised = maxPrioritised
  }

  /** True while a demanded chunk is missing. */
  get isUrgent(): boolean {
    return this.#demand.size > 0
  }

  /** Missing chunks that have this class, which is not `rest`. */
  countOf(requestClass: Exclude<RequestClass, 'rest'>): number {
    if (requestClass === 'demand') return this.#demand.size
    if (requestClass === 'readAhead') return this.#readAhead.size
    return this.#window.size + this.#profile.size
  }

  /** The class that a missing chunk has now. */
  classOf(chunk: number): RequestClass {
    if (this.#demand.has(chunk)) return 'demand'
    if (this.#readAhead.has(chunk)) return 'readAhead'
    return this.#window.has(chunk) || this.#profile.has(chunk) ? 'profile' : 'rest'
  }

  /**
   * Raises missing chunks to a class; a chunk that has a higher one keeps it, and nothing is lowered.
   *
   * @returns false if there is no room, which leaves the rest of `chunks` as they were.
   */
  prioritise(chunks: Iterable<number>, requestClass: RequestClass): boolean {
    if (requestClass === 'rest') return true
    for (const chunk of chunks) {
      if (this.#size >= this.#maxPrioritised) return false
      if (requestClass === 'demand') {
        this.settle(chunk)
        this.#demand.add(chunk)
      } else if (requestClass === 'readAhead') {
        if (this.classOf(chunk) !== 'profile' && this.classOf(chunk) !== 'rest') continue
        this.settle(chunk)
        this.#readAhead.add(chunk)
      } else if (this.classOf(chunk) === 'rest') this.#profile.add(chunk)
    }
    this.#fillWindow()
    return true
  }

  /** Forgets a chunk that is no longer missing. */
  settle(chunk: number): void {
    this.#demand.delete(chunk)
    this.#readAhead.delete(chunk)
    this.#profile.delete(chunk)
    if (this.#window.delete(chunk)) this.#fillWindow()
  }

  /** Chooses among chunks with a class above `rest`. */
  pickPrioritised(holds: Holds): Pick | undefined {
    const demanded = this.#firstOf(this.#demand, holds)
    if (demanded !== undefined) return { chunk: demanded, requestClass: 'demand' }
    if (this.isUrgent) return undefined
    const ahead = this.#firstOf(this.#readAhead, holds)
    if (ahead !== undefined) return { chunk: ahead, requestClass: 'readAhead' }
    const touched = this.#rarestOf(this.#window, holds)
    return touched === undefined ? undefined : { chunk: touched, requestClass: 'profile' }
  }

  /** Chooses the rarest chunk of those without a class. */
  pickRest(holds: Holds, range?: LevelRange): Pick | undefined {
    if (this.isUrgent) return undefined
    const chunk = this.#availability.rarest(holds, range)
    return chunk === undefined ? undefined : { chunk, requestClass: 'rest' }
  }

  get #size(): number {
    return this.#demand.size + this.#readAhead.size + this.#window.size + this.#profile.size
  }

  #firstOf(chunks: Iterable<number>, holds: Holds): number | undefined {
    let probes = 0
    for (const chunk of chunks) {
      if (this.#availability.isOpen(chunk) && holds(chunk)) return chunk
      if (++probes === MAX_PROBES) break
    }
    return undefined
  }

  #rarestOf(chunks: Iterable<number>, holds: Holds): number | undefined {
    let rarest: number | undefined
    let rarestRank = Infinity
    for (const chunk of chunks) {
      if (!this.#availability.isOpen(chunk) || !holds(chunk)) continue
      const rank = this.#availability.level(chunk) + this.#random()
      if (rank < rarestRank) [rarest, rarestRank] = [chunk, rank]
    }
    return rarest
  }

  #fillWindow(): void {
    for (const chunk of this.#profile) {
      if (this.#window.size >= this.#profileWindow) return
      this.#profile.delete(chunk)
      this.#window.add(chunk)
    }
  }
}
