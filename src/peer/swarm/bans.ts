export interface BansOptions {
  /** Peers remembered; above it the one whose ban ends first is forgiven. @default 1000 */
  readonly maxPeers?: number
}

/** Peers that this agent has nothing to do with for a while. Times are monotonic milliseconds. */
export class Bans {
  readonly #maxPeers: number
  readonly #untilMs = new Map<string, number>()

  constructor(options: BansOptions = {}) {
    const { maxPeers = 1000 } = options
    this.#maxPeers = maxPeers
  }

  /** Bans a peer until a time; a longer ban that it has stays. */
  add(peer: string, untilMs: number): void {
    this.#untilMs.set(peer, Math.max(untilMs, this.#untilMs.get(peer) ?? 0))
    if (this.#untilMs.size <= this.#maxPeers) return
    let [first, firstMs] = [peer, Infinity]
    for (const [other, otherMs] of this.#untilMs) {
      if (otherMs < firstMs) [first, firstMs] = [other, otherMs]
    }
    this.#untilMs.delete(first)
  }

  isBanned(peer: string, nowMs: number): boolean {
    const untilMs = this.#untilMs.get(peer)
    if (untilMs === undefined) return false
    if (untilMs > nowMs) return true
    this.#untilMs.delete(peer)
    return false
  }
}
