import pLimit from 'p-limit'
import { Budget } from '../lib/budget.ts'
import type { Clock } from '../lib/clock.ts'
import { type BlobswarmError, LimitExceededError, MalformedError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import {
  InternalFailureError,
  NotPermittedError,
  ProtocolViolationError,
  UnknownMethodError
} from './errors.ts'
import { asFailure } from './failure.ts'
import { formatPermission, type Permission, permits } from './rights.ts'
import { decodeFrame, encodeFrame, type RpcFrame, type RpcMethod } from './rpc.ts'
import { sendWithin } from './send-within.ts'
import type { Channel, Member } from './types.ts'

/** What a handler knows about a request besides its body. */
export interface RpcContext {
  /** Who asks. */
  readonly member: Member
  /** Aborted when the answer is of no use any more: cancelled, or the channel has ended. */
  readonly signal: AbortSignal
}

/** Answers one method. */
export interface RpcHandler {
  readonly name: string
  readonly isLong: boolean
  answer(body: Uint8Array, context: RpcContext): Promise<Uint8Array>
}

/** Makes the handler of a method; who may ask is said by `permitted`. */
export function answerMethod<Request, Answer>(
  method: RpcMethod<Request, Answer>,
  run: (request: Request, context: RpcContext) => Promise<Answer>
): RpcHandler {
  return {
    name: method.name,
    isLong: method.isLong,
    answer: async (body, context) =>
      method.answer.encode(await run(method.request.decode(body), context))
  }
}

/**
 * Lets handlers answer those only whose certificate gives what the table says; others get
 * NotPermittedError before their request is looked at.
 *
 * @throws {TypeError} for a handler that the table does not have.
 */
export function permitted(
  permissions: Readonly<Record<string, Permission>>,
  handlers: readonly RpcHandler[]
): RpcHandler[] {
  return handlers.map((handler) => {
    const permission = permissions[handler.name]
    if (permission === undefined) throw new TypeError(`nobody may ask for ${handler.name}`)
    const answer = async (body: Uint8Array, context: RpcContext): Promise<Uint8Array> => {
      if (permits(permission, context.member)) return handler.answer(body, context)
      throw new NotPermittedError(`${handler.name} needs ${formatPermission(permission)}`)
    }
    return { ...handler, answer }
  })
}

export interface ServeRpcOptions {
  /** Requests of one channel that are worked on; more are not read from the network. @default 64 */
  maxConcurrent?: number
  /** Long requests of one channel, besides; more are refused. @default 256 */
  maxLong?: number
  /** Time that the peer may take to read an answer, in milliseconds. @default 30000 */
  sendTimeoutMs?: number
}

export interface ServeRpcComponents {
  readonly handlers: readonly RpcHandler[]
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Answers the requests of one channel until the remote closes its side; what is then still being
 * worked on is aborted.
 *
 * @throws {ProtocolViolationError} if the remote sends what is not a request.
 */
export async function serveRpc(
  channel: Channel,
  components: ServeRpcComponents,
  options: ServeRpcOptions = {}
): Promise<void> {
  await new RpcConversation(channel, components, options).run()
}

class RpcConversation {
  readonly #channel: Channel
  readonly #handlers: ReadonlyMap<string, RpcHandler>
  readonly #slots: Budget
  readonly #longSlots: Budget
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #sendTimeoutMs: number
  readonly #running = new Map<number, AbortController>()
  readonly #tasks = new Set<Promise<void>>()
  readonly #sending = pLimit(1)

  constructor(channel: Channel, components: ServeRpcComponents, options: ServeRpcOptions) {
    const { maxConcurrent = 64, maxLong = 256, sendTimeoutMs = 30_000 } = options
    const { handlers, clock, logger } = components
    this.#channel = channel
    this.#handlers = new Map(handlers.map((handler) => [handler.name, handler]))
    this.#slots = new Budget(maxConcurrent, 'requests of one channel')
    this.#longSlots = new Budget(maxLong, 'long requests of one channel')
    this.#clock = clock
    this.#logger = logger
    this.#sendTimeoutMs = sendTimeoutMs
  }

  async run(): Promise<void> {
    const { ended, remote } = this.#channel
    try {
      for await (const message of this.#channel.messages()) {
        await this.#take(decodeFrame(message), ended)
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      throw new ProtocolViolationError(remote.peerId, error.message, { cause: error })
    } finally {
      const gone = new Error('the caller has gone')
      for (const controller of this.#running.values()) controller.abort(gone)
      await Promise.all(this.#tasks)
    }
  }

  async #take(frame: RpcFrame, signal: AbortSignal): Promise<void> {
    switch (frame.kind) {
      case 'cancel':
        this.#running.get(frame.id)?.abort(new Error('cancelled by the caller'))
        return
      case 'request': {
        if (this.#running.has(frame.id)) {
          throw new MalformedError('RPC frame', `request ${frame.id} is in flight already`)
        }
        const handler = this.#handlers.get(frame.method)
        const slots = handler?.isLong ? this.#longSlots : this.#slots
        if (handler?.isLong) {
          if (!slots.tryAcquire(1)) {
            await this.#answerFailure(frame.id, new LimitExceededError(frame.method, slots.total))
            return
          }
        } else {
          await slots.acquire(1, { signal })
        }
        this.#start(frame.id, () => this.#answer(frame, handler), slots)
        return
      }
      case 'answer':
      case 'failure':
        throw new MalformedError('RPC frame', `a ${frame.kind} from the side that asks`)
    }
  }

  #start(id: number, work: () => Promise<void>, slots: Budget): void {
    this.#running.set(id, new AbortController())
    const task = work()
      .catch((error: unknown) => this.#channel.abort(toError(error)))
      .finally(() => {
        slots.release(1)
        this.#running.delete(id)
        this.#tasks.delete(task)
      })
    this.#tasks.add(task)
  }

  async #answer(
    frame: RpcFrame & { kind: 'request' },
    handler: RpcHandler | undefined
  ): Promise<void> {
    const { id, method } = frame
    const signal = this.#running.get(id)?.signal ?? AbortSignal.abort()
    let body: Uint8Array
    try {
      if (handler === undefined) throw new UnknownMethodError(this.#channel.protocol, method)
      body = await handler.answer(frame.body, { member: this.#channel.remote, signal })
    } catch (thrown) {
      await this.#answerFailure(id, this.#asFailure(method, toError(thrown), signal))
      return
    }
    await this.#send({ kind: 'answer', id, body })
  }

  async #answerFailure(id: number, { code, message }: BlobswarmError): Promise<void> {
    await this.#send({ kind: 'failure', id, code, message })
  }

  async #send(frame: RpcFrame): Promise<void> {
    const limits = { clock: this.#clock, timeoutMs: this.#sendTimeoutMs }
    await this.#sending(async () => {
      if (this.#channel.ended.aborted) return
      await sendWithin(this.#channel, encodeFrame(frame), limits)
    })
  }

  #asFailure(method: string, error: Error, signal: AbortSignal): BlobswarmError {
    const failure = asFailure(error)
    if (failure instanceof InternalFailureError && !signal.aborted) {
      this.#logger.error('%s failed: %e', method, error)
    } else {
      this.#logger.debug('%s of %p answered %s', method, this.#channel.remote.peerId, failure.code)
    }
    return failure
  }
}
