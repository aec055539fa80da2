import pLimit from 'p-limit'
import type { ChunkId, Collected } from '../../chunks/types.ts'
import { asBuffer } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Deadline } from '../../lib/deadline.ts'
import { MalformedError } from '../../lib/errors.ts'
import { toError } from '../../lib/to-error.ts'
import type { SignedEnvelope } from '../../metadata/types.ts'
import { PeerTimeoutError, PeerUnreachableError, RemoteError } from '../errors.ts'
import type { ChannelSession } from '../kept-channel.ts'
import { PendingRequests } from '../pending-requests.ts'
import { encodeStoreRequest, partsOf, type StoreRequest } from '../protocols/store.ts'
import { decodeStoreAnswer, type StoreAnswer } from '../protocols/store-answers.ts'
import type { Channel } from '../types.ts'

interface PendingAnswer {
  /**
   * Takes an answer.
   *
   * @returns true if it was the last.
   *
   * @throws {MalformedError} if it does not fit.
   */
  take(answer: StoreAnswer): boolean
  reject(error: Error): void
}

/** The messages of a request, once its number is known. */
type MessagesOf = (request: number) => Iterable<StoreRequest>

/** What an answer means to its request: undefined for more to come. */
type Reading<T> = (answer: StoreAnswer) => { readonly value: T } | undefined

/** The requests of one open stream of store/1. */
export class StoreSession implements ChannelSession {
  readonly #channel: Channel
  readonly #clock: Clock
  readonly #pending = new PendingRequests<PendingAnswer>()
  // A put's parts must not be interleaved; how many requests wait is bounded by the caller.
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

