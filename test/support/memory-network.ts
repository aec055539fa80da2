import type { AbortOptions } from '../../src/lib/abort-options.ts'
import { toError } from '../../src/lib/to-error.ts'
import { PeerUnreachableError, ProtocolRefusedError } from '../../src/peer/errors.ts'
import type { Channel, Member, PeerNode, ProtocolSpec, ServeChannel } from '../../src/peer/types.ts'
import { channelPair, testMember } from './channel-pair.ts'

interface Served {
  readonly spec: ProtocolSpec
  readonly handle: ServeChannel
  readonly allow: (member: Member) => boolean
}

/** Nodes that open channels to each other in memory; every one is a member and knows all others. */
export class MemoryNetwork {
  readonly #nodes = new Map<string, MemoryNode>()

  /** Adds a node, or puts a fresh one in the place of one that went. */
  node(peerId: string, about: Partial<Member> = {}): MemoryNode {
    const node = new MemoryNode(testMember(peerId, about), this)
    this.#nodes.set(peerId, node)
    return node
  }

  find(peerId: string): MemoryNode | undefined {
    return this.#nodes.get(peerId)
  }

  members(): Member[] {
    return [...this.#nodes.values()].map(({ member }) => member)
  }

  /** Takes a node off the network: its channels end, and it cannot be reached from now on. */
  remove(peerId: string): void {
    this.#nodes.get(peerId)?.cut()
    this.#nodes.delete(peerId)
  }
}

export class MemoryNode implements PeerNode {
  readonly peerId: string
  readonly member: Member
  /** Addresses that were learned, by peer. */
  readonly learned = new Map<string, readonly string[]>()
  /** How often each protocol was opened from here. */
  readonly opened: string[] = []
  readonly #network: MemoryNetwork
  readonly #served = new Map<string, Served>()
  readonly #channels = new Set<Channel>()
  readonly #serving = new Set<Promise<void>>()

  constructor(member: Member, network: MemoryNetwork) {
    this.peerId = member.peerId
    this.member = member
    this.#network = network
  }

  addresses(): string[] {
    return [`/memory/${this.peerId}`]
  }

  async serve(
    spec: ProtocolSpec,
    handle: ServeChannel,
    allow: (member: Member) => boolean = () => true
  ): Promise<void> {
    this.#served.set(spec.id, { spec, handle, allow })
  }

  async open(peerId: string, spec: ProtocolSpec, options: AbortOptions = {}): Promise<Channel> {
    options.signal?.throwIfAborted()
    const target = this.#network.find(peerId)
    if (target === undefined) throw new PeerUnreachableError(peerId, 'no such node')
    this.opened.push(`${peerId} ${spec.id}`)
    return target.#accept(this, spec)
  }

  async connect(address: string): Promise<Member> {
    throw new PeerUnreachableError(address, 'nodes in memory know each other')
  }

  async learnAddresses(peerId: string, addresses: readonly string[]): Promise<void> {
    this.learned.set(peerId, addresses)
  }

  members(): Member[] {
    return this.#network.members().filter(({ peerId }) => peerId !== this.peerId)
  }

  onMembersChanged(): () => void {
    return () => {}
  }

  /** Ends every channel of this node at once. */
  cut(): void {
    for (const channel of this.#channels) channel.abort(new Error('cut'))
  }

  /** Resolves when nothing that this node serves is running any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#serving)
  }

  #accept(from: MemoryNode, spec: ProtocolSpec): Channel {
    const served = this.#served.get(spec.id)
    if (served === undefined) {
      throw new ProtocolRefusedError(this.peerId, spec.id, 'not served', { isUnknown: true })
    }
    if (!served.allow(from.member)) {
      throw new ProtocolRefusedError(this.peerId, spec.id, 'not allowed')
    }
    const [near, far] = channelPair(from.member, this.member, spec)
    from.#keep(near)
    this.#keep(far)
    const serving = served
      .handle(far)
      .then(() => far.close())
      .catch((error: unknown) => far.abort(toError(error)))
      .finally(() => this.#serving.delete(serving))
    this.#serving.add(serving)
    return near
  }

  #keep(channel: Channel): void {
    this.#channels.add(channel)
    channel.ended.addEventListener('abort', () => this.#channels.delete(channel), { once: true })
  }
}
