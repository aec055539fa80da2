import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { concatBytes, MIB } from '../../src/lib/bytes.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { settledOrAborted } from '../../src/lib/signals.ts'
import { PeerUnreachableError } from '../../src/peer/errors.ts'
import type { Channel, Member, ProtocolSpec } from '../../src/peer/types.ts'

export interface ChannelPairOptions {
  /** Bytes that one direction buffers before `send` waits. @default 1 MiB */
  bufferBytes?: number
  /** How long `close` waits for the other side, in milliseconds. @default 5000 */
  closeTimeoutMs?: number
}

/** A member for tests, with every role and right unless told otherwise. */
export function testMember(peerId: string, about: Partial<Member> = {}): Member {
  return {
    peerId,
    roles: new Set(['versionManager', 'providerManager', 'metadata', 'provider', 'deploy']),
    rights: new Set(['read', 'write', 'admin']),
    issuedMs: 0,
    expiresMs: Number.MAX_SAFE_INTEGER,
    ...about
  }
}

/**
 * Two ends of one stream in memory, with the contract of `Channel`: the first is what member A holds
 * (its remote is B), the second what B holds.
 */
export function channelPair(
  memberA: Member,
  memberB: Member,
  spec: ProtocolSpec,
  options: ChannelPairOptions = {}
): [Channel, Channel] {
  const { bufferBytes = MIB, closeTimeoutMs = 5000 } = options
  const shared = new SharedEnd()
  const toA = new MessagePipe(bufferBytes)
  const toB = new MessagePipe(bufferBytes)
  return [
    new MemoryChannel(memberB, spec, { inbox: toA, outbox: toB, shared, closeTimeoutMs }),
    new MemoryChannel(memberA, spec, { inbox: toB, outbox: toA, shared, closeTimeoutMs })
  ]
}

/** The end of a stream, seen by both sides. */
class SharedEnd {
  readonly controller = new AbortController()
  #closedSides = 0

  sideClosed(): void {
    this.#closedSides += 1
    if (this.#closedSides === 2) this.controller.abort(new Error('the stream was closed'))
  }
}

/** One direction: messages in order, bounded by bytes; whoever waits is woken by any change. */
class MessagePipe {
  readonly #messages: Uint8Array[] = []
  readonly #capacity: number
  #bytes = 0
  #changed = Promise.withResolvers<void>()
  closed = false

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get isFull(): boolean {
    return this.#bytes >= this.#capacity
  }

  get changed(): Promise<void> {
    return this.#changed.promise
  }

  push(message: Uint8Array): void {
    this.#messages.push(message)
    this.#bytes += message.byteLength
    this.#wake()
  }

  shift(): Uint8Array | undefined {
    const message = this.#messages.shift()
    if (message === undefined) return undefined
    this.#bytes -= message.byteLength
    this.#wake()
    return message
  }

  close(): void {
    this.closed = true
    this.#wake()
  }

  discard(): void {
    this.#messages.length = 0
    this.#bytes = 0
    this.#wake()
  }

  #wake(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }
}

interface MemoryChannelParts {
  readonly inbox: MessagePipe
  readonly outbox: MessagePipe
  readonly shared: SharedEnd
  readonly closeTimeoutMs: number
}

class MemoryChannel implements Channel {
  readonly remote: Member
  readonly protocol: string
  readonly #maxMessageBytes: number
  readonly #parts: MemoryChannelParts
  #reading = false

  constructor(remote: Member, spec: ProtocolSpec, parts: MemoryChannelParts) {
    this.remote = remote
    this.protocol = spec.id
    this.#maxMessageBytes = spec.maxMessageBytes
    this.#parts = parts
  }

  get ended(): AbortSignal {
    return this.#parts.shared.controller.signal
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const { signal } = options
    const { outbox } = this.#parts
    signal?.throwIfAborted()
    const message = concatBytes(parts)
    if (message.byteLength > this.#maxMessageBytes) {
      throw new RangeError(
        `a message of ${message.byteLength} bytes, at most ${this.#maxMessageBytes}`
      )
    }
    this.#throwIfEnded()
    if (outbox.closed) throw new PeerUnreachableError(this.remote.peerId, 'this side was closed')
    outbox.push(message)
    while (outbox.isFull && !this.ended.aborted) {
      await settledOrAborted(outbox.changed, [signal, this.ended])
      signal?.throwIfAborted()
    }
    this.#throwIfEnded()
  }

  async *messages(options: AbortOptions = {}): AsyncGenerator<Uint8Array> {
    const { signal } = options
    const { inbox } = this.#parts
    if (this.#reading) throw new Error('messages() is read already')
    this.#reading = true
    try {
      for (;;) {
        signal?.throwIfAborted()
        const message = inbox.shift()
        if (message !== undefined) yield message
        else if (inbox.closed) return
        else {
          this.#throwIfEnded()
          await settledOrAborted(inbox.changed, [signal, this.ended])
        }
      }
    } finally {
      this.#reading = false
    }
  }

  async deliver(take: (message: Uint8Array) => boolean): Promise<void> {
    for await (const message of this.messages()) if (!take(message)) return
  }

  async close(): Promise<void> {
    const { inbox, outbox, shared, closeTimeoutMs } = this.#parts
    if (!outbox.closed) {
      outbox.close()
      shared.sideClosed()
    }
    const timedOut = new AbortController()
    const cancel = systemClock.schedule(() => timedOut.abort(), closeTimeoutMs)
    try {
      while (!this.ended.aborted && !inbox.closed && !timedOut.signal.aborted) {
        if (!this.#reading) inbox.discard()
        await settledOrAborted(inbox.changed, [this.ended, timedOut.signal])
      }
    } finally {
      cancel()
    }
    if (!this.ended.aborted) this.abort(new Error('the other side did not close in time'))
  }

  abort(reason: Error): void {
    const { inbox, outbox, shared } = this.#parts
    if (shared.controller.signal.aborted) return
    inbox.discard()
    outbox.discard()
    shared.controller.abort(reason)
  }

  #throwIfEnded(): void {
    const { ended } = this
    if (!ended.aborted) return
    const reason = ended.reason as Error
    throw new PeerUnreachableError(this.remote.peerId, reason.message, { cause: reason })
  }
}
