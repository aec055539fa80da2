import pLimit from 'p-limit'
import { isZeroChunk } from '../../chunks/chunk-id.ts'
import type { ServedProvider } from '../../chunks/maintenance-types.ts'
import type { Budget } from '../../lib/budget.ts'
import type { Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/logger.ts'
import { toError } from '../../lib/to-error.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { InternalFailureError, InvalidRequestError, ProtocolViolationError } from '../errors.ts'
import { asFailure } from '../failure.ts'
import { sendWithin } from '../send-within.ts'
import type { Channel } from '../types.ts'
import { decodeStoreRequest, type StoreRequest } from './store.ts'
import { answerPlainRequest, type PlainRequest } from './store-answering.ts'
import { encodeStoreAnswer, type StoreAnswer } from './store-answers.ts'
import { partsOf } from './store-fields.ts'
import type { StoreLimits, StoreMetrics, StoreRates } from './store-limits.ts'
import { IncomingPuts, type WholePut } from './store-puts.ts'

/** What one conversation is made of. */
export interface StoreConversationParts {
  readonly channel: Channel
  readonly provider: ServedProvider
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: StoreMetrics
  /** All of them must have room, in this order. */
  readonly limits: readonly StoreLimits[]
  readonly rates: StoreRates
  readonly partTimeoutMs: number
  /** How often the caller is told that something goes on, in milliseconds. */
  readonly workingMs: number
}

/** Requests that may take long, beside which others shall go on. */
const LONG_WORK: ReadonlySet<PlainRequest['kind']> = new Set(['check', 'copy', 'collect', 'trim'])

/** Answers one stream of store/1. */
export class StoreConversation {
  readonly #parts: StoreConversationParts
  readonly #puts: IncomingPuts
  readonly #running = new Map<number, AbortController>()
  readonly #tasks = new Set<Promise<void>>()
  readonly #sending = pLimit(1)

  constructor(parts: StoreConversationParts) {
    this.#parts = parts
    this.#puts = new IncomingPuts(parts, {
      stored: (put) => this.#store(put),
      refused: (request, error) => this.#start(request, async () => Promise.reject(error)),
      waited: async (request, wait) => this.#tellingProgress(request, async () => wait())
    })
  }

  /**
   * Resolves when the remote has closed its side; what is then still being worked on is aborted.
   *
   * @throws {ProtocolViolationError} if the remote sends what it may not.
   */
  async run(): Promise<void> {
    const { channel } = this.#parts
    try {
      for await (const message of channel.messages()) await this.#take(decodeStoreRequest(message))
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error
      throw new ProtocolViolationError(channel.remote.peerId, error.message, { cause: error })
    } finally {
      this.#puts.giveUp()
      const gone = new Error('the caller has gone')
      for (const controller of this.#running.values()) controller.abort(gone)
      await Promise.all(this.#tasks)
    }
  }

  async #take(message: StoreRequest): Promise<void> {
    const { kind, request } = message
    const { arriving } = this.#puts
    if (arriving !== undefined && kind !== 'part' && !(kind === 'cancel' && request === arriving)) {
      throw new MalformedError('store request', `a ${kind} amid the parts of a put`)
    }
    if (message.kind === 'part') return this.#puts.continue(request, message.part)
    if (message.kind === 'cancel') return this.#cancel(request)
    this.#checkIsNew(request)
    if (message.kind === 'put') return this.#puts.begin(message)
    if (message.kind === 'get') return this.#beginGet(message)
    return this.#beginPlain(message)
  }

  #cancel(request: number): void {
    if (request === this.#puts.arriving) this.#puts.giveUp()
    this.#running.get(request)?.abort(new Error('cancelled by the caller'))
  }

  #checkIsNew(request: number): void {
    if (!this.#running.has(request)) return
    throw new MalformedError('store request', `request ${request} is in flight already`)
  }

  #store({ request, id, bytes, reservation, release }: WholePut): void {
    const { provider, metrics } = this.#parts
    const store = async (signal: AbortSignal): Promise<void> => {
      await this.#tellingProgress(request, async (onProgress) => {
        onProgress(1)
        await provider.put(id, bytes, { signal, reservation })
      })
      metrics.moved('received', bytes.byteLength)
      await this.#send({ kind: 'stored', request })
    }
    this.#start(request, store, release)
  }

  async #beginGet(message: StoreRequest & { kind: 'get' }): Promise<void> {
    const { provider, rates, channel } = this.#parts
    const length = provider.lengthOf(message.id)
    if (length !== undefined) await rates.send.take(length, { signal: channel.ended })
    await this.#startWithin(
      message.request,
      ({ reads }) => reads,
      async (signal) => this.#get(message, signal)
    )
  }

  async #get(message: StoreRequest & { kind: 'get' }, signal: AbortSignal): Promise<void> {
    const { request, id } = message
    if (isZeroChunk(id)) throw new InvalidRequestError('the zero chunk is never sent')
    const bytes = await this.#parts.provider.get(id, { signal })
    if (bytes === undefined) return this.#send({ kind: 'absent', request })
    const length = bytes.byteLength
    for (const [at, part] of partsOf(bytes).entries()) {
      signal.throwIfAborted()
      await this.#send(
        at === 0 ? { kind: 'chunk', request, length, part } : { kind: 'more', request, part }
      )
    }
    this.#parts.metrics.moved('sent', length)
  }

  async #beginPlain(message: PlainRequest): Promise<void> {
    const { request, kind } = message
    const isLong = LONG_WORK.has(kind)
    const answering = { ...this.#parts, remote: this.#parts.channel.remote }
    await this.#startWithin(
      request,
      ({ works, reads }) => (isLong ? works : reads),
      async (signal) => {
        const answer = await (isLong
          ? this.#tellingProgress(request, async (onProgress) =>
              answerPlainRequest(message, answering, { signal, onProgress })
            )
          : answerPlainRequest(message, answering, { signal }))
        await this.#send(answer)
      }
    )
  }

  /** Tells the caller now and then that its request is being worked on. */
  async #tellingProgress<T>(
    request: number,
    work: (onProgress: (doneCount: number) => void) => Promise<T>
  ): Promise<T> {
    const { clock, workingMs, channel } = this.#parts
    let doneCount = 0
    let telling: Promise<void> | undefined
    const tell = async (): Promise<void> => {
      try {
        await this.#send({ kind: 'working', request, doneCount })
        cancel = clock.schedule(begin, workingMs)
      } catch (error) {
        channel.abort(toError(error))
      }
    }
    const begin = (): void => {
      telling = tell()
    }
    let cancel = clock.schedule(begin, workingMs)
    try {
      return await work((count) => {
        doneCount = count
      })
    } finally {
      await telling // so that nothing follows the answer, and nothing is scheduled any more
      cancel()
    }
  }

  /** Waits for a slot of each kind of limits, and runs the work in it beside the others. */
  async #startWithin(
    request: number,
    slotsOf: (limits: StoreLimits) => Budget,
    work: (signal: AbortSignal) => Promise<void>
  ): Promise<void> {
    const { limits, channel } = this.#parts
    const taken: Budget[] = []
    const release = (): void => {
      for (const slots of taken) slots.release(1)
    }
    try {
      for (const slots of limits.map(slotsOf)) {
        await slots.acquire(1, { signal: channel.ended })
        taken.push(slots)
      }
    } catch (error) {
      release()
      throw error
    }
    this.#start(request, work, release)
  }

  /** Runs the work of a request beside the others; what it throws is its answer. */
  #start(
    request: number,
    work: (signal: AbortSignal) => Promise<void>,
    release?: () => void
  ): void {
    const controller = new AbortController()
    this.#running.set(request, controller)
    const task = this.#work(request, () => work(controller.signal), controller.signal)
      .catch((error: unknown) => this.#parts.channel.abort(toError(error)))
      .finally(() => {
        release?.()
        this.#running.delete(request)
        this.#tasks.delete(task)
      })
    this.#tasks.add(task)
  }

  async #work(request: number, work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      const error = toError(thrown)
      const failure = asFailure(error)
      if (failure instanceof InternalFailureError && !signal.aborted) {
        this.#parts.logger.error('request failed: %e', error)
      }
      const { code, message } = failure
      await this.#send({ kind: 'failure', request, code, message })
    }
  }

  async #send(answer: StoreAnswer): Promise<void> {
    const { channel, clock, partTimeoutMs: timeoutMs } = this.#parts
    await this.#sending(async () => {
      if (channel.ended.aborted) return
      await sendWithin(channel, encodeStoreAnswer(answer), { clock, timeoutMs })
    })
  }
}
