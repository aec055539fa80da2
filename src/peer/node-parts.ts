import type { Clock } from '../lib/clock.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import { WireCounter } from './counted-tcp.ts'
import { createNodeLibp2p, type NodeLibp2p } from './create-libp2p.ts'
import { Doorkeeper, type DoorkeeperOptions } from './doorkeeper.ts'
import { Membership } from './membership.ts'
import { MembershipGate } from './membership-gate.ts'
import { identityFromSeed, type PeerIdentity } from './peer-identity.ts'
import { ProviderRecords } from './provider-records.ts'
import type { CertificateIssuer } from './token-issuer.ts'

export interface NodeComponents {
  readonly clock: Clock
  readonly random: Random
  readonly logger: LoggerFactory
  readonly metrics?: Metrics | undefined
  /** Present at an agent that may admit others to the cluster. */
  readonly issuer?: CertificateIssuer | undefined
}

/** What a node is made of that does not know the node. */
export interface NodeParts extends NodeComponents {
  readonly identity: PeerIdentity
  readonly membership: Membership
  readonly gate: MembershipGate
  readonly doors: Doorkeeper
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
  /** What others may do in great numbers. */
  doors?: DoorkeeperOptions
}

/** Makes the parts of a node with the identity of a 32-byte Ed25519 seed; libp2p is not started. */
export async function createParts(
  components: NodeComponents,
  seed: Uint8Array,
  options: NodeOptions
): Promise<NodeParts> {
  const { clock, metrics } = components
  const { listen = ['/ip4/127.0.0.1/tcp/0'], announce = [], agentVersion = '0' } = options
  const { maxConnections = 2000, helloTimeoutMs = 10_000 } = options
  const identity = await identityFromSeed(seed)
  const membership = new Membership(identity.peerId, clock)
  const gate = new MembershipGate(clock, {
    waitMs: helloTimeoutMs,
    objectionTo: (member) => membership.objectionTo(member)
  })
  const log = components.logger.forComponent('blobswarm:peer:node')
  const doors = new Doorkeeper({ gate, clock, log, metrics }, options.doors)
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
    logger: components.logger,
    gate: gate.middleware,
    doors,
    counter,
    records
  })
  return { ...components, identity, membership, gate, doors, counter, libp2p }
}
