import type { Random } from '../../lib/random.ts'

/** How an agent was heard of. One that was heard of twice counts as what comes first here. */
export const ORIGINS = ['source', 'exchange', 'directory'] as const
export type Origin = (typeof ORIGINS)[number]

export interface CandidatesOptions {
  /** Peers remembered; when full, new ones are not taken unless they are sources. @default 256 */
  readonly maxPeers?: number
  /** Wait before the second attempt at a peer; doubles with every failure. @default 250 ms */
  readonly firstRetryMs?: number
  /** @default 30 seconds */
  readonly maxRetryMs?: number
}

/** Whom to choose. */
export interface CandidatesWanted {
  /** @default all */
  readonly origins?: readonly Origin[] | undefined
  /** Zone whose agents come first; empty for none. @default '' */
  readonly zone?: string | undefined
  /** Leaves all others out. @default false */
  readonly isZoneOnly?: boolean | undefined
  /** Peers with a connection, which come first: to open another costs both ends some tens of milliseconds. */
  readonly connected?: ReadonlySet<string> | undefined
  /** Leaves out whom a connection would have to be opened to. @default false */
  readonly isConnectedOnly?: boolean | undefined
}

/** Peers that are neighbours or about to be. */
export interface CandidatesCounts {
  readonly sources: number
  /** Those that are not sources. */
  readonly others: number
  /** Those of the others that are in the zone. */
  readonly near: number
}

interface Candidate {
  readonly peer: string
  origin: Origin
  /** Empty until somebody has told it. */
  zone: string
  state: 'idle' | 'dialling' | 'joined'
  failures: number
  nextMs: number
}

/**
 * Peers that may hold an image and that could be dialled. `idle → dialling → joined | idle`; a peer
 * that could not be reached waits longer each time.
 */
export class Candidates {
  readonly #random: Random
  readonly #options: Required<CandidatesOptions>
  readonly #candidates = new Map<string, Candidate>()

  constructor(random: Random, options: CandidatesOptions = {}) {
    this.#random = random
    this.#options = { maxPeers: 256, firstRetryMs: 250, maxRetryMs: 30_000, ...options }
  }

  /** Peers remembered. */
  get size(): number {
    return this.#candidates.size
  }

