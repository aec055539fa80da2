import type { Connection, PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { AbortOptions } from '../lib/abort-options.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { endAddressTimer } from './address-timer.ts'
import { parseFullAddress, parseUsableAddresses } from './addresses.ts'
import type { WireBytes } from './counted-tcp.ts'
import { KAD_PROTOCOL } from './create-libp2p.ts'
import { Dialler, streamLimits } from './dialler.ts'
import { JoinRefusedError, PeerUnreachableError } from './errors.ts'
import { Greeter } from './greeter.ts'
import { IdleConnections } from './idle-connections.ts'
import { parseJoinToken } from './join-token.ts'
import { KeptConnections } from './kept-connections.ts'
import type { Membership, MembershipDocuments } from './membership.ts'
import type { AdmittedConnection } from './membership-gate.ts'
import { MembershipWatch } from './membership-watch.ts'
import { MAX_ADDRESSES, type MetadataList } from './metadata-list.ts'
import { createParts, type NodeComponents, type NodeOptions, type NodeParts } from './node-parts.ts'
import { parsePeerId } from './peer-identity.ts'
import { ProtocolChannels } from './protocol-channels.ts'
import { HELLO } from './protocols/hello.ts'
import { requestRenewal } from './renewal-request.ts'
import { permitsProtocol } from './rights.ts'
import type { Channel, Member, PeerNode, ProtocolSpec, ServeChannel } from './types.ts'

/** A connection to a member. */
export interface MemberConnection {
  readonly member: Member
  readonly direction: 'inbound' | 'outbound'
  /** Multiaddr of the other end. */
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly openedMs: number
}

/** The agent's libp2p node: connects, says hello, and carries protocols between members. */
export class Libp2pNode implements PeerNode {
  readonly peerId: string
  /** This agent's place in its cluster; entered with its certificate before the start, or by `join`. */
  readonly membership: Membership
  readonly #parts: NodeParts
  readonly #log: Logger
  readonly #dialler: Dialler
  readonly #greeter: Greeter
  readonly #watch: MembershipWatch
  readonly #kept: KeptConnections
  readonly #idle: IdleConnections
  readonly #tasks = new Set<Promise<void>>()
  readonly #channels: ProtocolChannels
  readonly #toldAddresses = new WeakMap<Connection, readonly string[]>()
  #stopping: Promise<void> | undefined

  /** Makes a node with the identity of a 32-byte Ed25519 seed; `start` lets it listen. */
  static async create(
    components: NodeComponents,
    seed: Uint8Array,
    options: NodeOptions = {}
  ): Promise<Libp2pNode> {
    return new Libp2pNode(await createParts(components, seed, options), options)
  }

  private constructor(parts: NodeParts, options: NodeOptions) {
    const { clock, random, gate, issuer, logger, membership, doors } = parts
    const { refusals } = doors
    const { agentVersion = '0', openTimeoutMs = 20_000, helloTimeoutMs = 10_000, watchMs } = options
    this.#parts = parts
    this.#dialler = new Dialler(parts, openTimeoutMs)
    this.peerId = parts.identity.peerId
    this.membership = membership
    const log = logger.forComponent('blobswarm:peer:node')
    this.#log = log
    this.#channels = new ProtocolChannels({
      ...parts,
      dialler: this.#dialler,
      refusals,
      log,
      own: (task) => this.#own(task)
    })
    this.#greeter = new Greeter(
      {
        membership,
        issuer,
        addresses: () => this.addresses(),
        agentVersion,
        gate,
        dialler: this.#dialler,
        clock,
        log,
        refusals,
        onAdmitted: (connection, member, { addresses }) =>
          this.#own(this.#remember(connection, member, addresses))
      },
      { timeoutMs: helloTimeoutMs }
    )
    this.#watch = new MembershipWatch(
      {
        ...parts,
        greeter: this.#greeter,
        abortChannels: (peerId, reason) => this.#channels.abort(reason, peerId),
        log
      },
      watchMs === undefined ? {} : { intervalMs: watchMs }
    )
    this.#kept = new KeptConnections({
      clock,
      random,
      log,
      connect: async (address, abortOptions) => this.connect(address, abortOptions),
      isConnected: (peerId) => gate.connectionTo(peerId) !== undefined,
      onChanged: (listener) => gate.onChanged(listener)
    })
    const connections = (): AdmittedConnection[] => gate.admitted()
    const isKept = (peerId: string): boolean => this.#kept.has(peerId)
    this.#idle = new IdleConnections({ clock, log, connections, isKept }, options)
  }

  /** Listens, and answers whatever is served. */
  async start(): Promise<void> {
    const { libp2p, gate, doors } = this.#parts
    libp2p.addEventListener('connection:open', ({ detail }) => {
      doors.watch(detail, (error) => this.#cutOff(detail.remotePeer, error))
      if (detail.status === 'open') this.#own(this.#greeter.meet(detail))
    })
    libp2p.addEventListener('connection:close', ({ detail }) => gate.closed(detail))
    this.membership.onMetadataListChanged((list) => this.#own(this.#learnFrom(list)))
    this.#watch.start()
    this.#idle.start()
    const { metadataList } = this.membership
    if (metadataList !== undefined) await this.#learnFrom(metadataList)
    await libp2p.handle(
      HELLO.id,
      async (stream, connection) => this.#greeter.answer(stream, connection),
      streamLimits(HELLO)
    )
    // Before anybody can connect: whoever is told the role takes this agent for a server of the DHT.
    await this.#takeRole()
    await libp2p.start()
  }

  /** Ends every channel and connection; resolves when nothing of the node runs any more. */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    await this.#stopping
  }

  /** Bytes that went over the wire, all connections together. */
  get wireBytes(): WireBytes {
    return this.#parts.counter.bytes
  }

  /** The DHT, for what finds images in it. */
  get dht(): KadDHT {
    return this.#parts.libp2p.services.dht
  }

  addresses(): string[] {
    return this.#parts.libp2p.getMultiaddrs().map(String)
  }

  /**
   * Becomes a member with a join token, asking its issuers in turn.
   *
   * @returns what to keep; enter the membership with it after the next start.
   * @throws {JoinRefusedError | PeerUnreachableError}
   */
  async join(tokenText: string, options: AbortOptions = {}): Promise<MembershipDocuments> {
    const token = parseJoinToken(tokenText)
    let failure: Error = new JoinRefusedError('the token names no issuer')
    for (const text of token.addresses) {
      try {
        const { address, peerId } = parseFullAddress(text)
        const connection = await this.#dialler.dial(peerId, address, options)
        const certificate = await this.#greeter.join(connection, token)
        const documents = { clusterId: token.clusterId, certificate }
        this.membership.enter(documents)
        await this.#takeRole()
        await this.#greeter.greet(connection)
        return documents
      } catch (thrown) {
        options.signal?.throwIfAborted()
        failure = toError(thrown)
        if (failure instanceof JoinRefusedError) break
      }
    }
    throw failure
  }

  /** Asks those who issue certificates for a newer one, as `requestRenewal`; enters nothing. */
  async renew(
    addresses: readonly string[],
    options: AbortOptions = {}
  ): Promise<Uint8Array | undefined> {
    const [greeter, dialler] = [this.#greeter, this.#dialler]
    return requestRenewal({ peerId: this.peerId, greeter, dialler }, addresses, options)
  }

  async serve(
    spec: ProtocolSpec,
    handle: ServeChannel,
    allow: (member: Member) => boolean = (member) => permitsProtocol(spec.id, member)
  ): Promise<void> {
    await this.#channels.serve(spec, handle, allow)
  }

  async open(peerId: string, spec: ProtocolSpec, options: AbortOptions = {}): Promise<Channel> {
    if (peerId === this.peerId) throw new PeerUnreachableError(peerId, 'it is this agent itself')
    return this.#channels.open(peerId, spec, options)
  }

  async connect(address: string, options: AbortOptions = {}): Promise<Member> {
    const { address: target, peerId } = parseFullAddress(address)
    return this.#dialler.withDeadline(peerId, 'to connect', options, async (signal) => {
      const { member } = await this.#dialler.reach(peerId, target, { signal })
      return member
    })
  }

  /** Connects to full multiaddrs now, and again whenever a connection is lost; not to this node's own. */
  keepConnected(addresses: readonly string[]): void {
    for (const address of addresses) {
      if (parseFullAddress(address).peerId !== this.peerId) this.#kept.keep(address)
    }
  }

  async learnAddresses(peerId: string, addresses: readonly string[]): Promise<void> {
    const multiaddrs = parseUsableAddresses(addresses.slice(0, MAX_ADDRESSES))
    await this.#parts.libp2p.peerStore.merge(parsePeerId(peerId), { multiaddrs })
  }

  members(): Member[] {
    return this.#parts.gate.members()
  }

  /** The connection to each member, the oldest where there are several. */
  connections(): MemberConnection[] {
    const admitted = this.#parts.gate
      .admitted()
      .map(({ connection, member }) => ({
        member,
        direction: connection.direction,
        address: connection.remoteAddr.toString(),
        openedMs: connection.timeline.open
      }))
      .toSorted((left, right) => right.openedMs - left.openedMs)
    return Array.from(new Map(admitted.map((each) => [each.member.peerId, each])).values())
  }

  /** Where a member that is connected said that it can be dialled. */
  addressesOf(peerId: string): readonly string[] {
    const connection = this.#parts.gate.connectionTo(peerId)?.connection
    return (connection && this.#toldAddresses.get(connection)) ?? []
  }

  onMembersChanged(listener: () => void): () => void {
    return this.#parts.gate.onChanged(listener)
  }

  async #stop(): Promise<void> {
    await Promise.all([this.#kept.stop(), this.#idle.stop()])
    const watched = this.#watch.stop()
    this.#channels.abort(new NotRunningError('the node'))
    endAddressTimer(this.#parts.libp2p)
    await this.#parts.libp2p.stop()
    await Promise.all([watched, ...this.#tasks])
  }

  /** Ends all that there is with a peer at once. */
  #cutOff(peer: PeerId, error: Error): void {
    this.#channels.abort(error, peer.toString())
    for (const connection of this.#parts.libp2p.getConnections(peer)) {
      this.#greeter.dismiss(connection, error)
    }
  }

  /** Learns where a new member can be dialled, and whether it is a server of the DHT. */
  async #remember(
    connection: Connection,
    { roles }: Member,
    addresses: readonly string[]
  ): Promise<void> {
    const { introductions } = this.#parts.libp2p.services
    this.#toldAddresses.set(connection, addresses)
    const protocols = roles.has('metadata') ? [KAD_PROTOCOL] : []
    try {
      await introductions.introduce(connection, {
        addresses: parseUsableAddresses(addresses),
        protocols
      })
    } catch (error) {
      this.#log.debug('what %p says of itself is of no use: %e', connection.remotePeer, error)
    }
  }

  /** Learns where the metadata providers are: whoever reads or writes needs all of them. */
  async #learnFrom({ providers }: MetadataList): Promise<void> {
    for (const { peerId, addresses } of providers) {
      if (peerId === this.peerId || addresses.length === 0) continue
      try {
        await this.learnAddresses(peerId, addresses)
      } catch (error) {
        this.#log.error('the metadata list has no good address of %p: %e', peerId, error)
      }
    }
  }

  async #takeRole(): Promise<void> {
    const isServer = this.membership.self?.roles.has('metadata') === true
    await this.dht.setMode(isServer ? 'server' : 'client')
  }

  /** Keeps a task that handles its own errors until it is done, so that `stop` can wait for it. */
  #own(task: Promise<void>): void {
    const owned = task.finally(() => this.#tasks.delete(owned))
    this.#tasks.add(owned)
  }
}
