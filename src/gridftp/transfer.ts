import { IdleTimer } from '../lib/idle-timer.ts'
import { toError } from '../lib/to-error.ts'
import { DataChannelError, StorageStalledError } from './errors.ts'
import type { CommandContext } from './types.ts'

/** What a transfer is about. */
export interface TransferRequest {
  readonly verb: string
  /** As the user sees it. */
  readonly path: string
  readonly direction: 'upload' | 'download'
  readonly isListing?: boolean
}

/**
 * One transfer from its command to its last reply: what can end it early, how far it is, and what
 * is written about it in the end.
 */
export class Transfer {
  /** Bytes that reached the other side of the server: storage or network. */
  bytes = 0
  /** The first data connection is there. */
  isConnected = false
  /** Data connections that carried it, for the log. */
  connections = 0
  /** What an upload became, where the storage has versions. */
  version: number | undefined
  /** Said by an upload when its queue is full: a standstill is then the storage's. */
  isStorageBusy: () => boolean = () => false
  readonly request: TransferRequest
  readonly #context: CommandContext
  readonly #controller = new AbortController()
  readonly #watch: IdleTimer
  readonly #startedMs: number

  private constructor(context: CommandContext, request: TransferRequest) {
    const { clock, settings } = context.services
    this.request = request
    this.#context = context
    this.#startedMs = clock.monotonic()
    this.#watch = new IdleTimer(clock, settings.dataTimeoutMs, () => this.#stalled())
  }

  /**
   * Runs a transfer: its signal is aborted when the client goes, says ABOR, or nothing moves for
   * too long. A failed one drops the session's data connections when their content may be out of
   * step.
   */
  static async run<T>(
    context: CommandContext,
    request: TransferRequest,
    task: (transfer: Transfer) => Promise<T>
  ): Promise<T> {
    const transfer = new Transfer(context, request)
    const onAbort = (): void => transfer.abort(toError(context.signal.reason))
    context.transfer = transfer
    context.signal.addEventListener('abort', onAbort, { once: true })
    if (context.signal.aborted) onAbort()
    try {
      const result = await task(transfer)
      transfer.#record(undefined)
      return result
    } catch (error) {
      if (transfer.isConnected || request.direction === 'upload') context.channel.close()
      transfer.#record(error)
      throw error
    } finally {
      transfer.#watch.stop()
      context.signal.removeEventListener('abort', onAbort)
      context.transfer = undefined
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Ends the transfer; its command fails with `reason`. */
  abort(reason: Error): void {
    this.#controller.abort(reason)
  }

  /** Says that something moved. */
  touch(): void {
    this.#watch.touch()
  }

  /** Counts bytes that moved. */
  add(bytes: number): void {
    this.bytes += bytes
    this.#watch.touch()
    this.#context.services.recorder.moved(this.request.direction, bytes)
  }

  /** No time limit from now on: what follows is bounded by the storage itself. */
  endWatch(): void {
    this.#watch.stop()
  }

  #stalled(): void {
    const { dataTimeoutMs } = this.#context.services.settings
    if (this.isStorageBusy()) this.abort(new StorageStalledError(dataTimeoutMs))
    else if (this.isConnected) {
      this.abort(new DataChannelError(426, `Nothing moved for ${dataTimeoutMs} ms.`))
    } else this.abort(new DataChannelError(425, `No data connection within ${dataTimeoutMs} ms.`))
  }

  #record(error: unknown): void {
    const { services, state, peerHost } = this.#context
    const user = state.login.kind === 'loggedIn' ? state.login.user.name : ''
    const seconds = (services.clock.monotonic() - this.#startedMs) / 1000
    const { bytes, connections, version } = this
    services.recorder.transferEnded({
      ...this.request,
      mode: state.mode,
      connections,
      version,
      user,
      address: peerHost,
      bytes,
      seconds,
      error
    })
  }
}