  /** Takes note of a peer. @returns true if it was not known. */
  add(peer: string, origin: Origin, zone = ''): boolean {
    const known = this.#candidates.get(peer)
    if (known !== undefined) {
      if (zone !== '') known.zone = zone
      if (ORIGINS.indexOf(origin) < ORIGINS.indexOf(known.origin)) known.origin = origin
      return false
    }
    if (this.#candidates.size >= this.#options.maxPeers && !this.#makeRoom(origin)) return false
    this.#candidates.set(peer, { peer, origin, zone, state: 'idle', failures: 0, nextMs: 0 })
    return true
  }

  /**
   * Chooses a peer to dial now: `idle → dialling`. Any of them, so that the swarm stays one whole; of those
   * in `zone` first, if that is given, and of no others at all with `isZoneOnly`.
   */
  next(nowMs: number, wanted: CandidatesWanted = {}): string | undefined {
    const { origins = ORIGINS, zone = '', isZoneOnly = false, connected } = wanted
    const { isConnectedOnly = false } = wanted
    let best: Candidate | undefined
    let bestRank = Infinity
    for (const candidate of this.#candidates.values()) {
      if (candidate.state !== 'idle' || candidate.nextMs > nowMs) continue
      if (!origins.includes(candidate.origin)) continue
      const isNear = zone !== '' && candidate.zone === zone
      if (isZoneOnly && !isNear) continue
      const isOpen = connected?.has(candidate.peer) === true
      if (isConnectedOnly && !isOpen) continue
      const rank = this.#random() + (isOpen ? 0 : 1) + (isNear ? 0 : 2)
      if (rank < bestRank) [best, bestRank] = [candidate, rank]
    }
    if (best === undefined) return undefined
    best.state = 'dialling'
    return best.peer
  }

  /** Tells whether a peer of this origin could be dialled now. */
  isWaiting(nowMs: number, origin: Origin): boolean {
    return this.#candidates
      .values()
      .some((one) => one.origin === origin && one.state === 'idle' && one.nextMs <= nowMs)
  }

  /** Peers of these origins that could be dialled now. */
  waitingCount(nowMs: number, origins: readonly Origin[]): number {
    return this.#candidates
      .values()
      .filter((one) => one.state === 'idle' && one.nextMs <= nowMs && origins.includes(one.origin))
      .reduce((count) => count + 1, 0)
  }

  /** Peers that are neighbours or being dialled: how many of each origin, and besides sources of a zone. */
  counts(zone: string): CandidatesCounts {
    const counts = { sources: 0, others: 0, near: 0 }
    for (const candidate of this.#candidates.values()) {
      if (candidate.state === 'idle') continue
      if (candidate.origin === 'source') counts.sources += 1
      else {
        counts.others += 1
        if (zone !== '' && candidate.zone === zone) counts.near += 1
      }
    }
    return counts
  }

  /** The peer is a neighbour now, whoever dialled: `any → joined`. */
  joined(peer: string, zone = ''): void {
    const isRoom = this.#candidates.size < this.#options.maxPeers
    if (!isRoom && !this.#candidates.has(peer)) this.#forget(() => true)
    const known = this.#candidates.get(peer) ?? { peer, origin: 'exchange', zone, nextMs: 0 }
    this.#candidates.set(peer, {
      ...known,
      zone: zone === '' ? known.zone : zone,
      state: 'joined',
      failures: 0
    })
  }

  /** It was reached and went away again, or has no use for this agent now: `any → idle`. */
  left(peer: string, retryAtMs: number): void {
    const candidate = this.#candidates.get(peer)
    if (candidate === undefined) return
    candidate.state = 'idle'
    candidate.nextMs = Math.max(candidate.nextMs, retryAtMs)
  }

  /** It could not be reached: `dialling → idle`, for longer each time. */
  failed(peer: string, nowMs: number): void {
    const candidate = this.#candidates.get(peer)
    if (candidate === undefined) return
    const { firstRetryMs, maxRetryMs } = this.#options
    const backoffMs = Math.min(maxRetryMs, firstRetryMs * 2 ** candidate.failures)
    candidate.state = 'idle'
    candidate.failures = Math.min(candidate.failures + 1, 30)
    // Somewhere in the upper half, so that agents that lost the same peer do not come back together.
    candidate.nextMs = nowMs + backoffMs * (0.5 + this.#random() / 2)
  }

  /** Lets everybody be dialled again now. @returns who that is. */
  hurry(): Iterable<string> {
    for (const candidate of this.#candidates.values()) candidate.nextMs = 0
    return this.#candidates.keys()
  }

  /** Milliseconds until a peer that is not being dialled may be dialled again; undefined if none. */
  delayMs(nowMs: number): number | undefined {
    let delayMs: number | undefined
    for (const { state, nextMs } of this.#candidates.values()) {
      if (state !== 'idle') continue
      delayMs = Math.min(delayMs ?? Infinity, Math.max(0, nextMs - nowMs))
    }
    return delayMs
  }

  #makeRoom(origin: Origin): boolean {
    if (origin !== 'source') return this.#forget(({ failures }) => failures > 0)
    return (
      this.#forget(({ failures }) => failures > 0) || this.#forget((c) => c.origin !== 'source')
    )
  }

  #forget(isLess: (candidate: Candidate) => boolean): boolean {
    for (const candidate of this.#candidates.values()) {
      if (candidate.state === 'idle' && isLess(candidate)) {
        return this.#candidates.delete(candidate.peer)
      }
    }
    return false
  }
}
