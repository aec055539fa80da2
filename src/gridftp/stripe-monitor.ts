import type { Clock } from '../lib/clock.ts'
import { toError } from '../lib/to-error.ts'
import type { StripeProgress } from '../metadata/stripe-types.ts'
import { performanceMarker } from './markers.ts'
import type { Reply } from './replies.ts'
import type { Stripes } from './stripes.ts'
import type { Transfer } from './transfer.ts'

/** What is asked, and who is told. */
export interface StripeMonitorComponents {
  readonly clock: Clock
  readonly stripes: Stripes
  readonly transfer: Transfer
  /** Sends a marker; it may be dropped when the client does not read its replies. */
  readonly send: (marker: Reply) => void
}

/** How often movers are asked and markers are sent. */
export interface StripeMonitorOptions {
  /** How often the movers are asked how far they are, in milliseconds. */
  readonly askIntervalMs: number
  /** Time from one performance marker of a stripe to the next; undefined for none. */
  readonly markerIntervalMs: number | undefined
}

/**
 * Asks the movers of a transfer how far they are, which also tells them that this front is alive:
 * one that does not answer ends the transfer. Sends the performance markers of the stripes.
 */
export class StripeMonitor {
  readonly #components: StripeMonitorComponents
  readonly #options: StripeMonitorOptions
  readonly #stopped = new AbortController()
  readonly #movedBytes: number[]
  #lastMarkerMs: number
  #task: Promise<void> = Promise.resolve()

  constructor(components: StripeMonitorComponents, options: StripeMonitorOptions) {
    this.#components = components
    this.#options = options
    this.#movedBytes = components.stripes.sessions.map(() => 0)
    this.#lastMarkerMs = components.clock.monotonic()
  }

  /** Sends the first markers and goes on until `stop`. */
  start(): void {
    this.#sendMarkers()
    this.#task = this.#run()
  }

  /** Takes what the movers said in the end, and sends the last markers, right before the 226. */
  finish(movedBytes: readonly number[]): void {
    const ended = { isConnected: true, isStoring: false }
    this.#take(movedBytes.map((bytes) => ({ ...ended, movedBytes: bytes })))
    this.#sendMarkers()
  }

  /** Asks and sends nothing any more. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error('the transfer is over'))
    await this.#task
  }

  async #run(): Promise<void> {
    const { clock, stripes, transfer } = this.#components
    const { signal } = this.#stopped
    try {
      for (;;) {
        await clock.sleep(this.#options.askIntervalMs, { signal })
        const ask = stripes.all(async (session, _index, either) => {
          return await session.progress({ signal: either })
        }, signal)
        this.#take(await ask)
        if (this.#isMarkerDue()) this.#sendMarkers()
      }
    } catch (error) {
      if (!signal.aborted) transfer.abort(toError(error))
    }
  }

  #take(progress: readonly StripeProgress[]): void {
    const { transfer } = this.#components
    for (const [index, { movedBytes }] of progress.entries()) this.#movedBytes[index] = movedBytes
    if (progress.some(({ isConnected }) => isConnected)) transfer.isConnected = true
    const total = this.#movedBytes.reduce((sum, bytes) => sum + bytes, 0)
    // What is being stored moves nothing any more, and is no standstill.
    const hasMoved = total !== transfer.bytes || progress.some(({ isStoring }) => isStoring)
    transfer.bytes = total
    if (hasMoved) transfer.touch()
  }

  #isMarkerDue(): boolean {
    const { askIntervalMs, markerIntervalMs } = this.#options
    if (markerIntervalMs === undefined) return false
    const passedMs = this.#components.clock.monotonic() - this.#lastMarkerMs
    return passedMs + askIntervalMs / 2 >= markerIntervalMs
  }

  #sendMarkers(): void {
    if (this.#options.markerIntervalMs === undefined) return
    const { clock, stripes, send } = this.#components
    this.#lastMarkerMs = clock.monotonic()
    for (const [index, bytes] of this.#movedBytes.entries()) {
      send(performanceMarker(clock.now(), bytes, { index, count: stripes.count }))
    }
  }
}
