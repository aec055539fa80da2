import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/**
 * A port that stays open while what is behind it is away: connections wait until it is back. Those that
 * were passed on end with it.
 */
export class HoldingDoor {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #inside = Promise.withResolvers<number>()

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
    server.on('connection', (socket) => void this.#passOn(socket))
  }

  static async open(): Promise<HoldingDoor> {
    const server = createServer({ pauseOnConnect: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (typeof address !== 'object' || address === null) throw new Error('not listening')
    return new HoldingDoor(server, address.port)
  }

  /** Passes connections on to a port of this machine from now on, also those that wait. */
  leadTo(port: number): void {
    this.#inside.resolve(port)
  }

  /** Lets connections wait from now on. */
  hold(): void {
    this.#inside = Promise.withResolvers()
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #passOn(outside: Socket): Promise<void> {
    const inside = connect({ port: await this.#inside.promise, host: '127.0.0.1' })
    for (const [from, to] of [
      [outside, inside],
      [inside, outside]
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
  }
}