  async put(id: ChunkId, bytes: Uint8Array, deadline: Deadline): Promise<void> {
    const length = bytes.byteLength
    await this.#ask<void>(
      (request) =>
        partsOf(bytes).map(
          (part, at): StoreRequest =>
            at === 0 ? { kind: 'put', request, id, length, part } : { kind: 'part', request, part }
        ),
      (answer) => (answer.kind === 'stored' ? { value: undefined } : unexpected(answer)),
      deadline
    )
  }

  async has(ids: readonly ChunkId[], deadline: Deadline): Promise<boolean[]> {
    return this.#ask(
      (request) => [{ kind: 'has', request, ids }],
      (answer) => {
        if (answer.kind !== 'held' || answer.held.length !== ids.length) return unexpected(answer)
        return { value: [...answer.held] }
      },
      deadline
    )
  }

  /** Not verified. */
  async get(id: ChunkId, deadline: Deadline): Promise<Uint8Array | undefined> {
    const collected = new CollectedParts()
    return this.#ask(
      (request) => [{ kind: 'get', request, id }],
      (answer) => {
        deadline.extend()
        if (answer.kind === 'absent' && collected.isEmpty) return { value: undefined }
        if (answer.kind === 'chunk') collected.begin(answer.length, answer.part)
        else if (answer.kind === 'more') collected.add(answer.part)
        else return unexpected(answer)
        const value = collected.whole
        return value && { value }
      },
      deadline
    )
  }

  /** @returns the name of the collection that was opened. */
  async begin(deadline: Deadline): Promise<string> {
    return this.#ask(
      (request) => [{ kind: 'begin', request }],
      (answer) => (answer.kind === 'begun' ? { value: answer.collection } : unexpected(answer)),
      deadline
    )
  }

  async list(
    collection: string,
    after: ChunkId | undefined,
    deadline: Deadline
  ): Promise<ChunkId[]> {
    return this.#ask(
      (request) => [{ kind: 'list', request, collection, after }],
      (answer) => {
        if (answer.kind !== 'listed') return unexpected(answer)
        checkAscending(answer.ids, after)
        return { value: [...answer.ids] }
      },
      deadline
    )
  }

  async collect(order: SignedEnvelope, deadline: Deadline): Promise<Collected> {
    return this.#ask(
      (request) => [{ kind: 'collect', request, order }],
      (answer) => (answer.kind === 'collected' ? { value: answer.collected } : unexpected(answer)),
      deadline
    )
  }

  receive(message: Uint8Array): void {
    this.#heardMs = this.#clock.monotonic()
    const answer = decodeStoreAnswer(message)
    const pending = this.#pending.get(answer.request)
    if (pending === undefined) return // given up
    if (answer.kind === 'failure') {
      const { peerId } = this.#channel.remote
      this.#pending.take(answer.request)
      pending.reject(new RemoteError(peerId, answer.message, answer.code))
    } else if (pending.take(answer)) {
      this.#pending.take(answer.request)
    }
  }

  fail(error: Error): void {
    this.#pending.failAll(error)
  }

  async #ask<T>(messages: MessagesOf, read: Reading<T>, deadline: Deadline): Promise<T> {
    const { signal, extend } = deadline
    signal.throwIfAborted()
    const startedMs = this.#clock.monotonic()
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const take = (answer: StoreAnswer): boolean => {
      const last = read(answer)
      if (last !== undefined) resolve(last.value)
      return last !== undefined
    }
    const request = this.#pending.add({ take, reject })
    let isSent = false
    const onAbort = (): void => {
      this.#pending.take(request)
      reject(signal.reason)
      if (signal.reason instanceof PeerTimeoutError && this.#heardMs <= startedMs) {
        // It says nothing at all: the next request opens another channel.
        this.#pending.failAll(signal.reason)
        this.#channel.abort(signal.reason)
      } else if (isSent) {
        this.#cancel(request)
      }
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const sent = this.#sending(async () => {
      if (this.#pending.get(request) === undefined) return // given up before its turn
      isSent = true
      for (const message of messages(request)) {
        await this.#channel.send(encodeStoreRequest(message))
        extend()
      }
    })
    sent.catch((thrown: unknown) => this.#pending.take(request)?.reject(this.#lost(thrown)))
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #cancel(request: number): void {
    // A stream that ends takes its requests with it.
    this.#sending(() => this.#channel.send(encodeStoreRequest({ kind: 'cancel', request }))).catch(
      () => {}
    )
  }

  #lost(thrown: unknown): Error {
    const error = toError(thrown)
    if (error instanceof PeerUnreachableError) return error
    const { peerId } = this.#channel.remote
    return new PeerUnreachableError(peerId, error.message, { cause: error })
  }
}

/** A chunk out of its parts. A chunk of one part is not copied. */
class CollectedParts {
  #bytes: Uint8Array | undefined
  #filled = 0

  get isEmpty(): boolean {
    return this.#bytes === undefined
  }

  get whole(): Uint8Array | undefined {
    return this.#filled === this.#bytes?.byteLength ? this.#bytes : undefined
  }

  begin(length: number, part: Uint8Array): void {
    if (!this.isEmpty) throw new MalformedError('store answer', 'two chunks for one request')
    this.#bytes = part.byteLength === length ? part : new Uint8Array(length)
    this.add(part)
  }

  add(part: Uint8Array): void {
    const bytes = this.#bytes
    if (bytes === undefined || this.#filled + part.byteLength > bytes.byteLength) {
      throw new MalformedError('store answer', 'parts that do not make the chunk')
    }
    if (part !== bytes) bytes.set(part, this.#filled)
    this.#filled += part.byteLength
  }
}

/** Who reads on after the last id must get on. @throws {MalformedError} */
function checkAscending(ids: readonly ChunkId[], after: ChunkId | undefined): void {
  let last = after
  for (const id of ids) {
    if (last !== undefined && asBuffer(last).compare(id) >= 0) {
      throw new MalformedError('store answer', 'a list that is not in order')
    }
    last = id
  }
}

function unexpected({ kind }: StoreAnswer): never {
  throw new MalformedError('store answer', `a ${kind} that was not asked for`)
}
