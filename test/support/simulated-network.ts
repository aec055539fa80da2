import type { AbortOptions } from '../../src/chunks/types.ts'
import { concatBytes, KIB } from '../../src/lib/bytes.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { settledOrAborted } from '../../src/lib/signals.ts'
import { toError } from '../../src/lib/to-error.ts'
import { PeerUnreachableError, ProtocolRefusedError } from '../../src/peer/errors.ts'
import type {
  Channel,
  ImageDirectory,
  Member,
  PeerNode,
  ProtocolSpec,
  ServeChannel
} from '../../src/peer/types.ts'
import { testMember } from './channel-pair.ts'

/** A host's line. */
export interface Line {
  /** Bytes a second, each way. @default Infinity */
  readonly up?: number
  readonly down?: number
  /** One way, to anybody. @default 1 */
  readonly latencyMs?: number
}

const QUANTUM_BYTES = 16 * KIB
const SEND_BUFFER_BYTES = 64 * KIB
const RECEIVE_BUFFER_BYTES = 256 * KIB
// Length prefix, noise, yamux, TCP and IP of one message, and of each full segment of it.
const MESSAGE_OVERHEAD_BYTES = 80
const SEGMENT_OVERHEAD = 1.046

/** Hosts with lines of limited bandwidth and latency on a clock of the test's. */
export class SimulatedNetwork {
  readonly clock: Clock
  readonly #nodes = new Map<string, SimulatedNode>()
  readonly #announced = new Map<string, Set<string>>()

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Adds a host, or puts a fresh one in the place of one that crashed. */
  node(peerId: string, about: Partial<Member> = {}, line: Line = {}): SimulatedNode {
    const node = new SimulatedNode(this, testMember(peerId, about), line)
    this.#nodes.set(peerId, node)
    return node
  }

  find(peerId: string): SimulatedNode | undefined {
    return this.#nodes.get(peerId)
  }

  /** A host goes away in the middle of whatever it does; with `isSilent` nobody is told. */
  crash(peerId: string, isSilent = false): void {
    const node = this.#nodes.get(peerId)
    this.#nodes.delete(peerId)
    for (const announced of this.#announced.values()) announced.delete(peerId)
    node?.die(isSilent)
  }

  /** The directory as a host sees it. */
  directory(self: string): ImageDirectory {
    const of = (root: Uint8Array): Set<string> => {
      const key = Buffer.from(root).toString('hex')
      const peers = this.#announced.get(key) ?? new Set()
      this.#announced.set(key, peers)
      return peers
    }
    const { clock } = this
    return {
      announce: (root) => void of(root).add(self),
      withdraw: (root) => void of(root).delete(self),
      find: async function* find(root) {
        await clock.sleep(50)
        for (const peer of of(root)) if (peer !== self) yield peer
      }
    }
  }
}

/** One host. */
export class SimulatedNode implements PeerNode {
  readonly peerId: string
  readonly member: Member
  readonly line: Required<Line>
  /** Bytes that left and reached this host, headers included. */
  sentBytes = 0
  receivedBytes = 0
  isDead = false
  readonly #network: SimulatedNetwork
  readonly #served = new Map<string, ServeChannel>()
  readonly #flows: Flow[] = []
  readonly #channels = new Set<SimulatedChannel>()
  #isSending = false
  #downFreeMs = 0

  constructor(network: SimulatedNetwork, member: Member, line: Line) {
    this.#network = network
    this.peerId = member.peerId
    this.member = member
    this.line = { up: Infinity, down: Infinity, latencyMs: 1, ...line }
  }

  get clock(): Clock {
    return this.#network.clock
  }

  addresses(): string[] {
    return [`/simulated/${this.peerId}`]
  }

  async serve(spec: ProtocolSpec, handle: ServeChannel): Promise<void> {
    this.#served.set(spec.id, handle)
  }

  async open(peerId: string, spec: ProtocolSpec, options: AbortOptions = {}): Promise<Channel> {
    await this.clock.sleep(this.line.latencyMs * 4) // TCP, noise, hello
    options.signal?.throwIfAborted()
    const target = this.#network.find(peerId)
    if (target === undefined || this.isDead) throw new PeerUnreachableError(peerId, 'no answer')
    const handle = target.#served.get(spec.id)
    if (handle === undefined) throw new ProtocolRefusedError(peerId, spec.id, 'not served')
    const near = new SimulatedChannel(this, target.member, spec)
    const far = new SimulatedChannel(target, this.member, spec)
    near.join(far)
    far.join(near)
    target.#run(handle, far)
    return near
  }

  async connect(address: string): Promise<Member> {
    throw new PeerUnreachableError(address, 'simulated hosts know each other')
  }

  async learnAddresses(): Promise<void> {}

  members(): Member[] {
    return []
  }

  onMembersChanged(): () => void {
    return () => {}
  }

  keep(channel: SimulatedChannel): void {
    this.#channels.add(channel)
  }

  forget(channel: SimulatedChannel): void {
    this.#channels.delete(channel)
  }

