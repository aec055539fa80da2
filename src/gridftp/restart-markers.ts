import type { Cancel, Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { subtractRanges } from '../lib/range-arithmetic.ts'
import { type Range, RangeSet } from '../lib/range-set.ts'
import type { WriteHandle } from './dsi.ts'
import { type Reply, reply } from './replies.ts'
import { formatRanges } from './restart-ranges.ts'

/** Ranges in one marker: 2.5 KB at most. */
const RANGES_PER_MARKER = 100

/** Ranges in all markers that go out at the same time; what is left comes with the next ones. */
const RANGES_AT_ONCE = 2000

/** What restart markers are made of, and where they go. */
export interface RestartMarkerComponents {
  readonly clock: Clock
  readonly logger: Logger
  readonly handle: Pick<WriteHandle, 'checkpoint'>
  /** Sends a marker. @returns false if it was dropped, because the client does not read its replies. */
  readonly send: (marker: Reply) => boolean
}

export interface RestartMarkerOptions {
  /** Time from one marker to the next, in milliseconds. @default 5000 */
  readonly intervalMs?: number | undefined
  /** Subtracted from what the storage says: partial transfers count from 0. @default 0 */
  readonly base?: number | undefined
  /** What the client knows to be there already, in bytes of the file. @default nothing */
  readonly claimed?: readonly Range[] | undefined
}

/**
 * Sends restart markers (111) while an upload in extended block mode runs: what has become durable
 * since the one before, half-open, never empty. Each is a promise that the storage has kept already.
 *
 * @see GFD.020, restart markers
 */
export class RestartMarkers {
  readonly #components: RestartMarkerComponents
  readonly #intervalMs: number
  readonly #base: number
  /** What the client has been told, or has told us. */
  readonly #told = new RangeSet()
  #cancel: Cancel | undefined
  #running: Promise<void> = Promise.resolve()
  #hasFailed = false

  constructor(components: RestartMarkerComponents, options: RestartMarkerOptions = {}) {
    const { intervalMs = 5000, base = 0, claimed = [] } = options
    if (!(intervalMs > 0)) throw new RangeError(`intervalMs must be above 0, not ${intervalMs}`)
    this.#components = components
    this.#intervalMs = intervalMs
    this.#base = base
    for (const { start, end } of claimed) this.#told.add(start, end)
  }

  /** Bytes that need not be sent again. */
  get promisedBytes(): number {
    return this.#told.size
  }

  /** Sends markers from now on, until one of the others is called. */
  start(): void {
    const { clock, handle } = this.#components
    if (handle.checkpoint === undefined) return
    this.#cancel = clock.schedule(() => {
      this.#running = this.#tick()
    }, this.#intervalMs)
  }

  /** Resolves when nothing is sent any more. */
  async stop(): Promise<void> {
    for (;;) {
      this.#cancel?.()
      this.#cancel = undefined
      const running = this.#running
      await running
      if (running === this.#running && this.#cancel === undefined) return
    }
  }

  /** For an upload that broke: makes durable what has arrived, and says so before it is answered. */
  async breakOff(): Promise<void> {
    await this.stop()
    await this.#checkpoint()
  }

  /** For an upload that is published: all of it, from its first byte to its last, is there now. */
  finish(received: Range): void {
    this.#tell([received])
  }

  /** As `finish`, of an upload of which others received a part, too. */
  finishAll(received: Iterable<Range>): void {
    this.#tell(received)
  }

  async #tick(): Promise<void> {
    await this.#checkpoint()
    if (!this.#hasFailed) this.start()
  }

  /** Does not reject: whoever has no markers sends everything again. */
  async #checkpoint(): Promise<void> {
    const { handle, logger } = this.#components
    if (handle.checkpoint === undefined || this.#hasFailed) return
    try {
      this.#tell(await handle.checkpoint())
    } catch (error) {
      this.#hasFailed = true
      logger.debug('no restart markers from here on: %e', error)
    }
  }

  #tell(durable: Iterable<Range>): void {
    const added = subtractRanges(durable, this.#told)
    const ranges: Range[] = []
    for (const range of added) if (ranges.push(range) === RANGES_AT_ONCE) break
    for (let from = 0; from < ranges.length; from += RANGES_PER_MARKER) {
      const some = ranges.slice(from, from + RANGES_PER_MARKER)
      const marker = reply(111, `Range Marker ${formatRanges(some, this.#base)}`)
      if (!this.#components.send(marker)) return
      for (const { start, end } of some) this.#told.add(start, end)
    }
  }
}
