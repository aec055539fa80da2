import { MalformedError } from '../../lib/errors.ts'
import { ProtocolViolationError } from '../errors.ts'

export interface BansOptions {
  /** Peers remembered; above it the one whose ban ends first is forgiven. @default 1000 */
  readonly maxPeers?: number
}

const VIOLATION_MS = 600_000

/** Tells whether an error means that the peer broke the protocol. */
export function isViolation(error: Error): boolean {
  return error instanceof ProtocolViolationError || error instanceof MalformedError
}

/** Peers that this agent has nothing to do with for a while. Times are monotonic milliseconds. */
export class Bans {
  readonly #maxPeers: number
  readonly #untilMs = new Map<string, number>()

  constructor(options: BansOptions = {}) {
    const { maxPeers = 1000 } = options
    this.#maxPeers = maxPeers
  }

  /** Peers remembered. */
  get size(): number {
    return this.#untilMs.size
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

  /** Bans a peer that broke the protocol. */
  punish(peer: string, nowMs: number): void {
    this.add(peer, nowMs + VIOLATION_MS)
  }

  isBanned(peer: string, nowMs: number): boolean {
    const untilMs = this.#untilMs.get(peer)
    if (untilMs === undefined) return false
    if (untilMs > nowMs) return true
    this.#untilMs.delete(peer)
    return false
  }
}