  die(isSilent: boolean): void {
    this.isDead = true
    for (const channel of this.#channels) channel.die(isSilent)
  }

  /** A flow has something to send. */
  offer(flow: Flow): void {
    if (!this.#flows.includes(flow)) this.#flows.push(flow)
    if (!this.#isSending) this.#sendNext()
  }

  /** Time at which bytes that arrive now have passed the downlink. */
  receive(bytes: number): number {
    this.receivedBytes += bytes
    const startMs = Math.max(this.#downFreeMs, this.clock.monotonic())
    this.#downFreeMs = startMs + (bytes / this.line.down) * 1000
    return this.#downFreeMs
  }

  /** One quantum of the next flow, in turn. */
  #sendNext(): void {
    this.#isSending = false
    const flow = this.#flows.shift()
    if (flow === undefined || this.isDead) return
    const bytes = flow.take()
    if (bytes > 0) {
      this.sentBytes += bytes
      this.#flows.push(flow)
      this.#isSending = true
      this.clock.schedule(
        () => {
          flow.passed(bytes)
          this.#sendNext()
        },
        (bytes / this.line.up) * 1000
      )
    } else this.#sendNext()
  }

  #run(handle: ServeChannel, channel: SimulatedChannel): void {
    handle(channel).then(
      async () => channel.close(),
      (error: unknown) => channel.abort(toError(error))
    )
  }
}

interface Parcel {
  readonly message: Uint8Array
  readonly wireBytes: number
}

/** One direction of a channel: a queue at the sender, and what has arrived. */
class Flow {
  readonly #from: SimulatedNode
  readonly #to: SimulatedNode
  readonly #queue: Parcel[] = []
  readonly #inbox: Uint8Array[] = []
  #queuedBytes = 0
  #leftOfFirst = 0
  #inboxBytes = 0
  #onTheWay = 0
  #changed = Promise.withResolvers<void>()
  isClosed = false
  isCut = false

  constructor(from: SimulatedNode, to: SimulatedNode) {
    this.#from = from
    this.#to = to
  }

  get changed(): Promise<void> {
    return this.#changed.promise
  }

  get isFull(): boolean {
    return this.#queuedBytes > SEND_BUFFER_BYTES
  }

  get hasEnded(): boolean {
    return this.isClosed && this.#queue.length === 0 && this.#onTheWay === 0
  }

  push(message: Uint8Array): void {
    const wireBytes = Math.ceil(message.byteLength * SEGMENT_OVERHEAD) + MESSAGE_OVERHEAD_BYTES
    this.#queue.push({ message, wireBytes })
    this.#queuedBytes += wireBytes
    if (this.#queue.length === 1) this.#leftOfFirst = wireBytes
    this.#from.offer(this)
  }

  shift(): Uint8Array | undefined {
    const message = this.#inbox.shift()
    if (message !== undefined) {
      this.#inboxBytes -= message.byteLength
      if (this.#queue.length > 0) this.#from.offer(this)
    }
    return message
  }

  /** Bytes to send now: none if the receiver does not read. */
  take(): number {
    if (this.isCut || this.#queue.length === 0) return 0
    if (this.#inboxBytes + this.#onTheWay > RECEIVE_BUFFER_BYTES) return 0
    return Math.min(QUANTUM_BYTES, this.#leftOfFirst)
  }

  passed(bytes: number): void {
    const [first] = this.#queue
    if (first === undefined || this.isCut) return
    this.#leftOfFirst -= bytes
    this.#queuedBytes -= bytes
    const arrivesMs = this.#from.line.latencyMs
    if (this.#leftOfFirst <= 0) {
      this.#queue.shift()
      this.#leftOfFirst = this.#queue[0]?.wireBytes ?? 0
      this.#onTheWay += first.message.byteLength
      this.#from.clock.schedule(() => this.#arrive(first), arrivesMs)
    }
    this.wake()
  }

  cut(): void {
    this.isCut = true
    this.#queue.length = 0
    this.#inbox.length = 0
    this.wake()
  }

  wake(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #arrive(parcel: Parcel): void {
    const readyMs = this.#to.receive(parcel.wireBytes)
    this.#from.clock.schedule(() => {
      this.#onTheWay -= parcel.message.byteLength
      if (this.isCut) return
      this.#inbox.push(parcel.message)
      this.#inboxBytes += parcel.message.byteLength
      this.wake()
    }, readyMs - this.#from.clock.monotonic())
  }
}

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

  join(other: SimulatedChannel): void {
    this.#other = other
    this.#outgoing = new Flow(this.#node, other.#node)
  }

  async send(parts: readonly Uint8Array[], options: AbortOptions = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const message = concatBytes(parts)
    if (message.byteLength > this.#maxMessageBytes) throw new RangeError('message too long')
    const outgoing = this.#outgoing
    if (outgoing === undefined || outgoing.isClosed || this.ended.aborted) throw this.#gone()
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

  async close(): Promise<void> {
    const [outgoing, incoming] = [this.#outgoing, this.#incoming]
    if (outgoing === undefined || incoming === undefined) return
    outgoing.isClosed = true
    // The end of the stream takes as long as a message would.
    this.#node.clock.schedule(() => outgoing.wake(), this.#node.line.latencyMs)
    const late = new AbortController()
    const cancel = this.#node.clock.schedule(() => late.abort(), 5000)
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
    const other = this.#other
    this.#node.clock.schedule(() => other?.end(reason), this.#node.line.latencyMs)
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
