/** What a neighbour may say that tells this agent nothing or makes it work for nothing, and its cost in points. */
const COSTS = {
  /** A chunk that it had announced before. */
  'announcements that tell nothing new': 1,
  /** A sign of life; one in half a minute is enough. */
  'messages that say nothing': 64,
  /** A cancel; one for each request at most is of use. */
  cancels: 1,
  /** A request that is refused at once. */
  'requests for what is not here': 8,
  /** An entry of a peer exchange. */
  'names of other peers': 4,
  /** A message that it wants or does not want chunks. */
  'changes of mind': 256,
  /** A manifest page that it asks for. */
  'manifest pages': 16
} as const

/** What can be too much. */
export type Nuisance = keyof typeof COSTS

export interface ToleranceOptions {
  /** Points that a neighbour has when it comes, and at most. @default 4096 */
  readonly points?: number
  /** Points that it gets back each second. @default 256 */
  readonly pointsPerSecond?: number
}

/**
 * Says how much of no use one neighbour may say. Everything that is borne costs points, which come back
 * with time; honest agents never come near the end of them.
 */
export class Tolerance {
  readonly #maxPoints: number
  readonly #pointsPerSecond: number
  #points: number
  #countedMs: number

  constructor(nowMs: number, options: ToleranceOptions = {}) {
    const { points = 4096, pointsPerSecond = 256 } = options
    this.#maxPoints = points
    this.#pointsPerSecond = pointsPerSecond
    this.#points = points
    this.#countedMs = nowMs
  }

  /** Notes that a neighbour was a nuisance so many times. @returns false if that was too much. */
  bears(nuisance: Nuisance, times: number, nowMs: number): boolean {
    const regained = ((nowMs - this.#countedMs) * this.#pointsPerSecond) / 1000
    this.#countedMs = nowMs
    this.#points = Math.min(this.#points + regained, this.#maxPoints) - COSTS[nuisance] * times
    return this.#points >= 0
  }
}
