import type { AbortOptions } from '../lib/abort-options.ts'
import { abortable } from '../lib/abortable.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import { MalformedError, NotRunningError } from '../lib/errors.ts'
import { IdleTimer } from '../lib/idle-timer.ts'
import { toError } from '../lib/to-error.ts'
import { PeerTimeoutError, PeerUnreachableError, ProtocolViolationError } from './errors.ts'
import type { Channel, PeerNode, ProtocolSpec } from './types.ts'

/** What lives on one open channel: takes its messages and learns of its end. */
export interface ChannelSession {
  /** Whether no request waits for an answer. */
  readonly isIdle: boolean
  /** Takes the next message. What it throws ends the channel. */
  receive(message: Uint8Array): void
  /** Called once when the channel has ended, for whatever reason. */
  fail(error: Error): void
}

export interface KeptChannelComponents<S extends ChannelSession> {
  readonly node: Pick<PeerNode, 'open'>
  readonly clock: Clock
  readonly peerId: string
  readonly spec: ProtocolSpec
  /** Makes the session of a channel that was just opened. */
  readonly attach: (channel: Channel) => S
}

export interface KeptChannelOptions {
  /** Time to connect and to agree on the protocol. @default 10000 */
  openTimeoutMs?: number
  /** The channel is closed when nobody has had a request for so long, in milliseconds. @default 2 minutes */
  idleMs?: number
}

/** How long an idle channel may take to close in good order. */
const CLOSE_TIMEOUT_MS = 1000

interface Open<S> {
  readonly session: S
  readonly channel: Channel
  timer: IdleTimer
}

/**
 * Keeps one channel to a peer open for everybody who has requests for it. It is opened when it is
 * first needed, and again by the next request after it ended.
 */
export class KeptChannel<S extends ChannelSession> {
  readonly #components: KeptChannelComponents<S>
  readonly #openTimeoutMs: number
  readonly #idleMs: number
  readonly #closing = new AbortController()
  readonly #reading = new Set<Promise<void>>()
  #opening: Promise<S> | undefined
  #open: Open<S> | undefined

  constructor(components: KeptChannelComponents<S>, options: KeptChannelOptions = {}) {
    const { openTimeoutMs = 10_000, idleMs = 120_000 } = options
    if (!(openTimeoutMs > 0)) throw new RangeError(`openTimeoutMs must be above 0`)
    this.#components = components
    this.#openTimeoutMs = openTimeoutMs
    this.#idleMs = idleMs
  }

  /**
   * Gives the session of the open channel, opening one first if there is none.
   *
   * @throws {PeerUnreachableError | ProtocolRefusedError | PeerTimeoutError | NotRunningError}
   */
  async session(options: AbortOptions = {}): Promise<S> {
    const { signal } = options
    signal?.throwIfAborted()
    if (this.#closing.signal.aborted) throw this.#notRunning()
    if (this.#open !== undefined && !this.#open.channel.ended.aborted) {
      this.#open.timer.touch()
      return this.#open.session
    }
    this.#opening ??= this.#openChannel().finally(() => {
      this.#opening = undefined
    })
    return abortable(this.#opening, signal)
  }

  /** Closes the channel; what is in flight on it fails. Resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#closing.abort(this.#notRunning())
    await this.#opening?.catch(() => {})
    const open = this.#open
    this.#open = undefined
    if (open !== undefined) await this.#closeChannel(open, this.#notRunning())
    await Promise.all(this.#reading)
  }

  async #closeChannel({ session, channel, timer }: Open<S>, reason: Error): Promise<void> {
    const abort = (): void => channel.abort(reason)
    const isIdle = session.isIdle
    timer.stop()
    session.fail(reason)
    if (!isIdle) return abort()
    const cancel = this.#components.clock.schedule(abort, CLOSE_TIMEOUT_MS)
    await channel.close().catch(() => {}) // it has ended, which is what is wanted
    cancel()
  }

  #notRunning(): NotRunningError {
    const { spec, peerId } = this.#components
    return new NotRunningError(`${spec.id} to ${peerId}`)
  }

  async #openChannel(): Promise<S> {
    const { node, clock, peerId, spec, attach } = this.#components
    const timeoutMs = this.#openTimeoutMs
    const channel = await withDeadline(
      async ({ signal }) => {
        const opened = await node.open(peerId, spec, { signal })
        if (signal.aborted) opened.abort(toError(signal.reason)) // nobody waits for it any more
        return opened
      },
      {
        clock,
        timeoutMs,
        signal: this.#closing.signal,
        timedOut: () => new PeerTimeoutError(peerId, `opening ${spec.id}`, timeoutMs)
      }
    )
    const open: Open<S> = {
      session: attach(channel),
      channel,
      timer: this.#idleTimer(() => open)
    }
    this.#open = open
    const reading = this.#read(open)
    this.#reading.add(reading)
    void reading.finally(() => this.#reading.delete(reading))
    return open.session
  }

  async #read(open: Open<S>): Promise<void> {
    const { session, channel } = open
    const { peerId } = this.#components
    try {
      for await (const message of channel.messages()) session.receive(message)
      this.#end(open, new PeerUnreachableError(peerId, 'it closed the stream'))
      await channel.close().catch(() => {}) // the other side is gone already
    } catch (thrown) {
      const error = this.#blame(toError(thrown))
      this.#end(open, error)
      channel.abort(error)
    }
  }

  #idleTimer(open: () => Open<S>): IdleTimer {
    return new IdleTimer(this.#components.clock, this.#idleMs, () => this.#closeIdle(open()))
  }

  /** Nobody needs it: whoever has many that ask it now and then has no channel for each of them. */
  #closeIdle(open: Open<S>): void {
    if (this.#open !== open) return
    if (!open.session.isIdle) {
      open.timer = this.#idleTimer(() => open)
      return
    }
    this.#open = undefined
    const reason = new PeerUnreachableError(this.#components.peerId, 'the idle channel was closed')
    const closing = this.#closeChannel(open, reason).finally(() => this.#reading.delete(closing))
    this.#reading.add(closing)
  }

  #end(open: Open<S>, error: Error): void {
    open.timer.stop()
    if (this.#open === open) this.#open = undefined
    open.session.fail(error)
  }

  #blame(error: Error): Error {
    const { peerId } = this.#components
    if (error instanceof MalformedError) {
      return new ProtocolViolationError(peerId, error.message, { cause: error })
    }
    if (error instanceof PeerUnreachableError || error instanceof ProtocolViolationError) {
      return error
    }
    return new PeerUnreachableError(peerId, error.message, { cause: error })
  }
}
