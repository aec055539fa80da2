import type { Socket } from 'node:net'
import type {
  MessageStream,
  MessageStreamReadStatus,
  MultiaddrConnection,
  Upgrader,
  UpgraderOptions
} from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import type { Uint8ArrayList } from 'uint8arraylist'
import type { Metrics } from '../lib/metrics.ts'
import { type SendResult, writeBatched } from './batched-writes.ts'
import type { FrameReader, NoiseWatcher } from './framed-noise.ts'
import { GatheredFrames } from './gathered-frames.ts'
import type { InboundConnections } from './inbound-connections.ts'
import { readIntoShared } from './shared-reads.ts'

/** Bytes that went over TCP connections, noise and framing included. */
export interface WireBytes {
  readonly sent: number
  readonly received: number
}

/** Counts the bytes of all connections of one node. */
export class WireCounter {
  #sent = 0
  #received = 0
  readonly #onSent: (bytes: number) => void
  readonly #onReceived: (bytes: number) => void

  constructor(metrics?: Metrics) {
    const sent = metrics?.counter('blobswarm_peer_sent_bytes_total', {
      help: 'Bytes sent to other agents over TCP'
    })
    const received = metrics?.counter('blobswarm_peer_received_bytes_total', {
      help: 'Bytes received from other agents over TCP'
    })
    this.#onSent = (bytes) => sent?.add(bytes)
    this.#onReceived = (bytes) => received?.add(bytes)
  }

  get bytes(): WireBytes {
    return { sent: this.#sent, received: this.#received }
  }

  sent(bytes: number): void {
    this.#sent += bytes
    this.#onSent(bytes)
  }

  received(bytes: number): void {
    this.#received += bytes
    this.#onReceived(bytes)
  }
}

/** A connection of libp2p's TCP transport, as it is inside. */
type TcpConnection = MultiaddrConnection & {
  readonly socket: Socket
  readonly readStatus: MessageStreamReadStatus
  onData(bytes: Uint8Array): void
  sendData(bytes: Uint8ArrayList): SendResult
}

/** The connections of one node beneath everything else: counted, read and written in large pieces. */
export class Wires implements NoiseWatcher {
  readonly #counter: WireCounter
  readonly #inbound: InboundConnections
  readonly #frames = new WeakMap<MessageStream, GatheredFrames>()
  readonly #readers = new WeakMap<MessageStream, FrameReader>()

  constructor(counter: WireCounter, inbound: InboundConnections) {
    this.#counter = counter
    this.#inbound = inbound
  }

  /** Takes care of a new connection. */
  watch(connection: MultiaddrConnection): void {
    const tcpConnection = connection as TcpConnection
    const { socket } = tcpConnection
    this.#watchReads(tcpConnection)
    tcpConnection.sendData = (bytes) => {
      this.#counter.sent(bytes.byteLength)
      return writeBatched(socket, bytes)
    }
  }

  begin(connection: MessageStream, queued: Uint8Array): void {
    this.#inbound.begin(connection as TcpConnection)
    const frames = this.#frames.get(connection)
    frames?.begin()
    frames?.push(queued)
  }

  secured(connection: MessageStream, read: FrameReader): void {
    this.#readers.set(connection, read)
  }

  #watchReads(connection: TcpConnection): void {
    const onData = connection.onData.bind(connection)
    /** Reads a frame at once; undefined while it has to wait in the connection. */
    const reader = (): FrameReader | undefined =>
      connection.readBufferLength === 0 && connection.readStatus === 'readable'
        ? this.#readers.get(connection)
        : undefined
    const frames = new GatheredFrames({
      deliver: (bytes) => (reader() ?? onData)(bytes),
      isPrompt: () => reader() !== undefined
    })
    this.#frames.set(connection, frames)
    const take = (bytes: Uint8Array): void => {
      this.#counter.received(bytes.byteLength)
      frames.push(bytes)
    }
    connection.onData = take
    readIntoShared(connection.socket, take)
    connection.socket.once('close', () => frames.end())
  }
}

// Connections that the kernel keeps until they are taken: with the usual 511 a flood drops those of others.
const BACKLOG = 4096

/** libp2p's TCP transport, whose connections are watched from their first byte. */
export function countedTcp(wires: Wires, inbound: InboundConnections): ReturnType<typeof tcp> {
  return (components) => {
    const transport = tcp({ backlog: BACKLOG })(components)
    const dial = transport.dial.bind(transport)
    const createListener = transport.createListener.bind(transport)
    transport.dial = async (address, options) =>
      dial(address, { ...options, upgrader: watchingUpgrader(options.upgrader, wires, inbound) })
    transport.createListener = (options) =>
      createListener({ ...options, upgrader: watchingUpgrader(options.upgrader, wires, inbound) })
    return transport
  }
}

function watchingUpgrader(upgrader: Upgrader, wires: Wires, inbound: InboundConnections): Upgrader {
  const watched = (connection: MultiaddrConnection): MultiaddrConnection => {
    wires.watch(connection)
    return connection
  }
  return {
    upgradeInbound: async (connection: MultiaddrConnection, options: UpgraderOptions) =>
      inbound.admit(connection, async () => upgrader.upgradeInbound(watched(connection), options)),
    upgradeOutbound: async (connection: MultiaddrConnection, options: UpgraderOptions) =>
      upgrader.upgradeOutbound(watched(connection), options),
    createInboundAbortSignal: (signal) => upgrader.createInboundAbortSignal(signal),
    getConnectionEncrypters: () => upgrader.getConnectionEncrypters(),
    getStreamMuxers: () => upgrader.getStreamMuxers()
  }
}
