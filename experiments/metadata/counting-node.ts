import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { decodeFrame } from '../../src/peer/rpc.ts'
import type { Channel, PeerNode, ProtocolSpec } from '../../src/peer/types.ts'

/** One request to another agent. */
export interface CountedCall {
  readonly peer: string
  readonly protocol: string
  readonly method: string
  readonly startedMs: number
  /** undefined while there is no answer. */
  endedMs: number | undefined
}

/** What some work cost on the wire. */
export interface CallCost {
  /** Requests that were answered before the work was done; what goes on behind it is not waited for. */
  readonly calls: number
  /** Longest chain of requests of which each began after the one before had its answer. */
  readonly rounds: number
  /** How many of each method. */
  readonly methods: Readonly<Record<string, number>>
}

/** Notes every request and answer of the RPC protocols that go through the channels it opens. */
export class CountingNode implements Pick<PeerNode, 'open' | 'peerId'> {
  readonly peerId: string
  readonly #node: Pick<PeerNode, 'open' | 'peerId'>
  #calls: CountedCall[] = []

  constructor(node: Pick<PeerNode, 'open' | 'peerId'>) {
    this.#node = node
    this.peerId = node.peerId
  }

  async open(peerId: string, spec: ProtocolSpec, options?: AbortOptions): Promise<Channel> {
    const channel = await this.#node.open(peerId, spec, options)
    return new CountedChannel(channel, (call) => this.#calls.push(call))
  }

  /** Runs some work alone and says what it cost. */
  async cost<T>(work: () => Promise<T>): Promise<{ result: T; cost: CallCost }> {
    this.#calls = []
    const result = await work()
    const endedMs = performance.now()
    const calls = this.#calls.filter(
      (call) => (call.endedMs ?? Number.POSITIVE_INFINITY) <= endedMs
    )
    const methods: Record<string, number> = {}
    for (const { method } of calls) methods[method] = (methods[method] ?? 0) + 1
    return { result, cost: { calls: calls.length, rounds: roundsOf(calls), methods } }
  }
}

/** Most calls that are pairwise apart: by earliest end, each that begins after the last one taken. */
function roundsOf(calls: readonly CountedCall[]): number {
  let rounds = 0
  let lastEndMs = Number.NEGATIVE_INFINITY
  for (const { startedMs, endedMs = 0 } of calls.toSorted(
    (a, b) => (a.endedMs ?? 0) - (b.endedMs ?? 0)
  )) {
    if (startedMs < lastEndMs) continue
    rounds += 1
    lastEndMs = endedMs
  }
  return rounds
}

class CountedChannel implements Channel {
  readonly #channel: Channel
  readonly #note: (call: CountedCall) => void
  readonly #open = new Map<number, CountedCall>()

  constructor(channel: Channel, note: (call: CountedCall) => void) {
    this.#channel = channel
    this.#note = note
  }

  get remote(): Channel['remote'] {
    return this.#channel.remote
  }

  get protocol(): string {
    return this.#channel.protocol
  }

  get ended(): AbortSignal {
    return this.#channel.ended
  }

  async send(parts: readonly Uint8Array[], options?: AbortOptions): Promise<void> {
    const [head] = parts
    const frame = head === undefined ? undefined : decodeFrame(head)
    if (frame?.kind === 'request') {
      const call: CountedCall = {
        peer: this.remote.peerId,
        protocol: this.protocol,
        method: frame.method,
        startedMs: performance.now(),
        endedMs: undefined
      }
      this.#open.set(frame.id, call)
      this.#note(call)
    }
    await this.#channel.send(parts, options)
  }

  async *messages(options?: AbortOptions): AsyncGenerator<Uint8Array> {
    for await (const message of this.#channel.messages(options)) {
      const frame = decodeFrame(message)
      const call = this.#open.get(frame.id)
      this.#open.delete(frame.id)
      if (call !== undefined) call.endedMs = performance.now()
      yield message
    }
  }

  async deliver(take: (message: Uint8Array) => boolean): Promise<void> {
    for await (const message of this.messages()) if (!take(message)) return
  }

  async close(): Promise<void> {
    await this.#channel.close()
  }

  abort(reason: Error): void {
    this.#channel.abort(reason)
  }
}
