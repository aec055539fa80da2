import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { concatBytes } from '../../src/lib/bytes.ts'
import { settledOrAborted } from '../../src/lib/signals.ts'
import { PeerUnreachableError } from '../../src/peer/errors.ts'
import type { Channel, Member, ProtocolSpec } from '../../src/peer/types.ts'
import { Flow } from './simulated-flow.ts'
import type { SimulatedNode } from './simulated-network.ts'

const CLOSE_TIMEOUT_MS = 5000

/** One end of a simulated channel. */
export class SimulatedChannel implements Channel {
  readonly remote: Member
  readonly protocol: string
  readonly #node: SimulatedNode
  readonly #maxMessageBytes: number
  readonly #ended = new AbortController()
  #other: SimulatedChannel | undefined
  #outgoing: Flow | undefined

  constructor(node: SimulatedNode, remote: Member, spec: ProtocolSpec) {
    this.#node = node
    this.remote = remote
    this.protocol = spec.id
    this.#maxMessageBytes = spec.maxMessageBytes
    node.keep(this)
  }

  get ended(): AbortSignal {
    return this.#ended.signal
  }

  /** What leaves from here. */
  get outgoing(): Flow | undefined {
    return this.#outgoing
  }

  join(other: SimulatedChannel): void {
    this.#other = other
    this.#outgoing = new Flow(this.#node, other.#node, () => this.end(new Error('reset')))
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const message = concatBytes(parts)
    if (message.byteLength > this.#maxMessageBytes) throw new RangeError('message too long')
    const outgoing = this.#outgoing
    if (outgoing === undefined || outgoing.isClosed || this.ended.aborted) throw this.#gone()
    this.#node.sends(this.remote.peerId, message)
    outgoing.push(message)
    while (outgoing.isFull && !this.ended.aborted) {
      await changeOf(outgoing, signal)
    }
    if (this.ended.aborted) throw this.#gone()
  }

  async *messages(options: AbortOptions = {}): AsyncGenerator<Uint8Array> {
    const { signal } = options
    const incoming = this.#incoming
    if (incoming === undefined) throw this.#gone()
    for (;;) {
      signal?.throwIfAborted()
      const message = incoming.shift()
      if (message !== undefined) yield message
      else if (incoming.hasEnded) return
      else if (this.ended.aborted) throw this.#gone()
      else await changeOf(incoming, signal)
    }
  }

  async deliver(take: (message: Uint8Array) => boolean): Promise<void> {
    for await (const message of this.messages()) if (!take(message)) return
  }

  async close(): Promise<void> {
    const [outgoing, incoming] = [this.#outgoing, this.#incoming]
    if (outgoing === undefined || incoming === undefined) return
    outgoing.isClosed = true
    // The end of the stream takes as long as a message would.
    this.#tell(() => outgoing.wake())
    const late = new AbortController()
    const cancel = this.#node.clock.schedule(() => late.abort(), CLOSE_TIMEOUT_MS)
    while (!this.ended.aborted && !late.signal.aborted) {
      if (outgoing.hasEnded && incoming.hasEnded) break
      const changed = Promise.race([incoming.changed, outgoing.changed])
      await settledOrAborted(changed, [this.ended, late.signal])
    }
    cancel()
    this.abort(new Error('closed'))
  }

  abort(reason: Error): void {
    if (this.ended.aborted) return
    this.end(reason)
    this.#tell(() => this.#other?.end(reason))
  }

  /** The host crashed. */
  die(isSilent: boolean): void {
    if (isSilent) {
      this.#ended.abort(new Error('crashed'))
      this.#outgoing?.cut()
      this.#incoming?.wake()
    } else this.abort(new Error('reset'))
  }

  /** Takes note that the stream is over. */
  end(reason: Error): void {
    if (this.ended.aborted) return
    this.#ended.abort(reason)
    this.#outgoing?.cut()
    this.#incoming?.wake()
    this.#node.forget(this)
  }

  get #incoming(): Flow | undefined {
    return this.#other === undefined ? undefined : this.#other.#outgoing
  }

  /** Lets the other end know something, when the network lets it. */
  #tell(run: () => void): void {
    const { weather, peerId, line } = this.#node
    weather.deliver(peerId, this.remote.peerId, line.latencyMs, run)
  }

  #gone(): PeerUnreachableError {
    return new PeerUnreachableError(this.remote.peerId, 'the channel has ended')
  }
}

/** Waits until something happens to a flow; the end of its channel is such a thing. */
async function changeOf(flow: Flow, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) await flow.changed
  else await settledOrAborted(flow.changed, [signal])
  signal?.throwIfAborted()
}
