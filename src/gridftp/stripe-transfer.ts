import type { Clock } from '../lib/clock.ts'
import { IdleTimer } from '../lib/idle-timer.ts'
import { toError } from '../lib/to-error.ts'
import { DataChannelError } from './errors.ts'

/** What can end a stripe's transfer, and who counts its bytes. */
export interface StripeTransferOptions {
  readonly signal: AbortSignal
  /** Fails when nothing is touched for this long, in milliseconds. */
  readonly idleMs: number
  readonly onBytes: (bytes: number) => void
}

/** One transfer of a data mover, from its front's request to its answer. */
export class StripeTransfer {
  /** A data connection is or was there. */
  isConnected = false
  readonly #options: StripeTransferOptions
  readonly #controller = new AbortController()
  readonly #watch: IdleTimer
  #movedBytes = 0

  constructor(clock: Clock, options: StripeTransferOptions) {
    const { signal, idleMs } = options
    this.#options = options
    this.#watch = new IdleTimer(clock, idleMs, () => {
      this.abort(new DataChannelError(426, `Nothing moved for ${idleMs} ms.`))
    })
    signal.addEventListener('abort', this.#onAbort, { once: true })
    if (signal.aborted) this.#onAbort()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Payload that went over the data connections. */
  get movedBytes(): number {
    return this.#movedBytes
  }

  /** Says that somebody still cares. */
  touch(): void {
    this.#watch.touch()
  }

  /** Counts bytes that moved. */
  add(bytes: number): void {
    this.#movedBytes += bytes
    this.#watch.touch()
    this.#options.onBytes(bytes)
  }

  /** Ends the transfer; its task fails with `reason`. */
  abort(reason: Error): void {
    this.#controller.abort(reason)
  }

  /** Leaves no timer and no listener behind. */
  end(): void {
    this.#watch.stop()
    this.#options.signal.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => this.abort(toError(this.#options.signal.reason))
}
