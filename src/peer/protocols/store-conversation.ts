import pLimit from 'p-limit'
import { isZeroChunk } from '../../chunks/chunk-id.ts'
import type { ChunkId, CollectableProvider } from '../../chunks/types.ts'
import type { Budget } from '../../lib/budget.ts'
import type { Clock } from '../../lib/clock.ts'
import { MalformedError } from '../../lib/errors.ts'
import { IdleTimer } from '../../lib/idle-timer.ts'
import type { Logger } from '../../lib/logger.ts'
import { toError } from '../../lib/to-error.ts'
import type { Verifier } from '../../metadata/types.ts'
import {
  InternalFailureError,
  InvalidRequestError,
  NotPermittedError,
  PeerTimeoutError,
  ProtocolViolationError
} from '../errors.ts'
import { asFailure } from '../failure.ts'
import { verifyRetirementOrder } from '../retirement-order.ts'
import { sendWithin } from '../send-within.ts'
import type { Channel } from '../types.ts'
import { decodeStoreRequest, partsOf, type StoreRequest } from './store.ts'
import { encodeStoreAnswer, type StoreAnswer } from './store-answers.ts'

/** Room for the bytes of puts, and slots for gets and look-ups. */
export interface StoreLimits {
  readonly putBytes: Budget
  readonly reads: Budget
}

/** What one conversation is made of. */
export interface StoreConversationParts {
  readonly channel: Channel
  readonly provider: CollectableProvider
  readonly verifier: Verifier
  readonly clock: Clock
  readonly logger: Logger
  /** All of them must have room, in this order. */
  readonly limits: readonly StoreLimits[]
  readonly partTimeoutMs: number
}

/** A put whose parts are still arriving; room for the whole chunk was taken. */
interface Arriving {
  readonly request: number
  readonly id: ChunkId
  readonly bytes: Uint8Array
  filled: number
  readonly timer: IdleTimer
}

/** Answers one stream of store/1. */
export class StoreConversation {
  readonly #parts: StoreConversationParts
  readonly #running = new Map<number, AbortController>()
  readonly #tasks = new Set<Promise<void>>()
  readonly #sending = pLimit(1)
  #arriving: Arriving | undefined

  constructor(parts: StoreConversationParts) {
    this.#parts = parts
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
      this.#giveUpArriving()
      const gone = new Error('the caller has gone')
      for (const controller of this.#running.values()) controller.abort(gone)
      await Promise.all(this.#tasks)
    }
  }

  async #take(message: StoreRequest): Promise<void> {
    if (this.#arriving !== undefined && message.kind !== 'part') {
      throw new MalformedError('store request', `a ${message.kind} amid the parts of a put`)
    }
    const isNew = message.kind !== 'part' && message.kind !== 'cancel'
    if (isNew && this.#running.has(message.request)) {
      throw new MalformedError('store request', `request ${message.request} is in flight already`)
    }
    switch (message.kind) {
      case 'put':
        return this.#beginPut(message)
      case 'part':
        return this.#continuePut(message.request, message.part)
      case 'has':
        return this.#read(message.request, (signal) => this.#has(message, signal))
      case 'get':
        return this.#read(message.request, (signal) => this.#get(message, signal))
      case 'begin':
        return this.#read(message.request, (signal) => this.#begin(message.request, signal))
      case 'list':
        return this.#read(message.request, (signal) => this.#list(message, signal))
      case 'collect':
        return this.#read(message.request, (signal) => this.#collect(message, signal))
      case 'cancel':
        this.#running.get(message.request)?.abort(new Error('cancelled by the caller'))
        return undefined
      default:
        throw new TypeError('not a store request')
    }
  }

