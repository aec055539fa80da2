import type { Cancel, Clock } from '../../lib/clock.ts'
import { LimitExceededError } from '../../lib/errors.ts'
import { toError } from '../../lib/to-error.ts'
import { Wakeup } from '../../lib/wakeup.ts'
import { PeerTimeoutError, PeerUnreachableError } from '../errors.ts'
import { type GoodbyeReason, MAX_HAVES, type SwarmMessage } from '../protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../protocols/swarm-codec.ts'
import type { Channel } from '../types.ts'

export interface SwarmLinkOptions {
  /**
   * Least time between two announcements of chunks that travel on their own, each of which costs both ends
   * as much as a request; with something else they travel for nothing. A swarm of simulated agents loses
   * less than a percent by hearing of chunks so much later than at once. @default 200 ms
   */
  readonly haveIntervalMs?: number
  /**
   * Least time after which a few chunks travel on their own: on a slow line few come in 200 ms, and many
   * neighbours are told of each. A simulated swarm does not notice. @default 500 ms
   */
  readonly fewHavesIntervalMs?: number
  /** Messages that may wait for a remote that does not read. @default 4096 */
  readonly maxQueued?: number
  /** How long a remote may take to let a closing channel go. @default 5 seconds */
  readonly closeTimeoutMs?: number
}

/** A channel and the one reader of its messages. */
export interface OpenedChannel {
  readonly channel: Channel
  readonly incoming: AsyncIterator<Uint8Array>
}

/** Small messages that are put together. */
const MAX_TOGETHER = 64

/** As many chunks are worth a message of their own soon. */
const MANY_HAVES = 8

/** When chunks that the remote cannot want travel on their own at the latest: it counts their copies. */
const OLD_HAVES_INTERVAL_MS = 5000

interface Bulk {
  readonly message: SwarmMessage
  readonly sent: PromiseWithResolvers<void>
}

/**
 * Carries swarm messages over one channel. Small messages overtake chunks that have not begun;
 * announcements of chunks are collected and ride along with whatever is sent next.
 */
export class SwarmLink {
  readonly channel: Channel
  readonly #incoming: AsyncIterator<Uint8Array>
  readonly #clock: Clock
  readonly #haveIntervalMs: number
  readonly #fewHavesIntervalMs: number
  readonly #maxQueued: number
  readonly #closeTimeoutMs: number
  readonly #queue: SwarmMessage[] = []
  readonly #bulks: Bulk[] = []
  readonly #wakeup = new Wakeup()
  readonly #haves: number[] = []
  /** How many of those the remote may want. */
  #wantedHaves = 0
  #haveSentMs = -Infinity
  #isHaveDue = false
  #cancelHave: Cancel | undefined
  #cancelAbort: Cancel | undefined
  #isClosing = false
  #receivedMs: number
  #sentMs: number
  #sendingSinceMs: number | undefined

