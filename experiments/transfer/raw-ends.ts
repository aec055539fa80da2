import { once } from 'node:events'
import net from 'node:net'
import { noise } from '@chainsafe/libp2p-noise'
import type { Libp2p, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { MAX_SEND_BYTES } from '../../src/peer/stream-writing.ts'
import type { End, EndSettings } from './ends.ts'

/** Plain TCP in writes of 64 KiB, counted and dropped. */
export async function rawEnd({ bytes }: EndSettings): Promise<End> {
  const piece = Buffer.alloc(64 * KIB, 7)
  const sendTo = async (socket: net.Socket): Promise<void> => {
    for (let sent = 0; sent < bytes; sent += piece.byteLength) {
      if (!socket.write(piece)) await once(socket, 'drain')
    }
    socket.end()
  }
  const server = net.createServer((socket) => void sendTo(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  return {
    address: String(port),
    fetch: async ([address]) => {
      const began = performance.now()
      const socket = net.connect(Number(address), '127.0.0.1')
      let came = 0
      socket.on('data', ({ byteLength }) => {
        came += byteLength
      })
      await once(socket, 'end')
      if (came !== bytes) throw new Error(`${came} bytes came`)
      return performance.now() - began
    },
    stop: async () => void server.close()
  }
}

const PROTOCOL = '/bare/1'

/** A libp2p stream as the library makes it (TCP, noise, yamux), counted and dropped. */
export async function bareEnd({ bytes }: EndSettings): Promise<End> {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ streamOptions: { maxStreamWindowSize: MIB } })]
  })
  await node.handle(PROTOCOL, async (stream) => sendAll(stream, bytes))
  return {
    address: `${node.getMultiaddrs()[0]?.toString()}`,
    fetch: async ([address = '']) => receiveAll(node, address, bytes),
    stop: async () => node.stop()
  }
}

async function sendAll(stream: Stream, bytes: number): Promise<void> {
  const piece = new Uint8Array(MAX_SEND_BYTES).fill(7)
  for (let left = bytes; left > 0; left -= piece.byteLength) {
    const part = left < piece.byteLength ? piece.subarray(0, left) : piece
    if (!stream.send(part)) await once(stream, 'drain')
  }
  await stream.close()
}

async function receiveAll(node: Libp2p, address: string, bytes: number): Promise<number> {
  const target = multiaddr(address)
  const peer = peerIdFromString(address.slice(address.lastIndexOf('/') + 1))
  await node.dial(target)
  const began = performance.now()
  const stream = await node.dialProtocol(peer, PROTOCOL)
  let came = 0
  stream.addEventListener('message', ({ data }) => {
    came += data.byteLength
  })
  await once(stream, 'remoteCloseWrite')
  if (came !== bytes) throw new Error(`${came} bytes came`)
  return performance.now() - began
}