  async #beginPut(message: StoreRequest & { kind: 'put' }): Promise<void> {
    const { request, id, length, part } = message
    const { limits, channel, clock, partTimeoutMs } = this.#parts
    for (const { putBytes } of limits) await putBytes.acquire(length, { signal: channel.ended })
    if (part.byteLength === length) return this.#finishPut(request, id, part)
    const bytes = new Uint8Array(length)
    bytes.set(part)
    const timer = new IdleTimer(clock, partTimeoutMs, () =>
      channel.abort(new PeerTimeoutError(channel.remote.peerId, 'parts of a put', partTimeoutMs))
    )
    this.#arriving = { request, id, bytes, filled: part.byteLength, timer }
    return undefined
  }

  #continuePut(request: number, part: Uint8Array): void {
    const arriving = this.#arriving
    if (arriving?.request !== request) {
      throw new MalformedError('store request', `a part of request ${request} out of turn`)
    }
    const { id, bytes, filled, timer } = arriving
    if (filled + part.byteLength > bytes.byteLength) {
      throw new MalformedError('store request', `parts longer than ${bytes.byteLength} bytes`)
    }
    bytes.set(part, filled)
    arriving.filled += part.byteLength
    timer.touch()
    if (arriving.filled < bytes.byteLength) return
    timer.stop()
    this.#arriving = undefined
    this.#finishPut(request, id, bytes)
  }

  #finishPut(request: number, id: ChunkId, bytes: Uint8Array): void {
    const store = async (signal: AbortSignal): Promise<void> => {
      const { channel, provider } = this.#parts
      if (!channel.remote.rights.has('write')) {
        throw new NotPermittedError('put needs the right to write')
      }
      refuseZeroChunk(id)
      await provider.put(id, bytes, { signal })
      await this.#send({ kind: 'stored', request })
    }
    this.#start(request, store, () => this.#releasePut(bytes.byteLength))
  }

  async #read(request: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { limits, channel } = this.#parts
    for (const { reads } of limits) await reads.acquire(1, { signal: channel.ended })
    this.#start(request, work, () => {
      for (const { reads } of limits) reads.release(1)
    })
  }

  async #has(message: StoreRequest & { kind: 'has' }, signal: AbortSignal): Promise<void> {
    const held = await this.#parts.provider.has(message.ids, { signal })
    await this.#send({ kind: 'held', request: message.request, held })
  }

  async #get(message: StoreRequest & { kind: 'get' }, signal: AbortSignal): Promise<void> {
    const { request, id } = message
    refuseZeroChunk(id)
    const bytes = await this.#parts.provider.get(id, { signal })
    if (bytes === undefined) return this.#send({ kind: 'absent', request })
    const length = bytes.byteLength
    for (const [at, part] of partsOf(bytes).entries()) {
      signal.throwIfAborted()
      await this.#send(
        at === 0 ? { kind: 'chunk', request, length, part } : { kind: 'more', request, part }
      )
    }
  }

  async #begin(request: number, signal: AbortSignal): Promise<void> {
    this.#checkMayCollect()
    const collection = await this.#parts.provider.beginCollection({ signal })
    await this.#send({ kind: 'begun', request, collection })
  }

  async #list(message: StoreRequest & { kind: 'list' }, signal: AbortSignal): Promise<void> {
    const { request, collection, after } = message
    this.#checkMayCollect()
    const ids = await this.#parts.provider.unleased(collection, after, { signal })
    await this.#send({ kind: 'listed', request, ids })
  }

  async #collect(message: StoreRequest & { kind: 'collect' }, signal: AbortSignal): Promise<void> {
    const { provider, verifier } = this.#parts
    this.#checkMayCollect()
    const expected = { kind: 'chunks', provider: provider.id } as const
    const order = verifyRetirementOrder(verifier, message.order, expected)
    const { collection, keys, isDryRun } = order
    const collected = await provider.collect(collection, keys, { signal, isDryRun })
    await this.#send({ kind: 'collected', request: message.request, collected })
  }

  #checkMayCollect(): void {
    if (this.#parts.channel.remote.roles.has('versionManager')) return
    throw new NotPermittedError('collecting needs the role of a version manager')
  }

  /** Runs the work of a request beside the others; what it throws is its answer. */
  #start(request: number, work: (signal: AbortSignal) => Promise<void>, release: () => void): void {
    const controller = new AbortController()
    this.#running.set(request, controller)
    const task = this.#work(request, () => work(controller.signal), controller.signal)
      .catch((error: unknown) => this.#parts.channel.abort(toError(error)))
      .finally(() => {
        release()
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

  #releasePut(bytes: number): void {
    for (const { putBytes } of this.#parts.limits) putBytes.release(bytes)
  }

  #giveUpArriving(): void {
    if (this.#arriving === undefined) return
    this.#arriving.timer.stop()
    this.#releasePut(this.#arriving.bytes.byteLength)
    this.#arriving = undefined
  }
}

function refuseZeroChunk(id: ChunkId): void {
  if (isZeroChunk(id)) throw new InvalidRequestError('the zero chunk is never sent')
}
