import { type Range, RangeSet } from '../lib/range-set.ts'
import { coveredRanges } from '../metadata/claimed-leaves.ts'
import type { ReceivedStripe, StripeSession } from '../metadata/stripe-types.ts'
import type { RestartMarkers } from './restart-markers.ts'
import { mayBeRestarted, openRestartMarkers } from './restart-uploads.ts'
import type { StripedWriteHandle } from './striped-storage.ts'
import type { Stripes } from './stripes.ts'
import type { CommandContext } from './types.ts'
import type { UploadRequest } from './upload.ts'

/**
 * What can be continued of a striped upload that breaks: asks the movers what they have stored, notes
 * it, and tells the client, in restart markers of its own for each stripe.
 */
export class StripedRestart {
  /** The upload can be continued at all. */
  readonly isPossible: boolean
  readonly #stripes: readonly NotedStripe[]
  readonly #markers: readonly RestartMarkers[]

  constructor(
    context: CommandContext,
    request: UploadRequest,
    { handle, stripes }: { readonly handle: StripedWriteHandle; readonly stripes: Stripes }
  ) {
    this.isPossible = mayBeRestarted(context, request)
    this.#stripes = stripes.sessions.map((session) => new NotedStripe(session, handle))
    this.#markers = this.#stripes.map((stripe) =>
      openRestartMarkers(context, request, this.isPossible ? stripe : {})
    )
  }

  /** Sends markers until one of the others is called. */
  start(): void {
    for (const markers of this.#markers) markers.start()
  }

  /** Says that a mover is done. */
  received(index: number, stored: ReceivedStripe): void {
    this.#stripes[index]?.finish(stored)
  }

  /** Resolves when nothing is sent any more. */
  async stop(): Promise<void> {
    await Promise.all(this.#markers.map(async (markers) => markers.stop()))
  }

  /** For an upload that is published. */
  finish(): void {
    for (const [index, markers] of this.#markers.entries()) {
      markers.finishAll(this.#stripes[index]?.receivedRanges() ?? [])
    }
  }

  /**
   * Ends an upload that failed. One that may be restarted is kept as far as its client has been told
   * what arrived; movers that are gone have nothing to say any more.
   */
  async giveUp(handle: StripedWriteHandle): Promise<void> {
    if (!this.isPossible) {
      await handle.abort()
      return
    }
    await Promise.all(this.#markers.map(async (markers) => markers.breakOff()))
    await handle.suspend()
  }
}

/** What has been noted of one stripe. */
class NotedStripe {
  readonly #session: StripeSession
  readonly #handle: StripedWriteHandle
  readonly #noted = new RangeSet()
  #stored: ReceivedStripe | undefined
  #isAllNoted = false

  constructor(session: StripeSession, handle: StripedWriteHandle) {
    this.#session = session
    this.#handle = handle
  }

  /** Says that the mover has stored the whole stripe. */
  finish(stored: ReceivedStripe): void {
    this.#stored = stored
  }

  /** All that was received, in bytes of the file. */
  receivedRanges(): Iterable<Range> {
    if (this.#stored === undefined) return []
    return coveredRanges(this.#stored.leaves, this.#handle.description.chunkBytes)
  }

  /** Notes what has been stored since the last time. @returns all that is noted. */
  async checkpoint(): Promise<Iterable<Range>> {
    if (this.#isAllNoted) return this.#noted
    const stored = this.#stored
    const leaves = stored?.leaves ?? (await this.#session.checkpoint())
    for (const { start, end } of await this.#handle.note(leaves)) this.#noted.add(start, end)
    if (stored !== undefined) this.#isAllNoted = true
    return this.#noted
  }
}
