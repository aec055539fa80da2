import { once } from 'node:events'
import net from 'node:net'

/** Connected sockets on loopback for tests, closed all at once. */
export class SocketPairs {
  readonly #sockets: net.Socket[] = []
  readonly #servers: net.Server[] = []

  /** @returns the end that connected and the one that was accepted. */
  async connect(): Promise<[near: net.Socket, far: net.Socket]> {
    const server = net.createServer().listen(0, '127.0.0.1')
    this.#servers.push(server)
    await once(server, 'listening')
    const near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
    const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [
      [net.Socket],
      unknown
    ]
    this.#sockets.push(near, far)
    return [near, far]
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy()
    for (const server of this.#servers.splice(0)) server.close()
  }
}
