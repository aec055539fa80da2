import type { Connection } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { AbortOptions } from '../chunks/types.ts'
import type { Clock } from '../lib/clock.ts'
import { NotRunningError } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { parseFullAddress, parseUsableAddresses } from './addresses.ts'
import { type WireBytes, WireCounter } from './counted-tcp.ts'
import { createNodeLibp2p, type NodeLibp2p } from './create-libp2p.ts'
import { Dialler, streamLimits } from './dialler.ts'
import { JoinRefusedError, PeerUnreachableError } from './errors.ts'
import { Greeter } from './greeter.ts'
import { IdleConnections } from './idle-connections.ts'
import { parseJoinToken } from './join-token.ts'
import { KeptConnections } from './kept-connections.ts'
import { Membership, type MembershipDocuments } from './membership.ts'
import { type AdmittedConnection, MembershipGate } from './membership-gate.ts'
import { MembershipWatch } from './membership-watch.ts'
import { MAX_ADDRESSES, type MetadataList } from './metadata-list.ts'
import { identityFromSeed, type PeerIdentity, parsePeerId } from './peer-identity.ts'
import { ProtocolChannels } from './protocol-channels.ts'
import { HELLO } from './protocols/hello.ts'
import { ProviderRecords } from './provider-records.ts'
import { requestRenewal } from './renewal-request.ts'
import { permitsProtocol } from './rights.ts'
import type { CertificateIssuer } from './token-issuer.ts'
import type { Channel, Member, PeerNode, ProtocolSpec, ServeChannel } from './types.ts'

export interface NodeComponents {
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** Present at an agent that may admit others to the cluster. */
  readonly issuer?: CertificateIssuer | undefined
}

interface NodeParts extends NodeComponents {
  readonly identity: PeerIdentity
  readonly membership: Membership
  readonly gate: MembershipGate
  readonly counter: WireCounter
  readonly libp2p: NodeLibp2p
}

export interface NodeOptions {
  /** Multiaddrs to listen on. @default ['/ip4/127.0.0.1/tcp/0'] */
  listen?: readonly string[]
  /** Multiaddrs that others are told instead of the real ones. @default [] */
  announce?: readonly string[]
  /** What is told of this program's version. @default '0' */
  agentVersion?: string
  /** Connections in all, both directions. @default 2000 */
  maxConnections?: number
  /** How long opening a stream may take, connecting included, in milliseconds. @default 20000 */
  openTimeoutMs?: number
  /** How long hello may take, in milliseconds. @default 10000 */
  helloTimeoutMs?: number
  /** How often the certificates of connected members are looked at, in milliseconds. @default 20000 */
  watchMs?: number
}

/** A connection to a member. */
export interface MemberConnection {
  readonly member: Member
  readonly direction: 'inbound' | 'outbound'
  /** Multiaddr of the other end. */
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly openedMs: number
}

// An answer that arrives together with the end of the protocol's negotiation may be lost.
const IDENTIFY_ATTEMPTS = 3

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
    const { clock, metrics } = components
    const { listen = ['/ip4/127.0.0.1/tcp/0'], announce = [], agentVersion = '0' } = options
    const { maxConnections = 2000, helloTimeoutMs = 10_000 } = options
    const identity = await identityFromSeed(seed)
    const membership = new Membership(identity.peerId, clock)
    const gate = new MembershipGate(clock, {
      waitMs: helloTimeoutMs,
      objectionTo: (member) => membership.objectionTo(member)
    })
    const counter = new WireCounter(metrics)
    const records = new ProviderRecords(components)
    metrics?.gauge('blobswarm_peer_dht_announcements', {
      help: 'Announcements of images that this agent keeps for others',
      read: () => records.count
    })
    const libp2p = await createNodeLibp2p({
      privateKey: identity.privateKey,
      listen,
      announce,
      maxConnections,
      agentVersion,
      gate: gate.middleware,
      counter,
      records
    })
    const parts = { ...components, identity, membership, gate, counter, libp2p }
    return new Libp2pNode(parts, options)
  }

  private constructor(parts: NodeParts, options: NodeOptions) {
    const { clock, random, gate, issuer, logger, membership } = parts
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
        onAdmitted: (connection, { addresses }) => this.#own(this.#remember(connection, addresses))
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
    const { libp2p, gate } = this.#parts
    libp2p.addEventListener('connection:open', ({ detail }) =>
      this.#own(this.#greeter.meet(detail))
    )
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
    await libp2p.start()
    await this.#takeRole()
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
    await this.#parts.libp2p.stop()
    await Promise.all([watched, ...this.#tasks])
  }

  /** Learns where a new member can be dialled and what it speaks, which the DHT needs to know. */
  async #remember(connection: Connection, addresses: readonly string[]): Promise<void> {
    const { libp2p } = this.#parts
    this.#toldAddresses.set(connection, addresses)
    const multiaddrs = parseUsableAddresses(addresses)
    for (let attempt = 1; attempt <= IDENTIFY_ATTEMPTS && connection.status === 'open'; attempt++) {
      try {
        if (multiaddrs.length > 0)
          await libp2p.peerStore.patch(connection.remotePeer, { multiaddrs })
        await libp2p.services.identify.identify(connection)
        return
      } catch (error) {
        this.#log.debug('could not identify %p: %e', connection.remotePeer, error)
      }
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
