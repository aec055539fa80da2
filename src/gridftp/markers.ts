import type { Cancel, Clock } from '../lib/clock.ts'
import { type Reply, replyWithLines } from './replies.ts'

/** What markers are made of, and where they go. */
export interface MarkerComponents {
  readonly clock: Clock
  /** Sends a marker; it may be dropped when the client does not read its replies. */
  readonly send: (marker: Reply) => void
  /** Bytes that the storage has taken so far. */
  readonly bytes: () => number
}

/** How often markers are sent. */
export interface MarkerOptions {
  /** Time from one marker to the next, in milliseconds. @default 5000 */
  readonly intervalMs?: number
}

/**
 * Sends performance markers (112) while an upload in extended block mode runs: one at once, one
 * every interval, one at the end. Clients take their absence for a stalled transfer.
 *
 * @see GFD.020, performance markers
 */
export class PerformanceMarkers {
  readonly #components: MarkerComponents
  readonly #intervalMs: number
  #cancel: Cancel | undefined

  constructor(components: MarkerComponents, options: MarkerOptions = {}) {
    const { intervalMs = 5000 } = options
    if (!(intervalMs > 0)) throw new RangeError(`intervalMs must be above 0, not ${intervalMs}`)
    this.#components = components
    this.#intervalMs = intervalMs
  }

  /** Sends the first marker and goes on until `stop`. */
  start(): void {
    this.#send()
    this.#cancel = this.#components.clock.schedule(this.#tick, this.#intervalMs)
  }

  /** Sends the last marker, which comes right before the 226. */
  finish(): void {
    this.stop()
    this.#send()
  }

  /** Sends nothing any more. */
  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  readonly #tick = (): void => {
    this.#send()
    this.#cancel = this.#components.clock.schedule(this.#tick, this.#intervalMs)
  }

  #send(): void {
    const { clock, bytes, send } = this.#components
    send(performanceMarker(clock.now(), bytes()))
  }
}

/** The marker of one stripe; of the only one when left out. */
export function performanceMarker(
  nowMs: number,
  bytes: number,
  stripe: { readonly index: number; readonly count: number } = { index: 0, count: 1 }
): Reply {
  return replyWithLines(112, 'Perf Marker', [
    `Timestamp:  ${(nowMs / 1000).toFixed(1)}`,
    `Stripe Index: ${stripe.index}`,
    `Stripe Bytes Transferred: ${bytes}`,
    `Total Stripe Count: ${stripe.count}`
  ])
}
