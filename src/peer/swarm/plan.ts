import type { Bitfield } from '../../chunks/bitfield.ts'
import type { Random } from '../../lib/random.ts'
import { ANY_COPIES, type RejectReason, type RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'
import { Availability } from './availability.ts'
import type { ChunkTable } from './chunk-table.ts'
import { Credit, type CreditOptions } from './credit.ts'
import { Doubling, type DoublingOptions } from './doubling.ts'
import { Patience, type PatienceOptions } from './patience.ts'
import { type Holds, type Pick, Picker } from './picker.ts'
import { type PendingRequest, type RequestDeadlines, RequestLedger } from './requests.ts'
import type { Scorecard } from './scorecard.ts'

export interface DownloadPlanOptions
  extends CreditOptions,
    DoublingOptions,
    RequestDeadlines,
    PatienceOptions {}

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
  readonly #doubling: Doubling
  readonly #credit: Credit
  readonly #neighbours = new Set<PlanNeighbour>()
  readonly #storing = new Set<number>()
  /** Chunks that a source said to be on their way to others, each counted as one more copy. */
  readonly #promisedUntilMs = new Map<number, number>()
  readonly #spreadUntilMs = new Map<string, number>()
  #missing = 0
  #sourceCount = 0
  #otherCount = 0
  #aloneSinceMs = 0

  constructor(components: DownloadPlanComponents, options: DownloadPlanOptions = {}) {
    const { table, random } = components
    this.#table = table
    this.#isStored = components.isStored
    this.ledger = new RequestLedger(options)
    this.#availability = new Availability(table.count, random)
    this.picker = new Picker({ availability: this.#availability, random })
    this.#patience = new Patience(options)
    const { chunkBytes } = table.manifest
    const asking = { ledger: this.ledger, picker: this.picker }
    this.#credit = new Credit({ ...asking, chunkBytes }, options)
    this.#doubling = new Doubling(asking, options)
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
    if (this.picker.isUrgent) this.#credit.demanded(nowMs)
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
    this.#doubling.answered(nowMs - request.issuedMs)
    this.#availability.close(chunk)
    this.#storing.add(chunk)
    this.#credit.arrived(this.#table.byteLength(chunk), nowMs)
    this.#patience.arrived(neighbour.isSource, nowMs)
    const needless = Array.from(this.ledger.pendingFor(chunk))
    for (const other of needless) this.ledger.abandon(other, nowMs)
    return needless
  }

  /** `storing → stored`. */
  stored(chunk: number): void {
    if (this.#storing.delete(chunk)) this.#credit.stored(this.#table.byteLength(chunk))
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
    this.#credit.clear()
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

  /** Takes back what a neighbour has not answered, all or some of it. @returns the requests to cancel. */
  giveUp(
    peer: string,
    nowMs: number,
    isTaken: (request: PendingRequest) => boolean = () => true
  ): PendingRequest[] {
    const taken = this.ledger.pendingOf(peer).filter(isTaken)
    for (const request of taken) {
      this.ledger.abandon(request, nowMs)
      this.#reopen(request.chunk)
    }
    return taken
  }

  /**
   * Tells whether others could give all that is missing and that a neighbour holds: those that do not fail
   * just now and have given something, too, if it has. Takes the longer the more chunks are missing.
   */
  isReplaceable(neighbour: PlanNeighbour): boolean {
    const others = Array.from(this.#neighbours).filter(
      (other) => other !== neighbour && isAsGoodAs(other.scorecard, neighbour.scorecard)
    )
    for (const chunk of this.#table.distinct()) {
      if (!neighbour.holds(chunk) || !this.isNeeded(chunk)) continue
      if (!others.some((other) => other.holds(chunk))) return false
    }
    return true
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
    return this.#credit.mayAsk(neighbour, this.#sourceCount + this.#otherCount, nowMs)
  }

  #choose(neighbour: PlanNeighbour, nowMs: number): Choice | undefined {
    const { holds } = neighbour
    const urgent = this.picker.pickPrioritised(holds)
    if (urgent !== undefined) {
      if (!this.#isSoonest(urgent, neighbour, nowMs)) return undefined
      return withAnyCopies(urgent, reasonOf(urgent.requestClass))
    }
    if (this.picker.isUrgent) return this.#doubling.choose(neighbour, this.#missing, nowMs)
    const rest = neighbour.isSource
      ? this.#chooseAtSource(neighbour, nowMs)
      : withAnyCopies(this.picker.pickRest(holds, { from: 1 }), 'rarest')
    return rest ?? this.#doubling.choose(neighbour, this.#missing, nowMs)
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
}

/** One that fails is no better than another; nor is one that only says what it has, if the other gives. */
function isAsGoodAs(other: Scorecard, scorecard: Scorecard): boolean {
  return !other.isOnProbation && (other.chunks > 0 || scorecard.chunks === 0)
}

function withAnyCopies(pick: Pick | undefined, reason: AskReason): Choice | undefined {
  return pick === undefined ? undefined : { ...pick, reason, maxCopies: ANY_COPIES }
}

function reasonOf(requestClass: RequestClass): AskReason {
  return requestClass === 'rest' ? 'rarest' : requestClass
}
