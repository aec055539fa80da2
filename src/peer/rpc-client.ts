import pLimit from 'p-limit'
import type { AbortOptions } from '../lib/abort-options.ts'
import { Budget } from '../lib/budget.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { MalformedError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import {
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError,
  RemoteError
} from './errors.ts'
import { type ChannelSession, KeptChannel } from './kept-channel.ts'
import { PendingRequests } from './pending-requests.ts'
import { decodeFrame, encodeFrame, type RpcMethod } from './rpc.ts'
import type { Channel, PeerNode, ProtocolSpec } from './types.ts'

export interface RpcClientComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  /** Whom to ask. */
  readonly peerId: string
  readonly spec: ProtocolSpec
}

export interface RpcClientOptions {
  /**
   * Time for an answer unless the method or the call says another, in milliseconds.
   *
   * @default 15000
   */
  timeoutMs?: number
  /** Time to connect and to agree on the protocol, in milliseconds. @default 10000 */
  openTimeoutMs?: number
  /** Requests in flight; more wait for their turn. @default 32 */
  maxInFlight?: number
  /** Long requests in flight, besides. @default 128 */
  maxLong?: number
}

export interface CallOptions extends AbortOptions {
  readonly timeoutMs?: number
}

/** Asks one peer over one kept channel. The channel is opened by the first call after it ended. */
export class RpcClient {
  readonly peerId: string
  readonly #kept: KeptChannel<RpcSession>
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #slots: Budget
  readonly #longSlots: Budget

  constructor(components: RpcClientComponents, options: RpcClientOptions = {}) {
    const { timeoutMs = 15_000, openTimeoutMs = 10_000, maxInFlight = 32, maxLong = 128 } = options
    const { clock, peerId } = components
    this.peerId = peerId
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#slots = new Budget(maxInFlight, `requests in flight to ${peerId}`)
    this.#longSlots = new Budget(maxLong, `long requests in flight to ${peerId}`)
    const attach = (channel: Channel): RpcSession => new RpcSession(channel, clock)
    this.#kept = new KeptChannel({ ...components, attach }, { openTimeoutMs })
  }

  /**
   * Makes sure that a channel is open: a call right after it is not lost for want of a connection.
   */
  async ready(options: AbortOptions = {}): Promise<void> {
    await this.#kept.session(options)
  }

  /**
   * Sends a request and waits for its answer. The time includes waiting for a channel, not waiting
   * for a slot.
   *
   * @throws {PeerUnreachableError} if the channel could not be opened, or ended before the answer
   *   came:
   *   the peer may then have done what it was asked or not. Nothing is sent twice.
   * @throws {PeerTimeoutError} if no answer came in time.
   * @throws {RemoteError} if the peer answered with a failure; it has the same `code`.
   * @throws {ProtocolViolationError} if the answer is not one.
   */
  async call<Request, Answer>(
    method: RpcMethod<Request, Answer>,
    request: Request,
    options: CallOptions = {}
  ): Promise<Answer> {
    const { signal, timeoutMs = method.timeoutMs ?? this.#timeoutMs } = options
    const body = method.request.encode(request)
    const slots = method.isLong ? this.#longSlots : this.#slots
    await slots.acquire(1, { signal })
    try {
      const answer = await withDeadline(
        async (deadline) => {
          const session = await this.#kept.session(deadline)
          return session.request(method.name, body, deadline.signal)
        },
        {
          clock: this.#clock,
          timeoutMs,
          signal,
          timedOut: () => new PeerTimeoutError(this.peerId, method.name, timeoutMs)
        }
      )
      return this.#decode(method, answer)
    } finally {
      slots.release(1)
    }
  }

  /** Closes the channel; calls in flight and later ones reject with NotRunningError. */
  async close(): Promise<void> {
    await this.#kept.close()
  }

  #decode<Request, Answer>(method: RpcMethod<Request, Answer>, body: Uint8Array): Answer {
    try {
      return method.answer.decode(body)
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      throw new ProtocolViolationError(this.peerId, error.message, { cause: error })
    }
  }
}

interface PendingCall {
  resolve(body: Uint8Array): void
  reject(error: Error): void
}

/** The requests of one open channel. */
class RpcSession implements ChannelSession {
  readonly #channel: Channel
  readonly #clock: Clock
  readonly #pending = new PendingRequests<PendingCall>()
  // One message goes out at a time; how many wait is bounded by the slots of the client.
  readonly #sending = pLimit(1)
  #heardMs: number

  constructor(channel: Channel, clock: Clock) {
    this.#channel = channel
    this.#clock = clock
    this.#heardMs = clock.monotonic()
  }

  get isIdle(): boolean {
    return this.#pending.size === 0
  }

  async request(method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted()
    const startedMs = this.#clock.monotonic()
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    const id = this.#pending.add({ resolve, reject })
    const isWanted = (): boolean => this.#pending.get(id) !== undefined
    let isSent = false
    const onAbort = (): void => {
      this.#pending.take(id)
      reject(signal.reason as Error)
      if (signal.reason instanceof PeerTimeoutError && this.#heardMs <= startedMs) {
        // It says nothing at all: the next call opens another channel.
        this.#pending.failAll(signal.reason)
        this.#channel.abort(signal.reason)
      } else if (isSent) {
        this.#sendCancel(id)
      }
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const sent = this.#sending(async () => {
      if (!isWanted()) return
      isSent = true
      await this.#channel.send(encodeFrame({ kind: 'request', id, method, body }))
    })
    sent.catch((thrown: unknown) => this.#pending.take(id)?.reject(this.#lost(thrown)))
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  receive(message: Uint8Array): void {
    this.#heardMs = this.#clock.monotonic()
    const frame = decodeFrame(message)
    switch (frame.kind) {
      case 'answer':
        this.#pending.take(frame.id)?.resolve(frame.body)
        return
      case 'failure': {
        const { peerId } = this.#channel.remote
        this.#pending.take(frame.id)?.reject(new RemoteError(peerId, frame.message, frame.code))
        return
      }
      case 'request':
      case 'cancel':
        throw new MalformedError('RPC frame', `a ${frame.kind} from the side that answers`)
    }
  }

  fail(error: Error): void {
    this.#pending.failAll(error)
  }

  #sendCancel(id: number): void {
    // A channel that ends takes its requests with it.
    this.#sending(() => this.#channel.send(encodeFrame({ kind: 'cancel', id }))).catch(() => {})
  }

  #lost(thrown: unknown): Error {
    const error = toError(thrown)
    if (error instanceof PeerUnreachableError || error instanceof RangeError) return error
    const { peerId } = this.#channel.remote
    return new PeerUnreachableError(peerId, error.message, { cause: error })
  }
}
