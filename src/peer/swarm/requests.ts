import type { RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'

/** What is asked of a neighbour. */
export interface Ask {
  /** Undefined when the neighbour chooses. */
  readonly chunk: number | undefined
  readonly requestClass: RequestClass
  /** Why this neighbour is asked, for the accounts. */
  readonly reason: AskReason
  /** Bytes that the answer will have, or may have at most. */
  readonly bytes: number
}

/** A request without an answer. */
export interface PendingRequest extends Ask {
  readonly id: number
  readonly peer: string
  readonly issuedMs: number
}

/** How long requests may go unanswered. */
export interface RequestDeadlines {
  /** A neighbour that sends nothing for this long loses its requests. @default 10_000 */
  readonly silenceMs?: number
  /** A demanded chunk is asked for elsewhere, too, after this long. @default 1000 */
  readonly demandMs?: number
}

interface NeighbourRequests {
  readonly pending: Map<number, PendingRequest>
  /** Given up, but the neighbour still owes an answer; these use no credit. */
  readonly abandoned: Map<number, PendingRequest>
  bytes: number
  /** Of these, what has come of chunks that are not whole. */
  partBytes: number
  /** When it last sent something of a chunk, or began to owe something. */
  activeMs: number
  /** Since when it has been silent as far as its deadline goes: the same, or when it was last excused. */
  silentSinceMs: number
  /** Since when the oldest request that was given up is waited for. */
  owedMs: number
  /** How long it may be silent. */
  silenceMs: number
}

const MAX_ID = 0xffff_ffff
// An answer may take this many times as long as silence may, however many parts of it come.
const OWED_FACTOR = 3
// One that is borne with may be silent twice as long each time, up to this many times as long as others.
const MAX_SILENCE_FACTOR = 8
// One that is borne with may be silent this many times as long as it was before it last sent something.
const USUAL_SILENCES = 3

/**
 * Knows what has been asked of whom and not been answered. Every request goes `pending → settled` or
 * `pending → abandoned → settled`; a chunk is pending at one neighbour unless the caller asks twice.
 */
export class RequestLedger {
  readonly #silenceMs: number
  readonly #demandMs: number
  readonly #neighbours = new Map<string, NeighbourRequests>()
  readonly #byChunk = new Map<number, PendingRequest[]>()
  #lastId = 0
  #bytes = 0
  #unboundCount = 0

  constructor(deadlines: RequestDeadlines = {}) {
    const { silenceMs = 10_000, demandMs = 1000 } = deadlines
    this.#silenceMs = silenceMs
    this.#demandMs = demandMs
  }

  /** Bytes asked for and not answered, of all neighbours. */
  get bytes(): number {
    return this.#bytes
  }

  /** Pending requests whose chunk the neighbour has yet to choose. */
  get unboundCount(): number {
    return this.#unboundCount
  }

  /** Number of chunks that are pending somewhere. */
  get chunkCount(): number {
    return this.#byChunk.size
  }

  /** Bytes that a neighbour has been asked for. */
  bytesOf(peer: string): number {
    return this.#neighbours.get(peer)?.bytes ?? 0
  }

  /** Bytes that a neighbour has been asked for and that have not come. */
  bytesToCome(peer: string): number {
    const requests = this.#neighbours.get(peer)
    return requests === undefined ? 0 : Math.max(0, requests.bytes - requests.partBytes)
  }

  /** Requests that a neighbour still has to answer, given up ones included. */
  owedBy(peer: string): number {
    const requests = this.#neighbours.get(peer)
    return requests === undefined ? 0 : requests.pending.size + requests.abandoned.size
  }

  /** Requests of a neighbour that somebody waits for. */
  demandedOf(peer: string): number {
    let count = 0
    for (const { requestClass } of this.#neighbours.get(peer)?.pending.values() ?? []) {
      if (requestClass === 'demand') count++
    }
    return count
  }

  /** Requests that were given up and that a neighbour has not answered. */
  abandonedBy(peer: string): number {
    return this.#neighbours.get(peer)?.abandoned.size ?? 0
  }

  /** Notes a request. The id is new among all that are unanswered. */
  issue(peer: string, ask: Ask, nowMs: number): PendingRequest {
    this.#lastId = this.#lastId === MAX_ID ? 1 : this.#lastId + 1
    const request: PendingRequest = { ...ask, id: this.#lastId, peer, issuedMs: nowMs }
    const requests = this.#requestsOf(peer)
    if (requests.pending.size === 0) requests.activeMs = requests.silentSinceMs = nowMs
    requests.pending.set(request.id, request)
    this.#count(requests, request, 1)
    return request
  }

  /** Notes which chunk the neighbour chose. */
  bind(request: PendingRequest, chunk: number): PendingRequest {
    const requests = this.#requestsOf(request.peer)
    const bound = { ...request, chunk }
    if (requests.pending.has(request.id)) {
      this.#count(requests, request, -1)
      requests.pending.set(request.id, bound)
      this.#count(requests, bound, 1)
    } else if (requests.abandoned.has(request.id)) requests.abandoned.set(request.id, bound)
    return bound
  }

  /** Finds a request that the neighbour has to answer, given up or not. */
  find(peer: string, id: number): PendingRequest | undefined {
    const requests = this.#neighbours.get(peer)
    return requests?.pending.get(id) ?? requests?.abandoned.get(id)
  }

  /** Notes that a neighbour sent so many bytes of what it owes; one chunk comes after the other. */
  touch(peer: string, nowMs: number, bytes = 0): void {
    const requests = this.#requestsOf(peer)
    if (bytes > 0) {
      const usualMs = USUAL_SILENCES * (nowMs - requests.activeMs)
      requests.silenceMs = Math.max(this.#silenceMs, Math.min(requests.silenceMs, usualMs))
    }
    requests.activeMs = nowMs
    requests.silentSinceMs = nowMs
    requests.partBytes += bytes
  }

  /** Notes the answer. */
  settle(request: PendingRequest): void {
    const requests = this.#requestsOf(request.peer)
    requests.partBytes = 0
    const pending = requests.pending.get(request.id)
    if (pending === undefined) {
      if (requests.abandoned.delete(request.id)) requests.owedMs = requests.activeMs
    } else {
      requests.pending.delete(request.id)
      this.#count(requests, pending, -1)
    }
  }

  /** Gives a request up: `pending → abandoned`. Its credit is free; the answer is still owed. */
  abandon(request: PendingRequest, nowMs: number): void {
    const requests = this.#requestsOf(request.peer)
    const pending = requests.pending.get(request.id)
    if (pending === undefined) return
    if (requests.abandoned.size === 0) requests.owedMs = nowMs
    requests.pending.delete(request.id)
    this.#count(requests, pending, -1)
    requests.abandoned.set(request.id, pending)
  }

  /** Forgets a neighbour. @returns what was pending there. */
  drop(peer: string): PendingRequest[] {
    const requests = this.#neighbours.get(peer)
    if (requests === undefined) return []
    const dropped = Array.from(requests.pending.values())
    for (const request of dropped) this.#count(requests, request, -1)
    this.#neighbours.delete(peer)
    return dropped
  }

  /** Pending requests for a chunk. */
  pendingFor(chunk: number): readonly PendingRequest[] {
    return this.#byChunk.get(chunk) ?? []
  }

  /** Chunks that are pending somewhere, with the requests for each. */
  pendingChunks(): Iterable<[number, readonly PendingRequest[]]> {
    return this.#byChunk.entries()
  }

  /** Neighbours that owe something and have been silent, or have not come to an end, for too long. */
  silent(nowMs: number): string[] {
    const silent: string[] = []
    for (const [peer, requests] of this.#neighbours) {
      if (this.#isSilent(requests, nowMs)) silent.push(peer)
    }
    return silent
  }

  /** Gives a neighbour that was silent for too long twice as long from now on, until it is faster. */
  bearWith(peer: string, nowMs: number): void {
    const requests = this.#requestsOf(peer)
    const mostMs = MAX_SILENCE_FACTOR * this.#silenceMs
    requests.silenceMs = Math.min(2 * requests.silenceMs, mostMs)
    requests.silentSinceMs = nowMs
    requests.owedMs = nowMs
  }

  /** A neighbour is given longer than others, because it is slow. */
  isBorneWith(peer: string): boolean {
    return this.silenceMsOf(peer) > this.#silenceMs
  }

  /** How long a neighbour may be silent. */
  silenceMsOf(peer: string): number {
    return this.#neighbours.get(peer)?.silenceMs ?? this.#silenceMs
  }

  /** Requests that a neighbour has to answer and that are not given up. */
  pendingOf(peer: string): PendingRequest[] {
    return Array.from(this.#neighbours.get(peer)?.pending.values() ?? [])
  }

  /** Tells whether a request waits for so long that the chunk should be asked for elsewhere, too. */
  isOverdue(request: PendingRequest, nowMs: number): boolean {
    return request.requestClass === 'demand' && nowMs - request.issuedMs > this.#demandMs
  }

  #isSilent(requests: NeighbourRequests, nowMs: number): boolean {
    const { pending, abandoned, silentSinceMs, owedMs, silenceMs } = requests
    if (pending.size > 0 && nowMs - silentSinceMs > silenceMs) return true
    return abandoned.size > 0 && nowMs - owedMs > OWED_FACTOR * silenceMs
  }

  #requestsOf(peer: string): NeighbourRequests {
    const known = this.#neighbours.get(peer)
    if (known !== undefined) return known
    const requests: NeighbourRequests = {
      pending: new Map(),
      abandoned: new Map(),
      bytes: 0,
      partBytes: 0,
      activeMs: 0,
      silentSinceMs: 0,
      owedMs: 0,
      silenceMs: this.#silenceMs
    }
    this.#neighbours.set(peer, requests)
    return requests
  }

  #count(requests: NeighbourRequests, request: PendingRequest, sign: 1 | -1): void {
    requests.bytes += sign * request.bytes
    this.#bytes += sign * request.bytes
    const { chunk } = request
    if (chunk === undefined) {
      this.#unboundCount += sign
      return
    }
    const others = (this.#byChunk.get(chunk) ?? []).filter(({ id }) => id !== request.id)
    if (sign === 1) others.push(request)
    if (others.length === 0) this.#byChunk.delete(chunk)
    else this.#byChunk.set(chunk, others)
  }
}
