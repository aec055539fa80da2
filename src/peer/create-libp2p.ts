import type { Ed25519PrivateKey, Libp2p, StreamMiddleware } from '@libp2p/interface'
import { type KadDHT, kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { type Ping, ping } from '@libp2p/ping'
import { createLibp2p, type ServiceFactoryMap } from 'libp2p'
import { KIB, MIB } from '../lib/bytes.ts'
import type { LoggerFactory } from '../lib/logger.ts'
import { countedTcp, type WireCounter, Wires } from './counted-tcp.ts'
import type { Doorkeeper } from './doorkeeper.ts'
import { framedNoise } from './framed-noise.ts'
import { spareNotes } from './frugal-peer-store.ts'
import { HANDSHAKE_MS } from './inbound-connections.ts'
import { Introductions } from './introductions.ts'
import { libp2pLogger } from './libp2p-log.ts'
import type { ProviderRecords } from './provider-records.ts'
import { quietEvents } from './quiet-events.ts'
import { MAX_STREAMS } from './stream-guard.ts'
import { thriftyYamux } from './thrifty-yamux.ts'

/** Id of the DHT's protocol. */
export const KAD_PROTOCOL = '/blobswarm/kad/1'

// Library protocols get our prefix, so that no foreign libp2p node takes us for one of its network.
const PROTOCOL_PREFIX = 'blobswarm'
const LIBRARY_PROTOCOLS = [KAD_PROTOCOL, `/${PROTOCOL_PREFIX}/ping/1.0.0`]

const DAY_MS = 24 * 3_600_000

/** The services of libp2p that an agent uses. */
export interface NodeServices extends Record<string, unknown> {
  readonly introductions: Introductions
  readonly ping: Ping
  readonly dht: KadDHT
  readonly amendments: object
}

export type NodeLibp2p = Libp2p<NodeServices>

export interface Libp2pSettings {
  readonly privateKey: Ed25519PrivateKey
  readonly listen: readonly string[]
  /** What others are told instead of the real listen addresses; empty: the real ones. */
  readonly announce: readonly string[]
  readonly maxConnections: number
  readonly agentVersion: string
  readonly logger: LoggerFactory
  /** Stands before every protocol but hello. */
  readonly gate: StreamMiddleware
  /** Stands before connections and dials. */
  readonly doors: Pick<Doorkeeper, 'inbound' | 'gater'>
  readonly counter: WireCounter
  /** What libp2p remembers, and as a server of the DHT keeps for others. */
  readonly records: ProviderRecords
}

/** Makes an agent's libp2p node, not started, every library protocol behind the gate. */
export async function createNodeLibp2p(settings: Libp2pSettings): Promise<NodeLibp2p> {
  const { privateKey, listen, announce, agentVersion, gate, counter, doors } = settings
  const wires = new Wires(counter, doors.inbound)
  quietEvents()
  const libp2p = await createLibp2p<NodeServices>({
    start: false,
    datastore: settings.records,
    logger: libp2pLogger(settings.logger),
    privateKey,
    nodeInfo: { name: 'blobswarm', version: agentVersion, userAgent: `blobswarm/${agentVersion}` },
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [countedTcp(wires, doors.inbound)],
    connectionEncrypters: [framedNoise(wires)],
    streamMuxers: [thriftyYamux(STREAM_LIMITS)],
    connectionManager: connectionLimits(settings.maxConnections),
    connectionGater: doors.gater,
    // Finds hosts that vanished without a word; patient, because a busy agent answers late.
    connectionMonitor: {
      protocolPrefix: PROTOCOL_PREFIX,
      pingInterval: 30_000,
      pingTimeout: { minTimeout: 20_000 }
    },
    // Longer than the DHT keeps announcements, which are of no use without addresses.
    peerStore: { maxAddressAge: 7 * DAY_MS, maxPeerAge: 30 * DAY_MS },
    services: services()
  })
  for (const protocol of LIBRARY_PROTOCOLS) libp2p.use(protocol, gate)
  return libp2p
}

/** A window may never be larger than what a paused stream may hold. */
const STREAM_LIMITS = {
  maxInboundStreams: MAX_STREAMS,
  maxOutboundStreams: 2048,
  // Those that come together with the connection; the stream guard then looks at them.
  maxEarlyStreams: MAX_STREAMS,
  streamOptions: {
    initialStreamWindowSize: 256 * KIB,
    maxStreamWindowSize: MIB,
    maxReadBufferLength: 4 * MIB
  }
}

/**
 * The defaults (5 inbound connections a second and host, 10 pending) refuse the agents of one host, or
 * of one address translator, when they start together. How many may come is the doorkeeper's to say.
 */
function connectionLimits(maxConnections: number) {
  return {
    maxConnections,
    inboundConnectionThreshold: 1_000_000,
    maxIncomingPendingConnections: 1_000_000,
    maxParallelDials: 64,
    dialTimeout: 30_000,
    addressDialTimeout: 10_000,
    inboundUpgradeTimeout: HANDSHAKE_MS
  }
}

function services(): ServiceFactoryMap<NodeServices> {
  return {
    introductions: (components) => new Introductions(components),
    ping: ping({ protocolPrefix: PROTOCOL_PREFIX }),
    // libp2p 3.3 appends the handler of each inbound stream to the very array that was registered, so that
    // the second stream would be handled twice: https://github.com/libp2p/js-libp2p/pull/3534
    amendments: ({ registrar, peerStore, peerId }) => {
      spareNotes(peerId, peerStore)
      const registered = registrar.getMiddleware.bind(registrar)
      registrar.getMiddleware = (protocol) => [...registered(protocol)]
      return {}
    },
    dht: kadDHT({
      protocol: KAD_PROTOCOL,
      // Servers are the metadata providers; the node switches when it knows its role.
      clientMode: true,
      // Addresses of private networks are what a cluster has.
      peerInfoMapper: passthroughMapper,
      allowQueryWithZeroPeers: true,
      // As many as one asks for at a time.
      maxInboundStreams: 64
    })
  }
}
