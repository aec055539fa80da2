import { KIB } from '../../lib/bytes.ts'
import type { EventLog } from '../../lib/events.ts'
import { DownloadStalledError, type Wait } from './errors.ts'
import type { SwarmEvent } from './events.ts'
import type { WaitCause } from './wait-cause.ts'

export interface WatchdogOptions {
  /** After so long without progress, and again after every further time, all is looked for anew. @default 10_000 */
  readonly stuckMs?: number
  /** A download fails when nothing has come for this long. @default 120_000 */
  readonly stallMs?: number
}

/** What a watchdog watches and can do. */
export interface WatchdogComponents {
  readonly image: string
  readonly events: EventLog<SwarmEvent>
  /** Finds out why nothing comes. */
  readonly cause: () => WaitCause
  /** Nothing has come for too long: whoever is asked is of no use. */
  readonly onStuck: () => void
  readonly onGiveUp: (error: DownloadStalledError) => void
}

// A wait shorter than this has no name.
const WAITING_AFTER_MS = 1000
const LOOK_EVERY_MS = 500
// Fewer bytes than this are progress only if they complete a chunk: drops do not keep a download going.
const LEAST_PROGRESS_BYTES = 16 * KIB

/**
 * Watches whether a download moves: `moving → waiting → stuck → given up`, and back to `moving` with
 * whatever comes. Every wait has a reason, and a time at which something else is tried. Pure but for what
 * it tells.
 */
export class Watchdog {
  readonly #components: WatchdogComponents
  readonly #stuckMs: number
  readonly #stallMs: number
  #progressedMs = 0
  #progressBytes = 0
  /** Time that the rate limit took since the last progress; it does not count towards giving up. */
  #limitedMs = 0
  #lookedMs = 0
  #stuckCount = 0
  #cause: WaitCause | undefined
  #causeSinceMs = 0

  constructor(components: WatchdogComponents, options: WatchdogOptions = {}) {
    const { stuckMs = 10_000, stallMs = 120_000 } = options
    if (!(stuckMs > 0 && stallMs > 0)) {
      throw new RangeError(`stuck after ${stuckMs} ms, given up after ${stallMs} ms`)
    }
    this.#components = components
    this.#stuckMs = stuckMs
    this.#stallMs = stallMs
  }

  /** Begins to count. */
  begin(nowMs: number): void {
    this.#cause = undefined
    this.#progressed(nowMs)
  }

  /** The download is over: `any → moving`. */
  end(nowMs: number): void {
    this.#leave(nowMs)
  }

  /** Bytes came that may become a chunk. */
  received(bytes: number, nowMs: number): void {
    this.#progressBytes += bytes
    if (this.#progressBytes >= LEAST_PROGRESS_BYTES) this.#progressed(nowMs)
  }

  /** A chunk is there: `any → moving`. */
  stored(nowMs: number): void {
    this.#progressed(nowMs)
  }

  /** What is waited for now; undefined while chunks come. */
  wait(nowMs: number): Wait | undefined {
    if (this.#cause === undefined) return undefined
    const { reason, peers, nextInMs = Infinity } = this.#cause
    const waitedMs = nowMs - this.#progressedMs
    const stuckInMs = this.#progressedMs + (this.#stuckCount + 1) * this.#stuckMs - nowMs
    const giveUpInMs = Math.max(0, this.#stallMs - (waitedMs - this.#limitedMs))
    return {
      reason,
      waitedMs,
      nextInMs: Math.max(0, Math.min(nextInMs, stuckInMs, giveUpInMs)),
      giveUpInMs: reason === 'rate limit' ? undefined : giveUpInMs,
      peers
    }
  }

  /** Looks at the time. Call it a few times a second. */
  tick(nowMs: number): void {
    const waitedMs = nowMs - this.#progressedMs
    if (waitedMs < WAITING_AFTER_MS) return
    const cause = this.#look(nowMs)
    if (waitedMs - this.#limitedMs >= this.#stallMs) {
      const stalled = { reason: cause.reason, peers: cause.peers, waitedMs }
      this.#components.onGiveUp(new DownloadStalledError(this.#components.image, stalled))
    } else if (waitedMs >= (this.#stuckCount + 1) * this.#stuckMs)
      this.#becomeStuck(cause, waitedMs)
  }

  #look(nowMs: number): WaitCause {
    if (this.#cause !== undefined && nowMs - this.#lookedMs < LOOK_EVERY_MS) return this.#cause
    if (this.#cause?.reason === 'rate limit') this.#limitedMs += nowMs - this.#lookedMs
    this.#lookedMs = nowMs
    const cause = this.#components.cause()
    this.#enter(cause, nowMs)
    return cause
  }

  #progressed(nowMs: number): void {
    this.#progressedMs = nowMs
    this.#progressBytes = 0
    this.#limitedMs = 0
    this.#stuckCount = 0
    this.#leave(nowMs)
  }

  #becomeStuck({ reason }: WaitCause, waitedMs: number): void {
    const { image, events, onStuck } = this.#components
    this.#stuckCount++
    if (reason === 'rate limit' || reason === 'disk') return // nobody else could help
    events.emit({ event: 'download-stuck', image, reason, ms: Math.round(waitedMs) })
    onStuck()
  }

  #enter(cause: WaitCause, nowMs: number): void {
    const { image, events } = this.#components
    const { reason, peers } = cause
    if (this.#cause?.reason !== reason) {
      const isFirst = this.#cause === undefined
      this.#leave(nowMs)
      this.#causeSinceMs = isFirst ? this.#progressedMs : nowMs
      events.emit({ event: 'download-waiting', image, reason, peers })
    }
    this.#cause = cause
  }

  #leave(nowMs: number): void {
    if (this.#cause === undefined) return
    const { image, events } = this.#components
    const { reason } = this.#cause
    const ms = Math.round(nowMs - this.#causeSinceMs)
    this.#cause = undefined
    events.emit({ event: 'download-waited', image, reason, ms })
  }
}
