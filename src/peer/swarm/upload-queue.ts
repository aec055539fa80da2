import { ProtocolViolationError } from '../errors.ts'
import { REQUEST_CLASSES, type RejectReason, type RequestClass } from '../protocols/swarm.ts'
import type { Spread } from './spread.ts'

/** A request of a neighbour. */
export interface UploadAsk {
  readonly request: number
  readonly requestClass: RequestClass
  readonly maxCopies: number
  /** Undefined when this agent chooses. */
  readonly chunk: number | undefined
}

/** What becomes of a request whose turn it is. */
export interface ChosenUpload extends UploadAsk {
  readonly chunk: number
}

/** The neighbour and the image that a queue is for. */
export interface UploadQueueComponents {
  readonly peer: string
  readonly spread: Spread
  /** Tells whether this agent announced the chunk. */
  readonly isHeld: (chunk: number) => boolean
  /** Tells whether the neighbour announced the chunk. */
  readonly remoteHolds: (chunk: number) => boolean
}

export interface UploadQueueOptions {
  /** Requests that may wait; more break the protocol. @default 512 */
  readonly maxPending?: number
}

/**
 * One neighbour's requests of one image. Pure: it says what to answer, and is told what was sent. Every
 * request goes `waiting → active → answered`; the most urgent class is next, in order of arrival inside
 * a class. A chunk counts as spread to the neighbour from the moment it is set aside for it.
 */
export class UploadQueue {
  readonly #components: UploadQueueComponents
  readonly #maxPending: number
  readonly #waiting: readonly UploadAsk[][] = REQUEST_CLASSES.map(() => [])
  /** Taken from the queues and not answered; true once the neighbour has cancelled. */
  readonly #active = new Map<number, boolean>()
  /** The active ones that somebody waits for. */
  readonly #activeDemands = new Set<number>()

  constructor(components: UploadQueueComponents, options: UploadQueueOptions = {}) {
    this.#components = components
    this.#maxPending = options.maxPending ?? 512
  }

  /** Requests that are not answered. */
  get pendingCount(): number {
    return this.#active.size + this.waitingCount
  }

  /** Requests whose turn has not come. */
  get waitingCount(): number {
    let count = 0
    for (const queue of this.#waiting) count += queue.length
    return count
  }

  /** The neighbour waits for a chunk that has not been sent. */
  get hasDemand(): boolean {
    return this.#activeDemands.size > 0 || this.mostUrgent === REQUEST_CLASSES.indexOf('demand')
  }

  /** The most urgent class that waits, as its place in `REQUEST_CLASSES`; undefined if none does. */
  get mostUrgent(): number | undefined {
    const place = this.#waiting.findIndex((queue) => queue.length > 0)
    return place === -1 ? undefined : place
  }

  /**
   * Takes a request.
   *
   * @returns why it is refused at once; undefined if it waits.
   * @throws {ProtocolViolationError} if too many are waiting.
   */
  ask(ask: UploadAsk): RejectReason | undefined {
    const { peer, spread, isHeld } = this.#components
    const { chunk, maxCopies, requestClass } = ask
    if (this.pendingCount >= this.#maxPending) {
      throw new ProtocolViolationError(peer, `${this.pendingCount} requests are waiting`)
    }
    if (chunk !== undefined) {
      if (!isHeld(chunk)) return 'notHeld'
      if (spread.copiesBeside(peer, chunk) > maxCopies) return 'spread'
      spread.add(peer, chunk)
    }
    this.#waiting[REQUEST_CLASSES.indexOf(requestClass)]?.push(ask)
    return undefined
  }

  /** Whose turn it is: `waiting → active`. @returns undefined if nobody waits. */
  take(): UploadAsk | undefined {
    for (const queue of this.#waiting) {
      const ask = queue.shift()
      if (ask === undefined) continue
      this.#active.set(ask.request, false)
      if (ask.requestClass === 'demand') this.#activeDemands.add(ask.request)
      return ask
    }
    return undefined
  }

  /** Chooses the chunk of an active request. @returns undefined if it must be refused as `spread`. */
  choose(ask: UploadAsk): ChosenUpload | undefined {
    const { peer, spread } = this.#components
    const chunk = ask.chunk ?? spread.pickFor(peer, ask.maxCopies)
    if (chunk === undefined) return undefined
    spread.add(peer, chunk)
    return { ...ask, chunk }
  }

  /** The neighbour needs no answer any more. @returns true if the request is to be rejected at once. */
  cancel(request: number): boolean {
    for (const queue of this.#waiting) {
      const at = queue.findIndex((waiting) => waiting.request === request)
      if (at === -1) continue
      const [ask] = queue.splice(at, 1)
      this.#takeBack(ask?.chunk)
      return true
    }
    if (this.#active.has(request)) this.#active.set(request, true)
    return false
  }

  /** Tells whether an active request was cancelled. */
  isCancelled(request: number): boolean {
    return this.#active.get(request) === true
  }

  /** A request was answered by the whole chunk: `active → answered`. */
  sent(request: number): void {
    this.#active.delete(request)
    this.#activeDemands.delete(request)
  }

  /** A request was answered by a reject: `active → answered`. Its chunk does not go to the neighbour. */
  rejected(request: number, chunk: number | undefined): void {
    this.sent(request)
    this.#takeBack(chunk)
  }

  /** Forgets what is not answered; the neighbour is gone. */
  clear(): void {
    for (const queue of this.#waiting) queue.length = 0
    this.#active.clear()
    this.#activeDemands.clear()
  }

  #takeBack(chunk: number | undefined): void {
    const { peer, spread, remoteHolds } = this.#components
    if (chunk !== undefined && !remoteHolds(chunk)) spread.remove(peer, chunk)
  }
}
