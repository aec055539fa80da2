import { MalformedError } from '../lib/errors.ts'
import { ProtocolViolationError } from './errors.ts'

export interface BansOptions {
  /** Peers remembered; above it the one whose ban ends first is forgiven. @default 1000 */
  readonly maxPeers?: number
}

const VIOLATION_MS = 600_000

/** Tells whether an error means that the peer broke the protocol. */
export function isViolation(error: Error): boolean {
  return error instanceof ProtocolViolationError || error instanceof MalformedError
}

interface Ban {
  readonly untilMs: number
  /** It did nothing wrong but to be of no use. */
  readonly isPardonable: boolean
}

/** Peers that this agent has nothing to do with for a while. Times are monotonic milliseconds. */
export class Bans {
  readonly #maxPeers: number
  readonly #bans = new Map<string, Ban>()

  constructor(options: BansOptions = {}) {
    const { maxPeers = 1000 } = options
    this.#maxPeers = maxPeers
  }

  /** Peers remembered. */
  get size(): number {
    return this.#bans.size
  }

  /** Bans a peer until a time; a longer ban that it has stays. */
  add(peer: string, untilMs: number): void {
    this.#add(peer, { untilMs, isPardonable: false })
  }

  /** Bans a peer that is of no use, until a time or until nobody else is, either. */
  suspend(peer: string, untilMs: number): void {
    this.#add(peer, { untilMs, isPardonable: true })
  }

  /** Ends the ban of a peer that was only of no use. */
  pardon(peer: string): void {
    if (this.#bans.get(peer)?.isPardonable === true) this.#bans.delete(peer)
  }

  /** Bans a peer that broke the protocol. */
  punish(peer: string, nowMs: number): void {
    this.add(peer, nowMs + VIOLATION_MS)
  }

  isBanned(peer: string, nowMs: number): boolean {
    return this.remainingMs(peer, nowMs) > 0
  }

  /** How long a peer will be banned; 0 if it is not. */
  remainingMs(peer: string, nowMs: number): number {
    const remainingMs = (this.#bans.get(peer)?.untilMs ?? nowMs) - nowMs
    if (remainingMs > 0) return remainingMs
    this.#bans.delete(peer)
    return 0
  }

  #add(peer: string, ban: Ban): void {
    if (ban.untilMs > (this.#bans.get(peer)?.untilMs ?? 0)) this.#bans.set(peer, ban)
    if (this.#bans.size <= this.#maxPeers) return
    let [first, firstMs] = [peer, Infinity]
    for (const [other, { untilMs }] of this.#bans) {
      if (untilMs < firstMs) [first, firstMs] = [other, untilMs]
    }
    this.#bans.delete(first)
  }
}
