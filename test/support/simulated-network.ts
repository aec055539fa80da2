import type { AbortOptions } from '../../src/lib/abort-options.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { type Random, seededRandom } from '../../src/lib/random.ts'
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
import { SimulatedChannel } from './simulated-channel.ts'
import type { Flow } from './simulated-flow.ts'
import { Weather } from './simulated-weather.ts'

/** A host's line. */
export interface Line {
  /** Bytes a second, each way. @default Infinity */
  readonly up?: number
  readonly down?: number
  /** One way, to anybody. @default 1 */
  readonly latencyMs?: number
}

/** Sees each message as it is handed to the network. */
export type Observer = (from: string, to: string, message: Uint8Array) => void

const OPEN_TIMEOUT_MS = 20_000
const LOOK_UP_MS = 50

/** Hosts with lines of limited bandwidth and latency on a clock of the test's. */
export class SimulatedNetwork {
  readonly clock: Clock
  readonly weather: Weather
  /** The directory answers nobody and takes no announcements, until it is up again. */
  isDirectoryDown = false
  observer: Observer = () => {}
  readonly #nodes = new Map<string, SimulatedNode>()
  /** Hosts that went without a word and have not come back: nobody even refuses a connection there. */
  readonly #vanished = new Set<string>()
  readonly #announced = new Map<string, Set<string>>()

  constructor(clock: Clock, random: Random = seededRandom(1)) {
    this.clock = clock
    this.weather = new Weather(clock, random, (from, to) => this.#nodes.get(from)?.resume(to))
  }

  /** Adds a host, or puts a fresh one in the place of one that crashed. */
  node(peerId: string, about: Partial<Member> = {}, line: Line = {}): SimulatedNode {
    const node = new SimulatedNode(this, testMember(peerId, about), line)
    this.#vanished.delete(peerId)
    this.#nodes.set(peerId, node)
    for (const other of this.#nodes.values()) other.resume(peerId)
    return node
  }

  find(peerId: string): SimulatedNode | undefined {
    return this.#nodes.get(peerId)
  }

  /** Channels that have not ended at hosts that live, as "here > there". */
  openChannels(isCounted: (peerId: string) => boolean): string[] {
    return Array.from(this.#nodes.values())
      .filter(({ peerId }) => isCounted(peerId))
      .flatMap((node) => node.channelsTo().map((there) => `${node.peerId} > ${there}`))
  }

  /** Nothing that a host sends could arrive, or be answered. */
  isUnreachable(from: string, to: string): boolean {
    const { weather } = this
    return this.#vanished.has(to) || weather.isBlocked(from, to) || weather.isBlocked(to, from)
  }

  /** A host goes away in the middle of whatever it does; with `isSilent` nobody is told. */
  crash(peerId: string, isSilent = false): void {
    const node = this.#nodes.get(peerId)
    this.#nodes.delete(peerId)
    if (isSilent) this.#vanished.add(peerId)
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
    const isDown = (): boolean => this.isDirectoryDown
    return {
      // Announced again in the background until somebody takes it, which is as good as at once here.
      announce: (root) => void of(root).add(self),
      withdraw: (root) => void of(root).delete(self),
      find: async function* find(root, options = {}) {
        await clock.sleep(LOOK_UP_MS, options)
        if (isDown()) await settledOrAborted(new Promise<void>(() => {}), [options.signal])
        options.signal?.throwIfAborted()
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

  get weather(): Weather {
    return this.#network.weather
  }

  /** Another process answers at its address, which knows nothing of its connections. */
  get isForgotten(): boolean {
    return this.isDead && this.#network.find(this.peerId) !== undefined
  }

  /** Hosts at the other ends of its channels. */
  channelsTo(): string[] {
    return Array.from(this.#channels, ({ remote }) => remote.peerId)
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
    if (this.#network.isUnreachable(this.peerId, peerId)) {
      await this.clock.sleep(OPEN_TIMEOUT_MS, options)
      throw new PeerUnreachableError(peerId, 'no answer in time')
    }
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

  /** A message is about to leave. */
  sends(to: string, message: Uint8Array): void {
    this.#network.observer(this.peerId, to, message)
  }

  /** A flow has something to send. */
  offer(flow: Flow): void {
    if (!this.#flows.includes(flow)) this.#flows.push(flow)
    if (!this.#isSending) this.#sendNext()
  }

  /** What waits for a host can go there again. */
  resume(to: string): void {
    for (const { outgoing, remote } of this.#channels) {
      if (remote.peerId === to && outgoing !== undefined) this.offer(outgoing)
    }
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
    for (let flow = this.#flows.shift(); flow !== undefined; flow = this.#flows.shift()) {
      const bytes = this.isDead ? 0 : flow.take()
      if (bytes === 0) continue
      this.#send(flow, bytes)
      return
    }
  }

  #send(flow: Flow, bytes: number): void {
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
  }

  #run(handle: ServeChannel, channel: SimulatedChannel): void {
    handle(channel).then(
      async () => channel.close(),
      (error: unknown) => channel.abort(toError(error))
    )
  }
}