  constructor(opened: OpenedChannel, clock: Clock, options: SwarmLinkOptions = {}) {
    const { haveIntervalMs = 200, maxQueued = 4096, closeTimeoutMs = 5000 } = options
    const { fewHavesIntervalMs = Math.max(500, haveIntervalMs) } = options
    this.channel = opened.channel
    this.#incoming = opened.incoming
    this.#clock = clock
    this.#haveIntervalMs = haveIntervalMs
    this.#fewHavesIntervalMs = fewHavesIntervalMs
    this.#maxQueued = maxQueued
    this.#closeTimeoutMs = closeTimeoutMs
    this.#receivedMs = clock.monotonic()
    this.#sentMs = this.#receivedMs
    this.channel.ended.addEventListener('abort', this.#onEnded, { once: true })
  }

  get peerId(): string {
    return this.channel.remote.peerId
  }

  get hasEnded(): boolean {
    return this.channel.ended.aborted
  }

  /** Small messages that wait. */
  get queuedCount(): number {
    return this.#queue.length
  }

  /** When the last message came, monotonic. */
  get receivedMs(): number {
    return this.#receivedMs
  }

  /** When the last message went out, monotonic. */
  get sentMs(): number {
    return this.#sentMs
  }

  /** Since when a message waits for the remote to read; undefined if none does. */
  get sendingSinceMs(): number | undefined {
    return this.#sendingSinceMs
  }

  /** Queues a small message. A remote that lets too many of them pile up loses the channel. */
  post(message: SwarmMessage): void {
    if (this.hasEnded || this.#isClosing) return
    if (this.#queue.length >= this.#maxQueued) {
      this.channel.abort(new LimitExceededError('messages waiting for a peer', this.#maxQueued))
      return
    }
    this.#queue.push(message)
    this.#wakeup.wake()
  }

  /**
   * Announces chunks soon; those that the remote has itself, or does not want, at leisure.
   *
   * @param areWanted tells whether the remote may want these chunks from this agent.
   */
  announce(chunks: readonly number[], areWanted = true): void {
    if (this.hasEnded || this.#isClosing) return
    const intervalBefore = this.#haveIntervalNow()
    this.#haves.push(...chunks)
    if (areWanted) this.#wantedHaves += chunks.length
    const intervalMs = this.#haveIntervalNow()
    const waitMs = this.#haveSentMs + intervalMs - this.#clock.monotonic()
    if (waitMs <= 0) {
      this.#letHavesGo()
      return
    }
    if (intervalMs < intervalBefore) this.#cancelHaves()
    this.#cancelHave ??= this.#clock.schedule(() => this.#letHavesGo(), waitMs)
  }

  /**
   * Sends a large message after the small ones.
   *
   * @returns when the network has taken it.
   * @throws {PeerUnreachableError} if the link ends or closes first.
   */
  async send(message: SwarmMessage): Promise<void> {
    if (this.hasEnded || this.#isClosing) throw this.#closedError()
    const sent = Promise.withResolvers<void>()
    this.#bulks.push({ message, sent })
    this.#wakeup.wake()
    await sent.promise
  }

  /** Says goodbye after what is queued (chunks that wait are dropped), and closes the channel. */
  close(reason: GoodbyeReason): void {
    this.post({ type: 'goodbye', reason })
    this.#beginClose()
  }

  /**
   * Sends and receives until the channel ends or `handle` throws; resolves when both have come to rest.
   * `handle` is called for one message after the other and is not waited for.
   *
   * @throws {PeerUnreachableError | MalformedError | ProtocolViolationError} what ended it, if neither
   * end closed it.
   */
  async run(handle: (message: SwarmMessage) => void): Promise<void> {
    const both = [this.#sendAndClose(), this.#receiveAll(handle)]
    try {
      await Promise.all(both)
    } catch (thrown) {
      const error = toError(thrown)
      const wasClosing = this.#isClosing && error instanceof PeerUnreachableError
      this.channel.abort(error)
      await Promise.allSettled(both)
      if (!wasClosing) throw error
    } finally {
      this.#stop()
    }
  }

  async #receiveAll(handle: (message: SwarmMessage) => void): Promise<void> {
    const { channel } = this
    let failure: Error | undefined
    const take = (bytes: Uint8Array): boolean => {
      this.#receivedMs = this.#clock.monotonic()
      try {
        handle(decodeSwarmMessage(bytes))
      } catch (error) {
        failure = toError(error)
      }
      return failure === undefined && !this.#isClosing
    }
    await this.#incoming.return?.()
    await channel.deliver(take)
    if (failure !== undefined) throw failure
    this.#beginClose()
  }

  async #sendAndClose(): Promise<void> {
    await this.#sendAll()
    await this.channel.close()
  }

  #beginClose(): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#cancelAbort = this.#clock.schedule(
      () => this.channel.abort(new PeerTimeoutError(this.peerId, 'goodbye', this.#closeTimeoutMs)),
      this.#closeTimeoutMs
    )
    this.#wakeup.wake()
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const messages = this.#takeQueued()
      const isBulkNext = this.#queue.length === 0 && !this.#isClosing
      const bulk = isBulkNext ? this.#bulks[0] : undefined
      if (bulk !== undefined) messages.push(bulk.message)
      if (messages.length === 0) {
        if (this.#isClosing || this.hasEnded) return
        await this.#wakeup.wait()
        continue
      }
      this.#sentMs = this.#clock.monotonic()
      this.#sendingSinceMs = this.#sentMs
      await this.#sendTogether(messages)
      this.#sendingSinceMs = undefined
      if (bulk !== undefined) {
        this.#bulks.shift()
        bulk.sent.resolve()
      }
    }
  }

  /** Small messages that go out next, with announcements of chunks where these are due or travel for nothing. */
  #takeQueued(): SwarmMessage[] {
    const queued = this.#queue.splice(0, MAX_TOGETHER)
    const isSending = queued.length > 0 || (this.#bulks.length > 0 && !this.#isClosing)
    if (this.#haves.length === 0 || !(isSending || this.#isHaveDue)) return queued
    const indexes = this.#haves.splice(0, MAX_HAVES)
    this.#isHaveDue = this.#haves.length > 0
    this.#wantedHaves = Math.min(this.#wantedHaves, this.#haves.length)
    this.#haveSentMs = this.#clock.monotonic()
    this.#cancelHaves()
    return [{ type: 'have', indexes }, ...queued]
  }

  async #sendTogether(messages: readonly SwarmMessage[]): Promise<void> {
    const { channel } = this
    const [first] = messages
    if (messages.length > 1 && channel.sendTogether !== undefined) {
      await channel.sendTogether(messages.map(encodeSwarmMessage))
    } else if (first !== undefined) {
      await channel.send(encodeSwarmMessage(first))
      if (messages.length > 1) await this.#sendTogether(messages.slice(1))
    }
  }

  /** How long after the last announcement those that wait now may travel on their own. */
  #haveIntervalNow(): number {
    if (this.#wantedHaves >= MANY_HAVES) return this.#haveIntervalMs
    if (this.#wantedHaves > 0) return this.#fewHavesIntervalMs
    return Math.max(OLD_HAVES_INTERVAL_MS, this.#fewHavesIntervalMs)
  }

  #cancelHaves(): void {
    this.#cancelHave?.()
    this.#cancelHave = undefined
  }

  #letHavesGo(): void {
    this.#isHaveDue = true
    this.#wakeup.wake()
  }

  #closedError(): PeerUnreachableError {
    const reason = this.hasEnded ? toError(this.channel.ended.reason).message : 'it is being left'
    return new PeerUnreachableError(this.peerId, reason)
  }

  readonly #onEnded = (): void => {
    this.#stop()
    this.#wakeup.wake()
  }

  #stop(): void {
    this.#cancelHave?.()
    this.#cancelAbort?.()
    this.channel.ended.removeEventListener('abort', this.#onEnded)
    const error = this.#closedError()
    for (const { sent } of this.#bulks.splice(0)) sent.reject(error)
  }
}
