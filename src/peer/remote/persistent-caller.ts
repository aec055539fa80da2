import pRetry from 'p-retry'
import type { AbortOptions } from '../../lib/abort-options.ts'
import type { Clock } from '../../lib/clock.ts'
import { errorCode, NotRunningError } from '../../lib/errors.ts'
import {
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolRefusedError,
  RemoteError
} from '../errors.ts'
import type { RpcMethod } from '../rpc.ts'
import { type CallOptions, RpcClient, type RpcClientOptions } from '../rpc-client.ts'
import type { PeerNode, ProtocolSpec } from '../types.ts'
import type { FindRole } from './find-role.ts'

export interface PersistentCallerComponents {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  readonly spec: ProtocolSpec
  /** Whom to ask; asked again before each attempt. */
  readonly find: FindRole
  /** Who is looked for, in errors. */
  readonly what: string
}

export interface PersistentCallerOptions extends RpcClientOptions {
  /**
   * How long calls are tried again while the peer cannot be reached, in milliseconds.
   *
   * @default 30000
   */
  retryForMs?: number
  /** First pause between two attempts, doubled each time up to 2 s. @default 100 */
  retryPauseMs?: number
}

/** Whether a call may be made again when it is unknown if the last one was done. */
export type Repeatable = 'repeatable' | 'once'

/** Calls the one peer of the cluster that does something, and keeps trying while it restarts. */
export class PersistentCaller {
  readonly #components: PersistentCallerComponents
  readonly #clientOptions: RpcClientOptions
  readonly #retryForMs: number
  readonly #retryPauseMs: number
  readonly #closing = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  #client: RpcClient | undefined

  constructor(components: PersistentCallerComponents, options: PersistentCallerOptions = {}) {
    const { retryForMs = 30_000, retryPauseMs = 100, ...clientOptions } = options
    if (!(retryForMs >= 0)) throw new RangeError('retryForMs must not be negative')
    this.#components = components
    this.#clientOptions = clientOptions
    this.#retryForMs = retryForMs
    this.#retryPauseMs = retryPauseMs
  }

  /** Whom the last call went to; undefined before the first. */
  get peerId(): string | undefined {
    return this.#client?.peerId
  }

  /**
   * Calls a method. What is repeatable is tried again until `retryForMs` have passed; of another
   * call only the connecting is, so that it reaches the peer at most once.
   *
   * @throws {PeerUnreachableError | PeerTimeoutError} the last failure, when the time is up.
   * @throws {RemoteError} what the peer answered.
   */
  async call<Request, Answer>(
    method: RpcMethod<Request, Answer>,
    request: Request,
    repeatable: Repeatable,
    options: CallOptions = {}
  ): Promise<Answer> {
    if (repeatable === 'repeatable') {
      return this.#persist((client) => client.call(method, request, options), options)
    }
    const client = await this.#persist(async (ready) => {
      await ready.ready(options)
      return ready
    }, options)
    return client.call(method, request, options)
  }

  /** Ends what is in flight; later calls reject with NotRunningError. */
  async close(): Promise<void> {
    this.#stopping.abort(new NotRunningError(`asking ${this.#components.what}`))
    this.#drop()
    await Promise.all(this.#closing)
  }

  async #persist<T>(
    attempt: (client: RpcClient) => Promise<T>,
    { signal }: AbortOptions
  ): Promise<T> {
    const { signal: stopped } = this.#stopping
    return pRetry(() => attempt(this.#find()), {
      retries: Number.POSITIVE_INFINITY,
      maxRetryTime: this.#retryForMs,
      minTimeout: this.#retryPauseMs,
      maxTimeout: 2000,
      signal: signal === undefined ? stopped : AbortSignal.any([signal, stopped]),
      shouldRetry: ({ error }) => isPassing(error)
    })
  }

  #find(): RpcClient {
    const { node, clock, spec, find, what } = this.#components
    const peerId = find()
    if (peerId === undefined) throw new PeerUnreachableError(what, 'no member has this role')
    if (this.#client?.peerId === peerId) return this.#client
    this.#drop()
    this.#client = new RpcClient({ node, clock, peerId, spec }, this.#clientOptions)
    return this.#client
  }

  #drop(): void {
    const client = this.#client
    this.#client = undefined
    if (client === undefined) return
    const closing = client.close().finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}

/**
 * Tells whether a failure may pass by itself: the network's, or a peer that is stopping, or one that
 * can be connected to but does not serve yet.
 */
function isPassing(error: unknown): boolean {
  if (error instanceof RemoteError) return errorCode(error) === 'ERR_NOT_RUNNING'
  if (error instanceof ProtocolRefusedError) return error.isUnknown
  return error instanceof PeerUnreachableError || error instanceof PeerTimeoutError
}
