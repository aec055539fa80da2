import type { Bitfield } from '../../chunks/bitfield.ts'
import { KIB, MIB } from '../../lib/bytes.ts'
import type { Random } from '../../lib/random.ts'
import { RateMeter } from '../../lib/rate-meter.ts'
import { ANY_COPIES, type RejectReason, type RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'
import { Availability } from './availability.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Patience, type PatienceOptions } from './patience.ts'
import { type Holds, type Pick, Picker } from './picker.ts'
import { type PendingRequest, type RequestDeadlines, RequestLedger } from './requests.ts'
import type { Scorecard } from './scorecard.ts'

export interface DownloadPlanOptions extends RequestDeadlines, PatienceOptions {
  /** Bytes asked for and not yet stored, of all neighbours. @default 32 MiB */
  readonly maxInFlightBytes?: number
  /** Chunks asked for in all, in equal shares, before rates are known; each neighbour's is a chunk at least. @default 16 */
  readonly sharedCreditChunks?: number
  /** Bytes that may be asked for while somebody waits for chunks now and then, however slow they come. @default 256 KiB */
  readonly leastBackgroundBytes?: number
  /** With no more chunks missing than this, they are asked for at a second neighbour, too. @default 16 */
  readonly endgameChunks?: number
  /** Age of a request before the endgame doubles it; at least twice the usual time. @default 250 ms */
  readonly endgameDelayMs?: number
  /** Age of a request before an idle neighbour is asked for the same at any time; at least four times the usual. @default 3000 */
  readonly doubleAfterMs?: number
}

/** A neighbour as a plan sees it. */
export interface PlanNeighbour {
  readonly peerId: string
  /** It wanted nothing when it came; what only sources hold has not spread yet. */
  readonly isSource: boolean
  readonly scorecard: Scorecard
  readonly holds: Holds
  /** The chunks that it holds; not to be changed. */
  readonly held: Bitfield
}

/** What a plan is about. */
export interface DownloadPlanComponents {
  readonly table: ChunkTable
  readonly random: Random
  /** Tells whether a chunk is stored; the plan keeps no record of its own. */
  readonly isStored: (chunk: number) => boolean
}

/** A request as it goes out. */
export interface PlannedRequest {
  readonly request: PendingRequest
  readonly maxCopies: number
}

interface Choice {
  readonly chunk?: number
  readonly requestClass: RequestClass
  readonly reason: AskReason
  readonly maxCopies: number
}

// How long a source is believed that a chunk, or all of its chunks, are on their way to somebody else.
const SPREAD_BELIEVED_MS = 1000
const PROMISE_BELIEVED_MS = 5000
// With nobody but sources for this long, there is nobody to wait for.
const ALONE_AFTER_MS = 1000
const MAX_ASKED_TWICE = 2
// Chunks that a neighbour may be asked for beyond its credit when somebody waits for them.
const DEMANDED_AHEAD_CHUNKS = 8
// After a demand another is likely for this long; background then fills the way down no more than this.
const DEMANDED_AGAIN_MS = 2000
const BACKGROUND_QUEUE_MS = 30
// A neighbour that answers this many cancelled requests neither way is asked for nothing more.
const MAX_ABANDONED = 32
// Requests that a neighbour may have to answer, whatever its credit; it takes twice as many (protocols/swarm.ts).
const MAX_OWED = 256
// Weight of the newest answer in the usual time that answers take.
const ANSWER_WEIGHT = 0.1

/**
 * Decides what to ask which neighbour for. Pure: it is told what happens and when, and never waits.
 *
 * A chunk is `open → pending → storing → stored`, and goes back to `open` when nobody is asked for it
 * any more. Sources are asked for what has not spread (they choose it themselves where there is one
 * source only), other neighbours for the rarest of what they hold. A source is asked for a chunk that
 * others hold only when they give nothing for a while, or nobody else is there, so that it sends each
 * chunk about once.
 */
export class DownloadPlan {
  readonly ledger: RequestLedger
  readonly picker: Picker
  readonly #table: ChunkTable
  readonly #isStored: (chunk: number) => boolean
  readonly #availability: Availability
  readonly #patience: Patience
  readonly #options: Required<Omit<DownloadPlanOptions, keyof (RequestDeadlines & PatienceOptions)>>
  readonly #neighbours = new Set<PlanNeighbour>()
  readonly #storing = new Set<number>()
  /** Chunks that a source said to be on their way to others, each counted as one more copy. */
  readonly #promisedUntilMs = new Map<number, number>()
  readonly #spreadUntilMs = new Map<string, number>()
  #storingBytes = 0
  #missing = 0
  #sourceCount = 0
  #otherCount = 0
  #aloneSinceMs = 0
  #usualMs = 0
  #demandedMs = -Infinity
  readonly #byteRate = new RateMeter()

  constructor(components: DownloadPlanComponents, options: DownloadPlanOptions = {}) {
    const { table, random } = components
    this.#table = table
    this.#isStored = components.isStored
    this.#options = {
      maxInFlightBytes: 32 * MIB,
      sharedCreditChunks: 16,
      leastBackgroundBytes: 256 * KIB,
      endgameChunks: 16,
      endgameDelayMs: 250,
      doubleAfterMs: 3000,
      ...options
    }
    this.ledger = new RequestLedger(options)
    this.#availability = new Availability(table.count, random)
    this.picker = new Picker({ availability: this.#availability, random })
    this.#patience = new Patience(options)
  }

  /** Chunks that are not stored. */
  get missing(): number {
    return this.#missing
  }

  /** Chunks that came and are not stored yet. */
  get storingCount(): number {
    return this.#storing.size
  }

  /** Chunks that nobody is asked for. */
  get openCount(): number {
    return this.#availability.openCount
  }

  /** The image lacks a chunk from now on. */
  want(chunk: number): void {
    this.#missing++
    this.#availability.open(chunk)
  }

  /** Begins to count the time without arrivals. */
  begin(nowMs: number): void {
    this.#patience.begin(nowMs)
    this.#aloneSinceMs = nowMs
  }

  /** Tells whether the bytes of a chunk would be of use. */
  isNeeded(chunk: number): boolean {
    return !this.#isStored(chunk) && !this.#storing.has(chunk)
  }

  /** A neighbour came. */
  joined(neighbour: PlanNeighbour): void {
    this.#neighbours.add(neighbour)
    if (neighbour.isSource) {
      this.#sourceCount++
      return
    }
    this.#otherCount++
    for (const chunk of neighbour.held.ones()) this.#availability.increment(chunk)
  }

  /** A neighbour went, and with it what it was asked for. */
  left(neighbour: PlanNeighbour, nowMs: number): void {
    this.#neighbours.delete(neighbour)
    if (neighbour.isSource) this.#sourceCount--
    else {
      this.#otherCount--
      this.#aloneSinceMs = nowMs
      for (const chunk of neighbour.held.ones()) this.#availability.decrement(chunk)
    }
    for (const { chunk } of this.ledger.drop(neighbour.peerId)) this.#reopen(chunk)
    this.#spreadUntilMs.clear()
  }

  /** A neighbour has one more chunk. */
  gained(neighbour: PlanNeighbour, chunk: number): void {
    if (!neighbour.isSource) this.#availability.increment(chunk)
  }

  /** A neighbour turned out not to have a chunk. */
  lost(neighbour: PlanNeighbour, chunk: number): void {
    if (!neighbour.isSource) this.#availability.decrement(chunk)
  }

  /** Chooses the next request to a neighbour and notes it; undefined if there is none now. */
  next(neighbour: PlanNeighbour, nowMs: number): PlannedRequest | undefined {
    if (this.picker.isUrgent) this.#demandedMs = nowMs
    if (!this.#mayAsk(neighbour, nowMs)) return undefined
    const choice = this.#choose(neighbour, nowMs)
    if (choice === undefined) return undefined
    const { chunk, requestClass, reason, maxCopies } = choice
    const bytes = chunk === undefined ? this.#table.byteLength(0) : this.#table.byteLength(chunk)
    const ask = { chunk, requestClass, reason, bytes }
    const request = this.ledger.issue(neighbour.peerId, ask, nowMs)
    if (chunk !== undefined) this.#availability.close(chunk)
    if (neighbour.isSource && maxCopies === ANY_COPIES) this.#patience.spend(bytes)
    return { request, maxCopies }
  }

  /** Notes which chunk a neighbour chose. */
  bound(request: PendingRequest, chunk: number): PendingRequest {
    this.#availability.close(chunk)
    return this.ledger.bind(request, chunk)
  }

  /** A right chunk came: `pending → storing`. @returns other requests for it, which are needless now. */
  arrived(neighbour: PlanNeighbour, request: PendingRequest, nowMs: number): PendingRequest[] {
    const { chunk } = request
    if (chunk === undefined) return []
    this.ledger.settle(request)
    this.#usualMs += (nowMs - request.issuedMs - this.#usualMs) * ANSWER_WEIGHT
    this.#availability.close(chunk)
    this.#storing.add(chunk)
    this.#byteRate.add(this.#table.byteLength(chunk), nowMs)
    this.#storingBytes += this.#table.byteLength(chunk)
    this.#patience.arrived(neighbour.isSource, nowMs)
    const needless = Array.from(this.ledger.pendingFor(chunk))
    for (const other of needless) this.ledger.abandon(other)
    return needless
  }

  /** `storing → stored`. */
  stored(chunk: number): void {
    if (this.#storing.delete(chunk)) this.#storingBytes -= this.#table.byteLength(chunk)
    this.#settle(chunk)
  }

  /** The chunk of a request that did not go out turned up in the store: `pending → stored`. */
  unask(request: PendingRequest): void {
    this.ledger.settle(request)
    if (request.chunk !== undefined) this.#settle(request.chunk)
  }

  /** Nothing is wanted any more. Requests must have been given up; their answers may still come. */
  end(): void {
    for (const chunk of this.#table.distinct()) {
      this.#availability.close(chunk)
      this.picker.settle(chunk)
    }
    this.#storing.clear()
    this.#storingBytes = 0
    this.#missing = 0
  }

  /** An answer without a usable chunk came: `pending → open`. */
  rejected(request: PendingRequest, reason: RejectReason | 'unusable', nowMs: number): void {
    const { chunk, peer } = request
    const wasPending = this.ledger.pendingOf(peer).some(({ id }) => id === request.id)
    this.ledger.settle(request)
    this.#reopen(chunk)
    if (reason !== 'spread' || !wasPending) return
    if (chunk === undefined) this.#spreadUntilMs.set(peer, nowMs + SPREAD_BELIEVED_MS)
    else if (!this.#promisedUntilMs.has(chunk)) {
      this.#promisedUntilMs.set(chunk, nowMs + PROMISE_BELIEVED_MS)
      this.#availability.increment(chunk)
    }
  }

  /** Takes everything back that a neighbour has not answered. @returns the requests to cancel. */
  giveUp(peer: string): PendingRequest[] {
    const pending = this.ledger.pendingOf(peer)
    for (const request of pending) {
      this.ledger.abandon(request)
      this.#reopen(request.chunk)
    }
    return pending
  }

  /** Lets beliefs expire and patience end. Call it a few times a second. */
  tick(nowMs: number, chunksPerSecond: number): void {
    for (const [chunk, untilMs] of this.#promisedUntilMs) {
      if (untilMs > nowMs) break
      this.#promisedUntilMs.delete(chunk)
      this.#availability.decrement(chunk)
    }
    if (this.openCount > 0) this.#patience.tick(nowMs, chunksPerSecond)
  }

  #settle(chunk: number): void {
    this.#missing--
    this.picker.settle(chunk)
  }

  #reopen(chunk: number | undefined): void {
    if (chunk === undefined || !this.isNeeded(chunk)) return
    if (this.ledger.pendingFor(chunk).length === 0) this.#availability.open(chunk)
  }

  #mayAsk(neighbour: PlanNeighbour, nowMs: number): boolean {
    const chunkBytes = this.#table.manifest.chunkBytes
    const { peerId } = neighbour
    if (this.ledger.abandonedBy(peerId) >= MAX_ABANDONED) return false
    if (this.ledger.owedBy(peerId) >= MAX_OWED) return false
    const toCome = this.ledger.bytesToCome(peerId)
    const aheadBytes = this.#aheadOf(neighbour, nowMs)
    const moreBytes = this.picker.isUrgent ? DEMANDED_AHEAD_CHUNKS * chunkBytes : 0
    if (toCome > 0 && toCome > aheadBytes + moreBytes) return false
    const inFlight = this.ledger.bytes + this.#storingBytes
    return inFlight === 0 || inFlight + chunkBytes <= this.#maxInFlightBytes(nowMs)
  }

  /** While somebody waits for chunks now and then, the others leave the way down nearly free. */
  #maxInFlightBytes(nowMs: number): number {
    const { leastBackgroundBytes, maxInFlightBytes } = this.#options
    const isQuiet = nowMs - this.#demandedMs > DEMANDED_AGAIN_MS
    if (isQuiet || this.picker.isUrgent) return maxInFlightBytes
    const queued = (this.#byteRate.perSecond(nowMs) * BACKGROUND_QUEUE_MS) / 1000
    return Math.max(queued, leastBackgroundBytes)
  }

  /** A neighbour that has no more than this to send is asked for another chunk. */
  #aheadOf({ scorecard }: PlanNeighbour, nowMs: number): number {
    if (scorecard.isOnProbation) return 0
    const chunkBytes = this.#table.manifest.chunkBytes
    const neighbourCount = this.#sourceCount + this.#otherCount
    const share = (this.#options.sharedCreditChunks * chunkBytes) / neighbourCount
    const credit = Math.max(share, scorecard.creditBytes) - chunkBytes
    return Math.max(credit, scorecard.aheadBytes(nowMs))
  }

  #choose(neighbour: PlanNeighbour, nowMs: number): Choice | undefined {
    const { holds } = neighbour
    const urgent = this.picker.pickPrioritised(holds)
    if (urgent !== undefined) {
      if (!this.#isSoonest(urgent, neighbour, nowMs)) return undefined
      return withAnyCopies(urgent, reasonOf(urgent.requestClass))
    }
    if (this.picker.isUrgent) return this.#chooseAgain(neighbour, nowMs)
    const rest = neighbour.isSource
      ? this.#chooseAtSource(neighbour, nowMs)
      : withAnyCopies(this.picker.pickRest(holds, { from: 1 }), 'rarest')
    return rest ?? this.#chooseAgain(neighbour, nowMs)
  }

  /** A demanded chunk is asked of whoever has the least else to send. */
  #isSoonest({ chunk, requestClass }: Pick, neighbour: PlanNeighbour, nowMs: number): boolean {
    if (requestClass !== 'demand') return true
    const toCome = this.ledger.bytesToCome(neighbour.peerId)
    for (const other of this.#neighbours) {
      if (this.ledger.bytesToCome(other.peerId) >= toCome || !other.holds(chunk)) continue
      if (this.#mayAsk(other, nowMs) && !other.scorecard.isOnProbation) return false
    }
    return true
  }

  #chooseAtSource(source: PlanNeighbour, nowMs: number): Choice | undefined {
    const freshCount = this.#availability.openAt(0) - this.ledger.unboundCount
    if (freshCount > 0 && (this.#spreadUntilMs.get(source.peerId) ?? 0) <= nowMs) {
      if (this.#sourceCount === 1) return { requestClass: 'rest', reason: 'any', maxCopies: 0 }
      const fresh = this.picker.pickRest(source.holds, { to: 0 })
      if (fresh !== undefined) return { ...fresh, reason: 'fresh', maxCopies: 0 }
    }
    const isAlone = this.#otherCount === 0 && nowMs - this.#aloneSinceMs > ALONE_AFTER_MS
    if (!this.#patience.isOver && !isAlone) return undefined
    if (this.openCount <= this.ledger.unboundCount) return undefined // sources are about to choose them
    return withAnyCopies(this.picker.pickRest(source.holds), isAlone ? 'alone' : 'patience')
  }

  /** Near the end, or when an answer is long in coming, asks a second neighbour for the same chunk. */
  #chooseAgain(neighbour: PlanNeighbour, nowMs: number): Choice | undefined {
    const { endgameChunks, endgameDelayMs, doubleAfterMs } = this.#options
    const isEndgame = this.#missing <= endgameChunks && !neighbour.isSource
    const ageMs = isEndgame
      ? Math.max(endgameDelayMs, 2 * this.#usualMs)
      : Math.max(doubleAfterMs, 4 * this.#usualMs)
    const { isUrgent } = this.picker
    for (const [chunk, requests] of this.ledger.pendingChunks()) {
      const [first] = requests
      if (first === undefined) continue
      const isOverdue = this.ledger.isOverdue(first, nowMs) || nowMs - first.issuedMs > ageMs
      // The oldest come first, so that the search is short unless a younger one is demanded.
      if (!isOverdue && !isUrgent) return undefined
      if (isUrgent && this.picker.classOf(chunk) !== 'demand') continue
      // What was asked for before anybody waited for it comes with less urgency than it has now.
      if (!isOverdue && first.requestClass === 'demand') continue
      if (requests.length >= MAX_ASKED_TWICE || !neighbour.holds(chunk)) continue
      if (first.peer === neighbour.peerId) continue
      const requestClass = this.picker.classOf(chunk)
      const reason = isEndgame ? 'endgame' : 'overdue'
      return { chunk, requestClass, reason, maxCopies: ANY_COPIES }
    }
    return undefined
  }
}

function withAnyCopies(pick: Pick | undefined, reason: AskReason): Choice | undefined {
  return pick === undefined ? undefined : { ...pick, reason, maxCopies: ANY_COPIES }
}

function reasonOf(requestClass: RequestClass): AskReason {
  return requestClass === 'rest' ? 'rarest' : requestClass
}
