import pLimit from 'p-limit'
import type { ChunkSource, CopyCondition } from '../../chunks/maintenance-types.ts'
import type { Collected } from '../../chunks/provider-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { asBuffer } from '../../lib/bytes.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Deadline } from '../../lib/deadline.ts'
import { MalformedError } from '../../lib/errors.ts'
import { toError } from '../../lib/to-error.ts'
import type { SignedEnvelope } from '../../metadata/signature-types.ts'
import { PeerTimeoutError, PeerUnreachableError, RemoteError } from '../errors.ts'
import type { ChannelSession } from '../kept-channel.ts'
import { PendingRequests } from '../pending-requests.ts'
import { encodeStoreRequest, type StoreRequest } from '../protocols/store.ts'
import { decodeStoreAnswer, type StoreAnswer } from '../protocols/store-answers.ts'
import { partsOf } from '../protocols/store-fields.ts'
import type { Channel } from '../types.ts'
import { CollectedParts } from './collected-parts.ts'

interface PendingAnswer {
  /**
   * Takes an answer.
   *
   * @returns true if it was the last.
   *
   * @throws {MalformedError} if it does not fit.
   */
  take(answer: StoreAnswer): boolean
  /** Called when the other side has said anything, to any request. */
  heard(): void
  reject(error: Error): void
}

/** Watches a request that others may overtake without harm, or that takes long. */
interface Watching {
  /** Tells how many chunks are done, each time that the other side is still working on it. */
  readonly onWorking?: ((doneCount: number) => void) | undefined
  /** Called when the other side has said anything, to any request. */
  readonly onHeard?: (() => void) | undefined
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

  /**
   * Whatever the other side says keeps the deadline away, because puts are answered in any order and
   * disks are slow at times; but not for longer than `patienceMs` without any progress of this one.
   */
  async put(id: ChunkId, bytes: Uint8Array, deadline: Deadline, patienceMs: number): Promise<void> {
    const length = bytes.byteLength
    let movedMs = this.#clock.monotonic()
    const extend = (): void => {
      movedMs = this.#clock.monotonic()
      deadline.extend()
    }
    const onHeard = (): void => {
      if (this.#clock.monotonic() - movedMs < patienceMs) deadline.extend()
    }
    await this.#ask<void>(
      (request) =>
        partsOf(bytes).map(
          (part, at): StoreRequest =>
            at === 0 ? { kind: 'put', request, id, length, part } : { kind: 'part', request, part }
        ),
      (answer) => (answer.kind === 'stored' ? { value: undefined } : unexpected(answer)),
      { signal: deadline.signal, extend },
      {
        onHeard,
        onWorking: (doneCount) => {
          if (doneCount === 0) extend() // it has to wait for room, as all others
        }
      }
    )
  }

  /** @param isLeased whether a yes shall be a lease. */
  async has(ids: readonly ChunkId[], isLeased: boolean, deadline: Deadline): Promise<boolean[]> {
    return this.#ask(
      (request) => [{ kind: isLeased ? 'has' : 'holds', request, ids }],
      (answer) => readHeld(answer, ids),
      deadline
    )
  }

  async check(
    ids: readonly ChunkId[],
    deadline: Deadline,
    onWorking: (doneCount: number) => void
  ): Promise<CopyCondition[]> {
    return this.#ask(
      (request) => [{ kind: 'check', request, ids }],
      (answer) => {
        if (answer.kind !== 'checked' || answer.conditions.length !== ids.length) {
          return unexpected(answer)
        }
        return { value: [...answer.conditions] }
      },
      deadline,
      { onWorking }
    )
  }

  async copy(
    what: { readonly ids: readonly ChunkId[]; readonly sources: readonly ChunkSource[] },
    deadline: Deadline,
    onWorking: (doneCount: number) => void
  ): Promise<boolean[]> {
    return this.#ask(
      (request) => [{ kind: 'copy', request, ...what }],
      (answer) => readHeld(answer, what.ids),
      deadline,
      { onWorking }
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

  /** Sends a signed order to delete, of either kind. */
  async collect(
    kind: 'collect' | 'trim',
    order: SignedEnvelope,
    deadline: Deadline,
    onWorking: (doneCount: number) => void
  ): Promise<Collected> {
    return this.#ask(
      (request) => [{ kind, request, order }],
      (answer) => (answer.kind === 'collected' ? { value: answer.collected } : unexpected(answer)),
      deadline,
      { onWorking }
    )
  }

  receive(message: Uint8Array): void {
    this.#heardMs = this.#clock.monotonic()
    const answer = decodeStoreAnswer(message)
    for (const pending of this.#pending.values()) pending.heard()
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

  async #ask<T>(
    messages: MessagesOf,
    read: Reading<T>,
    { signal, extend }: Deadline,
    { onWorking, onHeard }: Watching = {}
  ): Promise<T> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const take = (answer: StoreAnswer): boolean => {
      if (answer.kind === 'working' && onWorking !== undefined) {
        onWorking(answer.doneCount)
        return false
      }
      const last = read(answer)
      if (last !== undefined) resolve(last.value)
      return last !== undefined
    }
    const request = this.#pending.add({ take, reject, heard: () => onHeard?.() })
    let isSent = false
    const onAbort = (): void => {
      this.#pending.take(request)
      reject(signal.reason)
      if (this.#isSilent(signal.reason)) {
        // It says nothing at all: the next request opens another channel.
        this.#pending.failAll(signal.reason)
        this.#channel.abort(signal.reason)
      } else if (isSent) {
        this.#cancel(request)
      }
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const sent = this.#sending(async () => {
      for (const message of messages(request)) {
        if (this.#pending.get(request) === undefined) return // given up, or refused
        isSent = true
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

  /** Whether a request has timed out, and no other has had an answer for as long. */
  #isSilent(reason: unknown): reason is PeerTimeoutError {
    if (!(reason instanceof PeerTimeoutError)) return false
    return this.#clock.monotonic() - this.#heardMs >= reason.timeoutMs
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

function readHeld(
  answer: StoreAnswer,
  ids: readonly ChunkId[]
): { readonly value: boolean[] } | undefined {
  if (answer.kind !== 'held' || answer.held.length !== ids.length) return unexpected(answer)
  return { value: [...answer.held] }
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
