import type { Socket } from 'node:net'
import type { MultiaddrConnection, Upgrader, UpgraderOptions } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import type { Metrics } from '../lib/metrics.ts'

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

  /** Counts what the socket carries from now on. */
  watch(socket: Socket): void {
    socket.on('data', (bytes: Uint8Array) => {
      this.#received += bytes.byteLength
      this.#onReceived(bytes.byteLength)
    })
    const write = socket.write.bind(socket)
    socket.write = (bytes: Uint8Array): boolean => {
      this.#sent += bytes.byteLength
      this.#onSent(bytes.byteLength)
      corkUntilNextTick(socket)
      return write(bytes)
    }
  }
}

// Noise writes length and ciphertext of each message on their own; together they are one system call.
function corkUntilNextTick(socket: Socket): void {
  if (socket.writableCorked > 0) return
  socket.cork()
  process.nextTick(() => socket.uncork())
}

/** libp2p's TCP transport with a counter beneath everything else. */
export function countedTcp(counter: WireCounter): ReturnType<typeof tcp> {
  return (components) => {
    const transport = tcp()(components)
    const dial = transport.dial.bind(transport)
    const createListener = transport.createListener.bind(transport)
    transport.dial = async (address, options) =>
      dial(address, { ...options, upgrader: countingUpgrader(options.upgrader, counter) })
    transport.createListener = (options) =>
      createListener({ ...options, upgrader: countingUpgrader(options.upgrader, counter) })
    return transport
  }
}

function countingUpgrader(upgrader: Upgrader, counter: WireCounter): Upgrader {
  const watched = (connection: MultiaddrConnection): MultiaddrConnection => {
    const { socket } = connection as MultiaddrConnection & { readonly socket: Socket }
    counter.watch(socket)
    return connection
  }
  return {
    upgradeInbound: async (connection: MultiaddrConnection, options: UpgraderOptions) =>
      upgrader.upgradeInbound(watched(connection), options),
    upgradeOutbound: async (connection: MultiaddrConnection, options: UpgraderOptions) =>
      upgrader.upgradeOutbound(watched(connection), options),
    createInboundAbortSignal: (signal) => upgrader.createInboundAbortSignal(signal),
    getConnectionEncrypters: () => upgrader.getConnectionEncrypters(),
    getStreamMuxers: () => upgrader.getStreamMuxers()
  }
}
