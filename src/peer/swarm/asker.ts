import type { ChunkStore } from '../../chunks/store-types.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import type { TokenBucket } from '../../lib/token-bucket.ts'
import type { AskReason } from './ask-reason.ts'
import type { ChunkTable } from './chunk-table.ts'
import type { Neighbour } from './neighbour.ts'
import type { DownloadPlan } from './plan.ts'
import type { PendingRequest } from './requests.ts'

export interface AskerComponents {
  readonly table: ChunkTable
  readonly neighbours: ReadonlyMap<string, Neighbour>
  readonly plan: DownloadPlan
  readonly store: ChunkStore
  readonly clock: Clock
  /** Download rate of the whole agent. */
  readonly limiter: TokenBucket
  /** Called for every request that goes out. */
  readonly onAsked: (peer: string, reason: AskReason) => void
  /** Called for a chunk that turned up in the store when it was about to be asked for. */
  readonly onFound: (chunk: number) => void
}

/** Sends the requests that a plan chooses, as fast as credit and rate allow. */
export class Asker {
  readonly #components: AskerComponents
  #isStarted = false
  #cancelLater: Cancel | undefined

  constructor(components: AskerComponents) {
    this.#components = components
  }

  /** The rate limit is what requests wait for. */
  get isLimited(): boolean {
    return this.#cancelLater !== undefined
  }

  start(): void {
    this.#isStarted = true
    this.askAll()
  }

  /** Asks for nothing any more, and takes back what was asked. */
  stop(): void {
    this.#isStarted = false
    this.#stopWaiting()
    for (const peer of this.#components.neighbours.keys()) this.takeBack(peer)
  }

  askAll(): void {
    for (const neighbour of this.#components.neighbours.values()) this.ask(neighbour)
  }

  /** Asks a neighbour for as much as it may be asked for now. */
  ask(neighbour: Neighbour): void {
    const { clock, limiter, plan, table, onAsked } = this.#components
    const nowMs = clock.monotonic()
    while (this.#isStarted && neighbour.leaving === undefined) {
      const waitMs = limiter.delayMs(table.manifest.chunkBytes)
      if (waitMs > 0) {
        this.#askLater(waitMs)
        return
      }
      this.#stopWaiting() // the limit may have been raised meanwhile
      const planned = plan.next(neighbour, nowMs)
      if (planned === undefined) return
      const { request, maxCopies } = planned
      if (this.#isFound(request)) continue
      const { id, requestClass, chunk, reason } = request
      onAsked(neighbour.peerId, reason)
      limiter.tryTake(request.bytes)
      const ask = { request: id, requestClass, maxCopies }
      neighbour.link.post(
        chunk === undefined ? { type: 'any', ...ask } : { type: 'request', ...ask, index: chunk }
      )
    }
  }

  /** Cancels what a neighbour has not answered, all or some of it; others may be asked for it. @returns how much. */
  takeBack(peer: string, isTaken?: (request: PendingRequest) => boolean): number {
    const { clock, plan } = this.#components
    const requests = plan.giveUp(peer, clock.monotonic(), isTaken)
    for (const request of requests) this.cancel(request)
    return requests.length
  }

  /** Tells a neighbour that an answer is of no use any more. */
  cancel(request: PendingRequest): void {
    const { neighbours } = this.#components
    neighbours.get(request.peer)?.link.post({ type: 'cancel', request: request.id })
  }

  /** Another image, or an upload, may have brought the chunk since the download began. */
  #isFound(request: PendingRequest): boolean {
    const { plan, store, table, onFound } = this.#components
    const { chunk } = request
    if (chunk === undefined || !store.has(table.id(chunk))) return false
    plan.unask(request)
    onFound(chunk)
    return true
  }

  #stopWaiting(): void {
    this.#cancelLater?.()
    this.#cancelLater = undefined
  }

  #askLater(waitMs: number): void {
    this.#cancelLater ??= this.#components.clock.schedule(() => {
      this.#cancelLater = undefined
      this.askAll()
    }, Math.ceil(waitMs))
  }
}
